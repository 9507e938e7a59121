//! `policy suggest`, `replay` and `explain` as commands: what they say of a ledger's bytes.
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

use std::fs;
use std::os::unix::fs::symlink;
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

/// Each call, and what must be said of it.
#[test]
fn destinations_sockets_and_doors_are_explained_by_the_words_of_rules() {
    let dir = TempDir::new().unwrap();
    let socket =
        dir.path().join("real.sock").canonicalize().unwrap_or(dir.path().join("real.sock"));
    fs::write(&socket, "").unwrap();
    symlink(&socket, dir.path().join("link.sock")).unwrap();
    let socket = socket.canonicalize().unwrap();
    let text = format!(
        "version = 1\ndefault = \"deny\"\n\
         [[allow]]\nid = \"api\"\nnet = {{ host = \"api.example.com\", port = 443 }}\n\
         [[deny]]\nid = \"ten\"\nnet = {{ to = \"10.0.0.0/8\" }}\n\
         [[deny]]\nid = \"cdn\"\nnet = {{ host = \"cdn.example.com\" }}\n\
         [[allow]]\nid = \"sock\"\nunix = {{ path = \"{}\" }}\n\
         [[allow]]\nid = \"abstract\"\nunix = {{ abstract = \"a name\" }}\n\
         [[deny]]\nid = \"attach\"\nsystem = [\"ptrace\"]\n",
        socket.display()
    );
    fs::write(dir.path().join("p.toml"), text).unwrap();
    let names = ["--name", "cdn.example.com", "--name", "API.example.com."];
    for (call, code, rule) in [
        (&["connect", "Api.Example.com.:443"][..], 0, "api"),
        (&["connect", "api.example.com:80"], 1, "default"),
        (&["connect", "cdn.example.com:443"], 1, "cdn"),
        (&["connect", "192.0.2.1:443"], 1, "default"),
        (&[&["connect"], &names[..2], &["192.0.2.1:443"]].concat(), 1, "cdn"),
        (&[&["connect"], &names[..], &["192.0.2.1:443"]].concat(), 0, "api"),
        (&[&["connect"], &names[..], &["10.0.0.1:443"]].concat(), 1, "ten"),
        (&["unix", "link.sock"], 0, "sock"),
        (&["unix", "@a name"], 0, "abstract"),
        (&["unix", "/run/docker.sock"], 1, "default"),
        (&["system", "ptrace"], 1, "attach"),
    ] {
        let out = policy(dir.path(), &[&["explain", "--json", "p.toml"], call].concat());
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{call:?}: {told}");
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(said["rule"], rule, "{call:?}: {said}");
        let named = call.len() == 2 && call[0] == "connect" && !call[1].starts_with("192");
        assert_eq!(said["note"].is_string(), named, "{call:?}: {said}");
    }
    for call in
        [&["connect", "::1:443"][..], &["connect", "a b:1"], &["connect", "a"], &["system", "x"]]
    {
        let out = policy(dir.path(), &[&["explain", "p.toml"], call].concat());
        assert_eq!(out.status.code(), Some(2), "{call:?}");
    }
}

#[test]
fn rules_that_no_hook_of_this_kernel_holds_are_warned_of() {
    let dir = TempDir::new().unwrap();
    let text =
        "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"attach\"\nsystem = [\"ptrace\"]\n";
    fs::write(dir.path().join("p.toml"), text).unwrap();
    let out = policy(dir.path(), &["check", "--json", "p.toml"]);
    assert_eq!(out.status.code(), Some(0));
    let said = String::from_utf8(out.stdout).unwrap();
    let list = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or("bpf".to_owned());
    let missing = !list.trim().split(',').any(|name| name == "bpf");
    assert_eq!(said.contains("this kernel can't hold the rule"), missing, "{said}");
}
