//! What must never come through, and what must come through untouched.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use proptest::prelude::*;

use super::*;

/// A secret that no pattern knows.
const UNKNOWN: &str = "zQ7#vT2m!pLx9WkR";

fn masker() -> Masker {
    Masker::new(MaskKey::fixed(7))
}

fn argv(args: &[&str]) -> Vec<Raw> {
    args.iter().map(|arg| Raw::from(*arg)).collect()
}

fn masked(masker: &mut Masker, args: &[&str]) -> Vec<String> {
    let out = masker.command(&argv(args));
    out.get().iter().map(|raw| String::from_utf8_lossy(raw.bytes()).into_owned()).collect()
}

#[track_caller]
fn hides(args: &[&str], secret: &str) {
    let out = masked(&mut masker(), args).join("\u{1}");
    for piece in secret.as_bytes().windows(8) {
        let piece = String::from_utf8_lossy(piece);
        assert!(!out.contains(&*piece), "{piece:?} of {secret:?} is in {out:?}");
    }
    assert!(out.contains("<mask:"), "{out:?}");
}

#[track_caller]
fn leaves(args: &[&str]) {
    assert_eq!(masked(&mut masker(), args), args);
}

fn found(text: &str) -> Vec<&'static str> {
    let mut spans = vec![];
    spans.extend(masker().spans(text.as_bytes(), vec![]));
    spans.iter().map(|span| span.sort).collect()
}

#[test]
fn the_rules_compile_and_each_finds_its_example_alone() {
    rules::ready().unwrap();
    assert!(Rules::kinds() >= 150, "{} kinds", Rules::kinds());
    let mut wrong = vec![];
    for rule in rules::all() {
        let example = rule.example.concat();
        let here = found(&example);
        if !here.contains(&rule.sort) {
            wrong.push(format!("{} misses {example}: {here:?}", rule.sort));
        }
        let told =
            rule.sort.as_bytes().windows(8).any(|w| example.as_bytes().windows(8).any(|v| v == w));
        if told {
            wrong.push(format!("{}: its name is a part of what it names", rule.sort));
        }
        if found(rule.other).contains(&rule.sort) {
            wrong.push(format!("{} takes {} for one", rule.sort, rule.other));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_kind_of_token_is_hidden_in_each_place_and_encoding() {
    for rule in rules::all() {
        let token = rule.example.concat();
        let b64 = BASE64.encode(format!("user:{token}").as_bytes());
        let percent: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
        let places = [
            token.clone(),
            format!("--flag={token}"),
            format!("https://h/p?q={token}&r=1"),
            format!("{{\"a\":\"{}\"}}", token.replace('\n', "\\n")),
            format!("echo '{token}' | cat"),
            BASE64URL_NOPAD.encode(token.as_bytes()),
            BASE64.encode(token.as_bytes()),
            b64,
            percent,
            HEXLOWER.encode(token.as_bytes()),
        ];
        for place in &places {
            let out = masked(&mut masker(), &["tool", place]).join(" ");
            assert!(out.contains("<mask:"), "{}: {place} came through as {out}", rule.sort);
        }
    }
}

#[test]
fn structure_hides_what_no_pattern_knows() {
    let s = UNKNOWN;
    hides(&["x", "--password", s], s);
    hides(&["x", &format!("--password={s}")], s);
    hides(&["x", "--api-key", s], s);
    hides(&["env", &format!("DB_PASSWORD={s}"), "run"], s);
    hides(&["sh", "-c", &format!("export API_TOKEN='{s}'; run")], s);
    hides(&["curl", "-u", &format!("me:{s}"), "http://h"], s);
    hides(&["curl", &format!("-ume:{s}"), "http://h"], s);
    hides(&["sudo", "curl", "--user", &format!("me:{s}"), "http://h"], s);
    hides(&["curl", "-H", &format!("Authorization: Bearer {s}")], s);
    hides(&["curl", "-H", &format!("X-Api-Key:{s}")], s);
    hides(&["curl", "-d", &format!("{{\"client_secret\": \"{s}\"}}")], s);
    hides(&["curl", "-d", &format!("{{\\\"password\\\":\\\"{s}\\\"}}")], s);
    hides(&["curl", &format!("http://h/?user=a&access_token={s}&x=1")], s);
    hides(&["git", "clone", &format!("https://me:{s}@host/r.git")], s);
    hides(&["psql", &format!("postgres://app:{s}@db:5432/x")], s);
    hides(&["mysql", &format!("-p{s}")], s);
    hides(&["x", &format!("Server=db;Password={s};Database=x")], s);
    hides(&["redis-cli", "-a", s], s);
    hides(&["openssl", "enc", "-k", s], s);
    hides(&["openssl", "rsa", "-passin", &format!("pass:{s}")], s);
    hides(&["smbclient", "//h/share", "-U", &format!("me%{s}")], s);
    hides(&["aws", "configure", "set", "aws_secret_access_key", s], s);
    hides(&["npm", "config", "set", "//registry.example/:_authToken", s], s);
    hides(&["env", &format!("DB_PASSWORD={s} and, a; tail"), "run"], "and, a; tail");
    hides(&["kubectl", "create", "secret", &format!("--from-literal=password={s}")], s);
    hides(&["lftp", "-u", &format!("me,{s}"), "h"], s);
    hides(&["x", &format!("clientSecret: {s}")], s);
}

#[test]
fn the_argument_after_a_header_is_none_of_it() {
    let token = "abcDEF123456ghiJKL7890";
    let url = "http://127.0.0.1:40873/v1/models";
    for header in ["Authorization: Bearer", "authorization:token", "Cookie: sid="] {
        let out = masked(&mut masker(), &["curl", "-H", &format!("{header} {token}"), url, "-v"]);
        assert_eq!(out[3..], [url, "-v"], "{out:?}");
        assert!(!out[2].contains(token), "{out:?}");
    }
    // Where a shell split it, all of it goes.
    hides(&["curl", "-H", "Authorization: Bearer", token, url], token);
    hides(&["curl", "-H", "Authorization:", "Bearer", token, url], token);
}

#[test]
fn a_command_within_an_argument_is_read_as_a_shell_reads_it() {
    let s = UNKNOWN;
    let in_shell = |command: String| hides(&["bash", "-c", &command], s);
    in_shell(format!("curl -s -u 'admin:{s}' http://h/"));
    in_shell(format!("cd /tmp && mysql -u root -p{s} -h db"));
    in_shell(format!("sshpass -p '{s}' ssh me@host"));
    in_shell(format!("openssl enc -k {s} -in f | base64"));
    in_shell(format!("ssh-keygen -N '{s}' -f k"));
    in_shell(format!("if true; then redis-cli -a \"{s}\" ping; fi"));
    in_shell(format!("docker login -u me -p {s} registry"));
    in_shell(format!("ldapsearch -w {s} -x"));
    in_shell(format!("x=$(curl --user me:{s} http://h/)"));
    hides(&["ssh", "host", &format!("sudo mysql -p{s}")], s);
    hides(&["bash", "-c", &format!("bash -c \"curl -u 'me:{s}' http://h/\"")], s);
    leaves(&["bash", "-c", "docker run -p 8080:80 -v /a:/b img && curl -s http://h/ | head -1"]);
    leaves(&["sh", "-c", "mkdir -p a/b && cp -a x y; ssh -p 22 me@host 'uptime -p'"]);
    leaves(&["docker", "run", "-p", "8080:80", "nginx"]);
}

#[test]
fn a_secret_seen_once_is_hidden_in_every_encoding_later() {
    let secret = "correct-horse/battery staple";
    let mut masker = masker();
    masked(&mut masker, &["x", "--password", secret]);
    let b64 = |prefix: &str| BASE64.encode(format!("{prefix}{secret} and more").as_bytes());
    let shown = [
        format!("it is {secret}."),
        secret.replace(' ', "%20").replace('/', "%2F"),
        secret.replace(' ', "+").replace('/', "%2f"),
        HEXLOWER.encode(secret.as_bytes()),
        b64(""),
        b64("a"),
        b64("ab"),
        serde_json::to_string(secret).unwrap(),
    ];
    for text in &shown {
        let out = masked(&mut masker, &["echo", text]).join(" ");
        assert!(out.contains("<mask:password:"), "{text} came through as {out}");
    }
}

#[test]
fn one_secret_is_one_token_whatever_it_is_wrapped_in() {
    let mut masker = masker();
    let first = masked(&mut masker, &["x", "--password", UNKNOWN])[2].clone();
    let again = masked(&mut masker, &["echo", &HEXLOWER.encode(UNKNOWN.as_bytes())])[1].clone();
    assert_eq!(first, again);
    let other = Masker::new(MaskKey::fixed(8)).command(&argv(&["x", "--password", UNKNOWN]));
    assert_ne!(other.get()[2].bytes(), first.as_bytes(), "another run has another key");
}

#[test]
fn a_token_says_nothing_of_its_value() {
    let mut masker = masker();
    let once = masked(&mut masker, &["x", "--password", UNKNOWN]);
    assert_eq!(once[2].len(), "<mask:password:0123456789abcdef:0123456789abcdef>".len());
}

#[test]
fn a_token_that_the_capture_cut_is_hidden_with_what_is_left_of_it() {
    let mut masker = masker();
    let out = masker.cut_command(&argv(&["x", "say ghp_01234"]));
    let out = out.get();
    assert_eq!(out[1].bytes().get(..4), Some(&b"say "[..]));
    assert!(!out[1].bytes().windows(8).any(|w| w == b"ghp_0123"));
}

#[test]
fn what_looks_like_a_mask_is_no_way_past_it() {
    hides(&["x", &format!("--password=<mask:{UNKNOWN}")], UNKNOWN);
    hides(&["x", &format!("set password=<mask:{UNKNOWN} now")], UNKNOWN);
    hides(&["x", "--password=a&zQ7#vT2m!pLx9WkR, b"], UNKNOWN);
}

#[test]
fn cards_are_hidden_with_or_without_separators() {
    for card in ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004"] {
        hides(&["pay", card], card);
    }
    leaves(&["pay", "4111111111111112", "1234567890123456", "20240101120000"]);
}

#[test]
fn ordinary_arguments_come_through_untouched() {
    leaves(&["git", "commit", "-m", "fix: the parser: a=b", "--author", "A <a@b.c>"]);
    leaves(&["git", "checkout", "0123456789abcdef0123456789abcdef01234567"]);
    leaves(&["npm", "install", "left-pad@1.3.0", "--registry", "https://h/npm/"]);
    leaves(&["ssh", "-p", "22", "me@host", "uptime"]);
    leaves(&["mkdir", "-p", "/usr/share/author/tokens.d"]);
    leaves(&["grep", "-r", "password", "src/main.rs"]);
    leaves(&["kubectl", "get", "secret", "db-password", "-o", "yaml"]);
    leaves(&["git", "config", "user.name", "A Person"]);
    leaves(&[
        "docker",
        "run",
        "-e",
        "LANG=C.UTF-8",
        "alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ]);
    leaves(&["x", "--token-file", "/run/secrets/t", "--max-tokens-limit=5", "--keyboard=us"]);
    leaves(&[
        "x",
        "password=$PASSWORD",
        "--password-file=/etc/pw",
        "id=550e8400-e29b-41d4-a716-446655440000",
    ]);
    leaves(&[
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
    ]);
    leaves(&["python3", "-c", "import os; print(os.path.join('a', 'b'))"]);
}

proptest! {
    #[test]
    fn any_bytes_pass_without_a_panic(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8), cut: bool) {
        let args: Vec<Raw> = args.into_iter().map(Raw::new).collect();
        let out = masker().fields().argv(args.clone(), cut);
        prop_assert_eq!(out.len(), args.len());
    }

    #[test]
    fn any_text_of_separators_passes(text in "[-=:@%\"'\\\\ a-f0-9/.]{0,300}") {
        masked(&mut masker(), &["curl", "-u", &text, &text]);
    }

    #[test]
    fn a_password_is_hidden_whatever_it_is(secret in "[!-~]{12,40}") {
        prop_assume!(!secret.starts_with(['-', '$', '<']) && !secret.starts_with("{{") && !secret.starts_with("%("));
        let out = masked(&mut masker(), &["x", "--password", &secret, "echo", &format!("a {secret} b")]).join(" ");
        for piece in secret.as_bytes().windows(8) {
            let piece = String::from_utf8_lossy(piece);
            prop_assert!(!out.contains(&*piece), "{} in {}", piece, out);
        }
    }
}

#[test]
fn the_documents_name_each_kind_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/MASKING.md");
    let text = std::fs::read_to_string(path).unwrap();
    let list = text.split("## The built-in kinds").nth(1).unwrap();
    let mut said: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    let mut known: Vec<&str> = rules::all().map(|rule| rule.sort).collect();
    for kinds in [&mut said, &mut known] {
        kinds.sort_unstable();
        kinds.dedup();
    }
    assert_eq!(said, known);
}

#[test]
fn what_benign_texts_have_is_left() {
    for text in [
        "{\"session_id\":\"5f8822a3-6928-14ec-4639-978d6f015f6c\",\"type\":\"tool_use\"}",
        "    let cookie: u64 = read(common);\n    cookie: 0 };",
        "00000010: 2600 0000 0000 0000 4034 0200 0000 0000",
        "keys = [\"password\", \"secret\", \"token2\"]",
        "let token: string = name;",
        "define TOKEN_H\n#define API_KEY_LEN 32",
    ] {
        leaves(&["x", text]);
    }
}

#[test]
fn files_and_programs_show_no_secret_where_they_have_one() {
    for place in [
        "db.host:5432:mydb:me:@\n",
        "me:@@tcp(127.0.0.1:3306)/db",
        "jdbc:oracle:thin:scott/@@//h:1521/x",
        "apiVersion: v1\nkind: Secret\ndata:\n  foo: @\n",
        "{\"apiVersion\":\"v1\",\"data\":{\"foo\":\"@\"},\"kind\":\"Secret\"}",
        "{\"value\":\"@\",\"name\":\"DB_PASSWORD\"}",
        "{\"tool\":\"Bash\",\"arguments\":\"{\\\"command\\\":\\\"mysql -p@ db\\\"}\"}",
        "{\"command\":\"mysql\",\"args\":[\"-uroot\",\"-p@\"]}",
        "password: &pw @",
        "password: !!str @",
        "<password><![CDATA[@]]></password>",
        "<property><name>fs.secret.key</name><value>@</value></property>",
        "api_keys = [\"@\", \"x\"]",
        "INSERT INTO users (name, password) VALUES ('me', '@');",
        "ALTER USER me IDENTIFIED WITH x BY '@'",
        "set password for 'u'@'h' = '@'",
        "PRAGMA key = '@'",
        "SECRET_KEY = b\"@\"",
        "os.environ.setdefault(\"DB_PASSWORD\", \"@\")",
        "headers.set(\"X-Api-Key\", \"@\")",
        "requests.get(u, auth=('me', '@'))",
        "DriverManager.getConnection(url, \"me\", \"@\")",
        "proxy_set_header X-Api-Key @;",
        "setenv API_TOKEN @",
        "set -gx API_TOKEN @",
        "#define API_KEY \"@\"",
        "val apiKey: String = \"@\"",
        "Dim password As String = \"@\"",
        "using api key @ for it",
        "Password for user me: @",
        "- **Password**: @",
        "| Password | @ |",
        "<input value=\"@\" name=\"csrf_token\">",
        "userPassword:: @",
        "https://@:x-oauth-basic@github.com/a",
    ] {
        for secret in ["zQ7vT2mXpLx9WkR", "dragonfly2024"] {
            let text =
                place.replace("'u'@'h'", "'u'\u{1}'h'").replace("basic@git", "basic\u{1}git");
            let text = text.replace("@@", &format!("{secret}\u{1}")).replace('@', secret);
            hides(&["x", &text.replace('\u{1}', "@")], secret);
        }
    }
}

#[test]
fn an_error_in_a_policy_shows_no_secret_of_its_line() {
    let why =
        "TOML parse error at line 3, column 1\n  |\n3 | password = \"zQ7vT2mXpLx9WkR\"\n  | ^";
    let long = format!("{} {}", "as it is,".repeat(100), &"ghp_k3J9xQ0fTz8LmW2aVb7YpRs4"[..20]);
    for (why, cut, secret) in [(why, false, "zQ7vT2mX"), (&long, true, "k3J9xQ0f")] {
        let policy = Reload {
            file: Raw::from("/etc/observer/policy.toml"),
            sha256: None,
            generation: None,
            why: Some(Raw::from(why)),
            cut,
        };
        let masked = Masker::new(MaskKey::fixed(1)).reload(policy);
        let shown = String::from_utf8_lossy(masked.get().why.as_ref().unwrap().bytes());
        assert!(!shown.contains(secret) && shown.contains("<mask:"), "{shown}");
        assert!(shown.starts_with(&why[..20]) && !masked.counts().is_empty(), "{shown}");
        assert_eq!(masked.get().file, Raw::from("/etc/observer/policy.toml"));
    }
}

#[test]
fn a_text_that_was_clean_is_not_under_other_rules_or_once_its_secret_is_known() {
    let rules = SharedRules::new(Rules::default());
    let mut masker = masker();
    masker.follow(rules.clone());
    let mut say = |text: &str| {
        let out = masker.text(Raw::from(text));
        String::from_utf8_lossy(out.get().bytes()).into_owned()
    };
    for text in ["see acme12:qwertz", "say dragonfly-2024"] {
        assert_eq!([say(text), say(text)], [text; 2]);
    }
    let ours = "[[rules]]\nid = \"acme-key\"\nregex = 'acme[0-9]{2}:[a-z]+'\nkeywords = [\"acme\"]";
    rules.set(Rules::parse(ours).unwrap());
    assert!(say("see acme12:qwertz").contains("<mask:acme-key:"));
    say("password=dragonfly-2024");
    assert!(say("say dragonfly-2024").contains("<mask:"));
}

#[test]
fn letters_of_both_cases_without_a_digit_are_a_secret_where_one_stands() {
    hides_in_text("Server=h;User Id=me;Password=LNAgeGTNBdzQ;Encrypt=true", "LNAgeGTNBdzQ");
    hides_in_text("GET https://h/v1?api_key=uXGOqGwbnLpJ&x=1", "uXGOqGwbnLpJ");
    hides_in_text("see https://h/v1?api_key=swordfish for it", "swordfish");
    hides_in_text("My API key is SxLCjODMRVLP", "SxLCjODMRVLP");
    hides_in_text("apikey: gyQxitMkBvCg", "gyQxitMkBvCg");
    for code in [
        "let token = nextTokenOf(reader);",
        "password=defaultPassword; user=defaultUser;",
        "apiKey: userApiToken,",
        "the password is requiredByPolicy for all",
        "https://h/v1?api_key=YOUR_API_KEY",
    ] {
        assert_eq!(text_of(code), code);
    }
}

#[test]
fn what_is_sent_where_a_program_asks_for_a_password_is_hidden() {
    let s = "swordfish-not";
    hides_in_text(&format!("expect \"assword:\"; send \"{s}\\r\""), s);
    hides_in_text(&format!("expect -re \"*?assword*\" {{ send -- \"{s}\\r\" }}"), s);
    hides_in_text(&format!("child.expect('Password:')\nchild.sendline('{s}')"), s);
    for plain in [
        "expect \"assword:\"; send \"$pw\\r\"",
        "asked for a password then send \"hello there\"",
        "forgot your password? we send 'a link'",
    ] {
        assert_eq!(text_of(plain), plain);
    }
}

#[test]
fn a_user_in_a_url_of_letters_of_both_cases_and_digits_is_a_token() {
    hides_in_text("git remote add o https://Pa55w0rd_x@github.com/a/b", "Pa55w0rd_x");
    for user in ["git", "buildbot", "Jenkins", "deploy2026"] {
        let text = format!("git clone ssh://{user}@github.com/a/b");
        assert_eq!(text_of(&text), text);
    }
}

fn text_of(text: &str) -> String {
    let out = masker().text(Raw::from(text));
    String::from_utf8_lossy(out.get().bytes()).into_owned()
}

fn hides_in_text(text: &str, secret: &str) {
    let out = text_of(text);
    assert!(!out.contains(secret), "{out}");
}
