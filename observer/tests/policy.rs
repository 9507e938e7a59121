//! `policy suggest`, `replay` and `explain` as commands: what they say of a ledger's bytes.
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// DEL, a C1 control, a bidirectional override, a zero width space.
const ODD: &str = "\u{7f}\u{9b}\u{202e}\u{200b}";

fn policy(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.arg("policy").args(args).current_dir(dir).output().unwrap()
}

fn exec(path: &str) -> String {
    let exec = serde_json::json!({ "path": path, "filename": path, "argv": [path] });
    let record = serde_json::json!({ "idx": 0, "type": "call", "kind": "exec", "call": "r/1",
        "verdict": "allowed", "exec": exec });
    format!("{}\n", serde_json::json!({ "rec": record }))
}

#[test]
fn what_is_no_record_or_cannot_be_judged_is_said_in_what_is_suggested() {
    let dir = TempDir::new().unwrap();
    let unread = r#"{"rec":{"idx":1,"type":"call","kind":"connect","net":{"op":"connect","protocol":"odd"}}}"#;
    let lines = format!("{}nothing\n{unread}\ntorn", exec("/usr/bin/git"));
    fs::write(dir.path().join("l.jsonl"), lines).unwrap();
    let text = String::from_utf8(policy(dir.path(), &["suggest", "l.jsonl"]).stdout).unwrap();
    assert!(text.contains("# not covered: 2 lines that are no records"), "{text}");
    assert!(text.contains("# not covered: connect ("), "{text}");
}

#[test]
fn json_answers_move_no_cursor() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("l.jsonl"), exec(&format!("/usr/bin/{ODD}"))).unwrap();
    fs::write(dir.path().join("p.toml"), "version = 1\ndefault = \"deny\"\n").unwrap();
    for args in [
        &["replay", "--policy", "p.toml", "--json", "l.jsonl"][..],
        &["explain", "--json", "p.toml", "lookup", ODD],
        &["suggest", "l.jsonl"],
    ] {
        let text = String::from_utf8(policy(dir.path(), args).stdout).unwrap();
        assert!(!text.is_empty() && !text.contains(|c| ODD.contains(c)), "{args:?}: {text:?}");
    }
}
