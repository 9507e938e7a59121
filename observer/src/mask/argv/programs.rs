//! Where programs take a secret in their arguments, from their manuals.

/// What a program takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// The value of these flags, joined or as the next argument.
    Secret(&'static [&'static str]),
    /// The next argument after these flags alone.
    Next(&'static [&'static str]),
    /// What is joined to these flags alone.
    Joined(&'static [&'static str]),
    /// What comes after a sign in the value of these flags.
    After(u8, &'static [&'static str]),
    /// Of the arguments that are no flags, after the word: those from the first number on, so many.
    Words(usize, usize),
    /// The values of all arguments `key=value`.
    Pairs,
    /// The last argument.
    Last,
}

use Takes::{After, Joined, Last, Next, Pairs, Secret, Words};

/// A way in which programs take a secret.
pub(super) struct Way {
    /// The programs' names.
    pub(super) programs: &'static [&'static str],
    /// One of these words must stand before it; none for always. One that ends with a dot is the
    /// beginning of a word, one that begins with a dash may be joined with other flags.
    pub(super) once: &'static [&'static str],
    pub(super) takes: Takes,
}

const fn way(
    programs: &'static [&'static str],
    once: &'static [&'static str],
    takes: Takes,
) -> Way {
    Way { programs, once, takes }
}

/// Flags of curl's that take no value, which may stand before one that does: `-sSLu me:X`.
pub(super) const CURL_ALONE: &[u8] = b"0123456#:aBfgGiIjJklLMnNOpqRsSvVZ";

/// Programs whose flags name what they take, so that they need no way of their own.
pub(super) const NAMED: &[&str] = &[
    "aws",
    "gcloud",
    "gh",
    "git",
    "kubectl",
    "ssh",
    "psql",
    "pg_dump",
    "npm",
    "npx",
    "yarn",
    "pip",
    "terraform",
    "pulumi",
    "heroku",
    "netlify",
    "wrangler",
    "gpg",
    "restic",
    "borg",
    "snowsql",
    "ansible-playbook",
    "gradle",
    "mvn",
    "sonar-scanner",
    "echo",
    "printf",
    "nats",
    "kcat",
    "consul",
    "nomad",
    "influx",
    "clickhouse-client",
    "logcli",
    "hcloud",
    "llm",
    "claude",
    "tailscale",
    "cloudflared",
    "k3s",
    "svn",
    "railway",
    "sentry-cli",
    "s3cmd",
    "go",
    "iwctl",
    "kinit",
    "realm",
    "vncpasswd",
    "createuser",
    "cryptsetup",
    "pass",
];

const ORACLE: &[&str] = &["sqlplus", "sqlldr", "exp", "imp", "expdp", "impdp", "rman"];
const MYSQL: &[&str] = &[
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mysqlshow",
    "mysqlimport",
    "mysqlcheck",
    "mysqlsh",
    "mariadb",
    "mariadb-dump",
    "mariadb-admin",
];
const REMOTE: &[&str] = &[
    "twine",
    "ncftp",
    "ncftpput",
    "ncftpget",
    "hydra",
    "medusa",
    "crackmapexec",
    "nxc",
    "netexec",
    "evil-winrm",
    "rdesktop",
    "rabbitmqadmin",
    "mongo",
    "mongosh",
    "mongodump",
    "mongorestore",
    "mongoexport",
    "mongoimport",
    "cqlsh",
    "sshpass",
    "lpadmin",
    "winexe",
    "smbmap",
    "beeline",
    "yt-dlp",
    "youtube-dl",
    "ncftpls",
    "impala-shell",
    "psexec",
    "vncdo",
    "eas",
    "couchbase-cli",
];
const LOGIN: &[&str] = &[
    "docker", "podman", "helm", "nerdctl", "oc", "skopeo", "buildah", "crane", "oras", "regctl",
    "az", "cf", "ibmcloud", "argocd", "faas-cli", "glab", "bw", "cosign",
];
const IMPACKET: &[&str] = &[
    "impacket-psexec",
    "impacket-wmiexec",
    "impacket-smbexec",
    "impacket-atexec",
    "impacket-secretsdump",
    "psexec.py",
    "wmiexec.py",
    "smbexec.py",
    "atexec.py",
    "secretsdump.py",
];
const VAULT: &[&str] = &["vault", "bao"];
const CURL: &[&str] = &["curl"];

pub(super) const WAYS: &[Way] = &[
    way(
        CURL,
        &[],
        After(b':', &["-u", "--user", "-U", "--proxy-user", "-E", "--cert", "--proxy-cert"]),
    ),
    way(CURL, &[], Secret(&["-b", "--cookie"])),
    way(&["skopeo"], &[], After(b':', &["--src-creds", "--dest-creds"])),
    way(&["java", "jenkins-cli"], &[], After(b':', &["-auth"])),
    way(&["http", "https", "xh", "xhs"], &[], After(b':', &["-a", "--auth", "-u", "--user"])),
    way(
        &["wget", "ab", "siege", "hey", "wrk", "aria2c"],
        &[],
        After(b':', &["-u", "--user", "-A", "-a"]),
    ),
    way(&["etcdctl", "influx", "es", "rclone", "lftpget"], &[], After(b':', &["--user", "-u"])),
    way(
        &["smbclient", "rpcclient", "smbmap", "net", "winexe"],
        &[],
        After(b'%', &["-U", "--user"]),
    ),
    way(&["lftp", "ftp", "open", "lftpget"], &[], After(b',', &["-u", "--user"])),
    way(&["kubectl", "oc"], &[], After(b'=', &["--from-literal"])),
    way(IMPACKET, &[], After(b':', &[""])),
    way(ORACLE, &[], After(b'/', &[""])),
    way(&["bundle", "bundler"], &["config"], After(b':', &[""])),
    way(MYSQL, &[], Joined(&["-p"])),
    way(MYSQL, &["password"], Words(0, 1)),
    way(REMOTE, &[], Secret(&["-p"])),
    way(&["7z", "7za", "7zr", "7zz", "rar", "unrar", "zip", "unzip"], &[], Joined(&["-p", "-hp"])),
    way(
        &[
            "zip",
            "unzip",
            "sqlcmd",
            "isql",
            "osql",
            "tsql",
            "bcp",
            "mosquitto_pub",
            "mosquitto_sub",
            "ipmitool",
        ],
        &[],
        Secret(&["-P"]),
    ),
    way(LOGIN, &["login"], Secret(&["-p", "-t"])),
    way(&["dotnet", "nuget"], &["nuget"], Secret(&["-k", "-p"])),
    way(&["az"], &["sql", "postgres", "mysql"], Secret(&["-p"])),
    way(&["az"], &["keyvault"], Secret(&["--value"])),
    way(&["doctl"], &["auth"], Secret(&["-t"])),
    way(&["kaggle"], &["key"], Secret(&["-v"])),
    way(&["plink", "pscp", "psftp", "putty"], &[], Next(&["-pw"])),
    way(&["mkpasswd"], &["-m"], Words(1, 1)),
    way(&["mosquitto_passwd"], &["-b"], Words(2, 1)),
    way(&["neo4j-admin"], &["set-initial-password"], Words(0, 1)),
    way(&["db2"], &["using"], Words(0, 1)),
    way(&["wandb"], &["login"], Words(0, 1)),
    way(&["llm"], &["keys"], Secret(&["--value"])),
    way(&["aws"], &["put-parameter"], Secret(&["--value"])),
    way(&["gh"], &["secret"], Secret(&["-b", "--body"])),
    way(&["vercel", "now"], &[], Secret(&["-t"])),
    way(&["redis-cli", "valkey-cli"], &[], Secret(&["-a"])),
    way(&["redis-cli", "valkey-cli"], &["auth"], Words(0, 2)),
    way(&["redis-cli", "valkey-cli"], &["requirepass", "masterauth"], Words(0, 1)),
    way(&["redis-cli", "valkey-cli"], &["setuser"], Joined(&[">", "<"])),
    way(
        &["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldapwhoami", "ldappasswd"],
        &[],
        Secret(&["-w"]),
    ),
    way(&["ldappasswd"], &[], Secret(&["-s", "-a"])),
    way(&["ssh-keygen"], &[], Secret(&["-N", "-P"])),
    way(&["openssl"], &[], Next(&["-k", "-K", "-passin", "-passout", "-pass"])),
    way(&["openssl"], &["passwd"], Last),
    way(&["htpasswd"], &["-b"], Last),
    way(&["useradd", "usermod", "ansible-vault"], &[], Next(&["-p"])),
    way(&["ansible-vault"], &["encrypt_string"], Words(0, 1)),
    way(&["snmpget", "snmpwalk", "snmpset", "snmpbulkwalk"], &[], Secret(&["-A", "-X", "-c"])),
    way(
        &["keytool", "jarsigner"],
        &[],
        Next(&["-storepass", "-keypass", "-srcstorepass", "-deststorepass", "-new"]),
    ),
    way(VAULT, &["login", "unseal", "unwrap"], Words(0, 2)),
    way(VAULT, &["lookup", "renew", "revoke"], Words(0, 1)),
    way(VAULT, &["put", "write", "patch"], Pairs),
    way(&["fly", "flyctl"], &["secrets"], Pairs),
    way(&["cargo"], &["login"], Words(0, 2)),
    way(&["composer", "poetry"], &["http-basic."], Words(1, 1)),
    way(
        &["composer", "poetry"],
        &["github-oauth.", "gitlab-token.", "bearer.", "pypi-token."],
        Words(0, 1),
    ),
    way(
        &["rclone"],
        &["obscure", "secret_access_key", "pass", "password", "client_secret"],
        Words(0, 1),
    ),
    way(&["rabbitmqctl"], &["add_user", "change_password", "authenticate_user"], Words(1, 1)),
    way(&["wpa_passphrase"], &["wpa_passphrase"], Words(1, 1)),
    way(&["iwconfig"], &["key"], Words(0, 1)),
    way(&["nmcli", "net"], &["password"], Words(0, 1)),
    way(&["net"], &["use"], Words(2, 1)),
    way(&["net"], &["user"], Words(1, 1)),
    way(&["mc", "minio-client"], &["alias", "host"], Words(3, 2)),
    way(&["ngrok"], &["authtoken", "add-authtoken"], Words(0, 1)),
    way(&["bw"], &["unlock"], Words(0, 1)),
    way(&["bw"], &["login"], Words(1, 1)),
    way(&["security"], &[], Next(&["-w", "-p"])),
    way(&["signtool", "certutil"], &[], Next(&["/p", "-p"])),
    way(&["schtasks"], &[], Next(&["/rp", "/p"])),
    way(&["xfreerdp", "wfreerdp", "mstsc"], &[], Joined(&["/p:", "/gp:"])),
    way(&["vncviewer", "x11vnc"], &[], Next(&["-passwd"])),
];
