//! Secrets that an argument's neighbour names: `--password X`, `-u user:password`, `mysql -pX`.

use super::span::Span;
use super::{keys, shell, structure};
use crate::model::Raw;

/// Programs whose `-u`, `-U` or `--user` takes `user:password`.
const USER_PASSWORD: &[&str] = &["curl", "http", "https", "wget", "xh", "ab", "siege", "mongo"];
/// Programs whose `-p` takes a password in the same argument.
const DASH_P: &[&str] = &[
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mysqlshow",
    "mariadb",
    "mariadb-dump",
    "7z",
    "7za",
    "sshpass",
    "zip",
    "unzip",
    "rar",
];
/// Programs whose `-p` takes a password in the next argument.
const DASH_P_NEXT: &[&str] = &["mongo", "mongosh", "sshpass"];
/// Programs whose `-p` does so once `login` was said: else it is a port.
const LOGIN: &[&str] = &["docker", "podman", "helm", "nerdctl", "oc", "skopeo"];
/// Programs whose `-a` takes a password.
const DASH_A: &[&str] = &["redis-cli"];
/// Programs whose `-w` or `-W` takes one.
const DASH_W: &[&str] = &["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete"];
type Words = &'static [&'static str];
type Flags = &'static [&'static [u8]];

/// Flags of single programs whose next argument is a secret.
const NEXT: &[(Words, Flags)] = &[
    (&["ssh-keygen"], &[b"-N", b"-P"]),
    (&["openssl"], &[b"-k", b"-K", b"-passin", b"-passout", b"-pass"]),
    (&["mosquitto_pub", "mosquitto_sub", "ipmitool", "sqlcmd", "bcp", "zip", "unzip"], &[b"-P"]),
    (&["cqlsh", "useradd", "usermod", "ansible-vault"], &[b"-p"]),
    (&["snmpget", "snmpwalk", "snmpset"], &[b"-A", b"-X", b"-c"]),
    (&["curl"], &[b"-b", b"--cookie"]),
    (&["keytool", "jarsigner"], &[b"-storepass", b"-keypass", b"-srcstorepass", b"-deststorepass"]),
];
/// Programs whose `-U`, `-u` or the like takes a user, this sign, and a password.
const USER_SIGN: &[(Words, Flags, u8)] = &[
    (&["smbclient", "rpcclient", "smbmap", "mount.cifs"], &[b"-U", b"--user"], b'%'),
    (&["lftp", "ftp"], &[b"-u"], b','),
];
/// Words after which a key and its value stand as two arguments: `aws configure set KEY VALUE`.
const SETTERS: &[&[u8]] = &[b"set", b"config", b"configure", b"setenv", b"put"];
/// Flags whose argument is a command's text and not a value.
const TEXT: &[&[u8]] = &[b"-c", b"-lc", b"-ec", b"-e", b"-xc", b"-ic", b"--command", b"--eval"];
/// Commands within arguments of commands are looked into this deep.
const DEPTH: u32 = 3;
/// The shortest piece of a cut argument that may be the beginning of a token.
const FRAGMENT: usize = 4;
/// Longer commands are not looked at as one text.
const JOINED: usize = 256 * 1024;

/// For each argument the spans that its neighbours tell. `cut` says that the last one goes on.
pub(super) fn plan(argv: &[Raw], cut: bool) -> Vec<Vec<Span>> {
    let mut out = plan_within(argv, DEPTH);
    if cut && let (Some(last), Some(spans)) = (argv.last(), out.last_mut()) {
        spans.extend(last_word(last.bytes()));
    }
    out
}

/// The same of a command that may stand within an argument of another; an argument of its own is
/// looked into as deep as `depth` says.
pub(super) fn plan_within(argv: &[Raw], depth: u32) -> Vec<Vec<Span>> {
    let mut out: Vec<Vec<Span>> = vec![vec![]; argv.len()];
    let mut program = String::new();
    for (i, raw) in argv.iter().enumerate() {
        let arg = raw.bytes();
        // `sudo -u x curl …`, `env A=b curl …`: the last program named counts.
        if !arg.starts_with(b"-") && i < 8 {
            let name = basename(arg);
            if i == 0 || is_known(&name) {
                program = name;
            }
        }
        let next = argv.get(i + 1).map(Raw::bytes).unwrap_or_default();
        let known = |list: &[&str]| list.contains(&program.as_str());
        let takes_next = match arg {
            b"-u" | b"--user" | b"-U" | b"--proxy-user" | b"-a" if known(USER_PASSWORD) => {
                if let Some(colon) = next.iter().position(|&b| b == b':')
                    && let Some(spans) = out.get_mut(i + 1)
                {
                    spans.push(Span::new(colon + 1, next.len(), "password"));
                }
                false
            }
            b"-p" if known(DASH_P_NEXT) => true,
            b"-p" if known(LOGIN) => argv.iter().take(i).any(|raw| raw.bytes() == b"login"),
            b"-a" if known(DASH_A) => true,
            b"-w" if known(DASH_W) => true,
            [b'-', name @ ..] if !arg.contains(&b'=') => keys::is_secret(name) && name.len() > 1,
            _ => false,
        };
        let takes_next = takes_next
            || NEXT.iter().any(|(programs, flags)| known(programs) && flags.contains(&arg))
            || sets(argv.get(..i).unwrap_or_default(), arg);
        for (programs, flags, sign) in USER_SIGN {
            if known(programs)
                && flags.contains(&arg)
                && let Some(at) = next.iter().position(|b| b == sign)
                && let Some(spans) = out.get_mut(i + 1)
            {
                spans.push(Span::new(at + 1, next.len(), "password"));
            }
        }
        let flag = next.starts_with(b"--") || next.is_empty() || next.starts_with(b"$");
        if takes_next
            && !flag
            && let Some(spans) = out.get_mut(i + 1)
        {
            spans.push(Span::new(0, next.len(), "password"));
        }
        // `--password=X`: the argument's end is the value's, whatever stands in it.
        if let Some(at) = arg.iter().position(|&b| b == b'=')
            && (arg.starts_with(b"-") || is_variable(&arg[..at]) && !is_text(argv, i))
            && keys::is_secret(&arg[..at])
            && structure::is_a_value(&arg[at + 1..])
        {
            out[i].push(Span::new(at + 1, arg.len(), "password"));
        }
        if known(DASH_P) && arg.starts_with(b"-p") && arg.len() > 2 {
            out[i].push(Span::new(2, arg.len(), "password"));
        }
        if known(USER_PASSWORD)
            && let Some(joined) = arg.strip_prefix(b"-u").filter(|rest| !rest.is_empty())
            && let Some(colon) = joined.iter().position(|&b| b == b':')
        {
            out[i].push(Span::new(2 + colon + 1, arg.len(), "password"));
        }
        if let Some(user) = arg.strip_prefix(b"--user=")
            && known(USER_PASSWORD)
            && let Some(colon) = user.iter().position(|&b| b == b':')
        {
            out[i].push(Span::new(7 + colon + 1, arg.len(), "password"));
        }
    }
    for (raw, spans) in argv.iter().zip(&mut out) {
        spans.extend(shell::spans(raw.bytes(), depth));
    }
    out
}

/// Whether this argument is a key whose value is the next: `config set db.password X`.
fn sets(before: &[Raw], arg: &[u8]) -> bool {
    let compound = arg.iter().any(|b| matches!(b, b'_' | b'-' | b'.' | b'/' | b':'));
    !arg.starts_with(b"-")
        && compound
        && before.iter().rev().take(3).any(|raw| SETTERS.contains(&raw.bytes()))
        && !arg.contains(&b'=')
        && keys::is_secret(arg.rsplit(|b| matches!(b, b'/' | b':')).next().unwrap_or(arg))
}

/// Whether a shell takes it for a variable's name.
fn is_variable(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether the argument is a program's text, in which an assignment ends before the argument does.
fn is_text(argv: &[Raw], i: usize) -> bool {
    let before = i.checked_sub(1).and_then(|i| argv.get(i)).map(Raw::bytes);
    before.is_some_and(|flag| TEXT.contains(&flag))
}

/// The last word of a text that goes on beyond a cut: it may be a token whose rest nobody sees.
pub(super) fn last_word(text: &[u8]) -> Option<Span> {
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`');
    let len = text.iter().rev().take_while(|b| !ends(b)).count();
    let start = text.len() - len;
    let mut span = Span::new(start, text.len(), "cut");
    span.learn = false;
    (len >= FRAGMENT).then_some(span)
}

/// All arguments as one text, with a space between two.
pub(super) struct Joined {
    text: Vec<u8>,
    starts: Vec<usize>,
}

impl Joined {
    /// None where there are fewer than two, or so many bytes that nobody typed them.
    pub(super) fn new(argv: &[Raw]) -> Option<Self> {
        let len: usize = argv.iter().map(|raw| raw.len() + 1).sum();
        if argv.len() < 2 || len > JOINED {
            return None;
        }
        let mut joined = Self { text: Vec::with_capacity(len), starts: vec![] };
        for raw in argv {
            joined.starts.push(joined.text.len());
            joined.text.extend_from_slice(raw.bytes());
            // A header's value goes to its line's end: the next argument is none of it.
            joined.text.push(if structure::is_whole_header(raw.bytes()) { b'\n' } else { b' ' });
        }
        joined.text.pop();
        Some(joined)
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Gives each argument its part of what lies over a border between two. What lies within one
    /// argument is found there.
    pub(super) fn share(&self, spans: Vec<Span>, plan: &mut [Vec<Span>]) {
        for span in spans {
            let first = self.starts.partition_point(|&start| start <= span.start).saturating_sub(1);
            let last = self.starts.partition_point(|&start| start < span.end).saturating_sub(1);
            if first >= last {
                continue;
            }
            let value = span.value(&self.text).to_vec();
            for (index, spans) in plan.iter_mut().enumerate().take(last + 1).skip(first) {
                let Some(&from) = self.starts.get(index) else { continue };
                let next = self.starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
                let (start, end) = (span.start.max(from), span.end.min(next));
                if start < end {
                    let mut part = span.clone();
                    (part.start, part.end) = (start - from, end - from);
                    part.decoded = Some(value.clone());
                    part.learn = false;
                    spans.push(part);
                }
            }
        }
    }
}

fn basename(arg: &[u8]) -> String {
    let name = arg.rsplit(|&b| b == b'/').next().unwrap_or(arg);
    String::from_utf8_lossy(name).into_owned()
}

fn is_known(name: &str) -> bool {
    let lists = [USER_PASSWORD, DASH_P, DASH_P_NEXT, LOGIN, DASH_A, DASH_W];
    lists.iter().any(|list| list.contains(&name))
        || NEXT.iter().any(|(programs, _)| programs.contains(&name))
        || USER_SIGN.iter().any(|(programs, ..)| programs.contains(&name))
}
