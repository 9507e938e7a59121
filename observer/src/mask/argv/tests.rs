//! Where commands take their secrets.

mod commands;

use commands::COMMANDS;

use crate::mask::{MaskKey, Masker};
use crate::model::Raw;

/// What people choose: letters and digits, signs, a word with a number, hex.
const SECRETS: &[&str] =
    &["zQ7vT2mXpLx9WkR", "kP4-wN8_s.YcVb3", "dragonfly2024", "9f3c0a7be4d1528697aab0c3d4e5f601"];

fn shown(argv: &[String]) -> Vec<String> {
    let argv: Vec<Raw> = argv.iter().map(|arg| Raw::from(arg.as_str())).collect();
    let out = Masker::new(MaskKey::fixed(7)).command(&argv);
    out.get().iter().map(|raw| String::from_utf8_lossy(raw.bytes()).into_owned()).collect()
}

fn filled(form: &[&str], secret: &str) -> Vec<String> {
    let fill = |arg: &&str| {
        let kept = arg
            .replace("'u'@'h'", "'u'\u{1}'h'")
            .replace("u@h", "u\u{1}h")
            .replace("+@all", "+\u{1}all");
        let both = format!("{secret}\u{1}");
        kept.replace("@@", &both).replace('@', secret).replace('\u{1}', "@")
    };
    form.iter().map(fill).collect()
}

#[test]
fn commands_show_no_secret_where_they_take_one() {
    let mut leaks = vec![];
    for form in COMMANDS {
        for secret in SECRETS {
            let out = shown(&filled(form, secret)).join(" ");
            let piece = |piece: &[u8]| out.contains(&*String::from_utf8_lossy(piece));
            if secret.as_bytes().windows(8).any(piece) {
                leaks.push(out);
            }
        }
    }
    assert!(leaks.is_empty(), "{} of {}: {leaks:#?}", leaks.len(), COMMANDS.len() * SECRETS.len());
}

#[test]
fn commands_that_take_none_come_through_untouched() {
    for argv in [
        &["curl", "-sSL", "-o", "a.json", "https://example.com/u:1/x"][..],
        &["curl", "-fsSLu", "me:", "https://example.com/"],
        &["mysql", "-u", "root", "-p", "db"],
        &["docker", "run", "-p", "8080:80", "-u", "1000:1000", "img"],
        &["ssh", "-p", "2222", "host", "ls", "-l"],
        &["vault", "kv", "get", "secret/x"],
        &["cargo", "test", "-p", "observer"],
        &["az", "vm", "list", "-p", "x"],
        &["sh", "-c", "echo hello | grep -c l > out.txt; cat <<< word"],
        &["git", "commit", "-m", "Add the login page: users, names"],
        &["net", "use"],
        &["kubectl", "get", "secret", "-n", "prod"],
        &["openssl", "x509", "-in", "a.pem", "-noout"],
        &["zip", "-r", "a.zip", "dir"],
        &["htpasswd", "-c", "file", "user"],
    ] {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
        assert_eq!(shown(&argv), argv);
    }
}
