//! `policy suggest`, `replay` and `explain` as commands: what they say of a ledger's bytes.
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
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

/// A call of a run, as records have it.
fn call(n: usize, kind: &str, fields: serde_json::Value) -> serde_json::Value {
    let mut record = serde_json::json!({ "idx": n, "type": "call", "run": "r", "kind": kind,
        "call": format!("r/{n}"), "verdict": "allowed" });
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record
}

/// The records of a name's look-up, and of a connect to where it led.
fn reached(n: usize, name: &str, addr: &str, trusted: bool) -> Vec<serde_json::Value> {
    use serde_json::json;
    let answer = json!({ "idx": n + 1, "type": "result", "run": "r", "call": format!("r/{n}"),
        "kind": "dns", "dns": { "answers": [{ "type": "A", "addr": addr }], "trusted": trusted } });
    let net = json!({ "op": "connect", "protocol": "tcp", "name": name,
        "peer": { "addr": addr, "port": 443 } });
    vec![
        call(n, "dns", json!({ "dns": { "name": name, "type": "A" } })),
        answer,
        call(n + 2, "connect", json!({ "net": net })),
    ]
}

#[test]
fn what_is_suggested_of_a_ledger_is_replayed_without_a_denial_and_parses_without_a_warning() {
    use serde_json::json;
    let resolver = call(
        90,
        "connect",
        json!({ "net": { "op": "send", "protocol": "udp",
        "peer": { "addr": "127.0.0.53", "port": 53 } } }),
    );
    let mut names: Vec<serde_json::Value> = vec![resolver];
    for (n, name) in ["a.pkg.example.com", "b.pkg.example.com", "c.pkg.example.com", "d.co.uk"]
        .iter()
        .enumerate()
    {
        names.extend(reached(100 + 3 * n, name, &format!("192.0.2.{n}"), true));
    }
    // A connection that asks for another name than led there, one that asks for none, and requests.
    names.extend(reached(150, "edge.example.net", "192.0.2.78", true));
    names.extend(reached(160, "plain.example.net", "192.0.2.79", true));
    let peer = |last: u32| json!({ "addr": format!("192.0.2.{last}"), "port": 443 });
    names.push(call(153, "tls", json!({ "tls": { "sni": "api.example.org", "peer": peer(78) } })));
    names.push(call(163, "tls", json!({ "tls": { "peer": peer(79) } })));
    let http = json!({ "url": "http://www.example.org:443/", "version": "1.1",
        "transport": "plaintext", "peer": peer(78) });
    names.push(call(154, "http", json!({ "http": http })));
    // One address under two names, and a name that only the run's own resolver gave.
    names.extend(reached(130, "b.pkg.example.com", "192.0.2.0", true));
    names.extend(reached(140, "own.example.com", "192.0.2.77", false));
    let sockets = vec![
        call(
            1,
            "connect",
            json!({ "net": { "op": "connect", "protocol": "unix", "path": "/var/run/x.sock" } }),
        ),
        call(
            2,
            "connect",
            json!({ "net": { "op": "connect", "protocol": "unix", "path": "rel/y.sock" } }),
        ),
        call(
            3,
            "connect",
            json!({ "net": { "op": "connect", "protocol": "unix", "abstract": "a name" } }),
        ),
        call(4, "system", json!({ "system": { "op": "userns" } })),
        call(5, "socket", json!({ "net": { "op": "open", "protocol": "icmp" } })),
        call(
            6,
            "connect",
            json!({ "net": { "op": "connect", "protocol": "icmp",
            "peer": { "addr": "192.0.2.91", "port": 0 } } }),
        ),
        call(
            7,
            "connect",
            json!({ "net": { "op": "connect", "protocol": "tcp",
            "peer": { "addr": "192.0.2.91", "port": 22 } } }),
        ),
    ];
    let script = json!({ "exec": { "path": "/usr/bin/dash", "filename": "./run", "cwd": "/home/x",
        "interpreter": "/bin/sh", "argv": ["/bin/sh", "./run", "x"] } });
    let masked = json!({ "exec": { "path": "/usr/bin/curl", "filename": "curl",
        "argv": ["curl", "-u", "<mask:userinfo:k:0>"] } });
    let absent =
        json!({ "exec": { "filename": "/no/such", "argv": ["x"] }, "outcome": { "errno": 2 } });
    let twice = json!({ "exec": { "path": "/opt/tools/run", "filename": "run", "argv": ["run"] } });
    let execs = vec![
        call(1, "exec", script),
        call(2, "exec", masked),
        call(3, "exec", absent),
        call(4, "exec", twice),
    ];
    let run = json!({ "exec": { "path": "/usr/bin/git", "filename": "git", "argv": ["git"] } });
    let dir = TempDir::new().unwrap();
    for (what, records) in [
        ("names", names.clone()),
        ("sockets", sockets.clone()),
        ("execs", execs.clone()),
        ("all", [names, sockets, execs].concat()),
    ] {
        // Nothing runs without a program.
        let records = records.into_iter().chain([call(0, "exec", run.clone())]);
        let lines: String = records.map(|it| format!("{}\n", json!({ "rec": it }))).collect();
        let file = format!("{what}.jsonl");
        fs::write(dir.path().join(&file), lines).unwrap();
        for exact in [&[][..], &["--exact"]] {
            let made = policy(dir.path(), &[&["suggest", &file], exact].concat());
            let text = String::from_utf8(made.stdout).unwrap();
            assert!(made.status.success(), "{what}: {}", String::from_utf8_lossy(&made.stderr));
            fs::write(dir.path().join("p.toml"), &text).unwrap();
            let checked = policy(dir.path(), &["check", "--json", "p.toml"]).stdout;
            let checked: serde_json::Value = serde_json::from_slice(&checked).unwrap();
            assert_eq!(checked["warnings"], json!([]), "{what}: {text}");
            let out = policy(dir.path(), &["replay", "--json", "--policy", "p.toml", &file]);
            let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            assert_eq!(
                (&said["changed"], out.status.code()),
                (&json!(0), Some(0)),
                "{said}\n{text}"
            );
            let grouped = text.contains("\"*.pkg.example.com\"");
            assert_eq!(grouped, exact.is_empty() && matches!(what, "names" | "all"), "{text}");
            let asked = |name: &str| text.contains(name) == matches!(what, "names" | "all");
            assert!(asked("api.example.org") && asked("www.example.org"), "{text}");
            assert!(asked("\"192.0.2.79\""), "{text}");
        }
    }
}

#[test]
fn no_suffix_is_suggested_over_a_name_that_a_connection_was_stopped_for() {
    use serde_json::json;
    let dir = TempDir::new().unwrap();
    let reached = ["a", "b", "c"].iter().enumerate();
    let mut records: Vec<serde_json::Value> =
        reached.flat_map(|(n, it)| reached_at(n, &format!("{it}.example.com"))).collect();
    let suggest = |records: &[serde_json::Value]| {
        let lines: String =
            records.iter().map(|it| format!("{}\n", json!({ "rec": it }))).collect();
        fs::write(dir.path().join("l.jsonl"), lines).unwrap();
        String::from_utf8(policy(dir.path(), &["suggest", "l.jsonl"]).stdout).unwrap()
    };
    assert!(suggest(&records).contains("*.example.com"));
    for fields in [
        json!({ "kind": "tls", "tls": { "sni": "Evil.example.com" } }),
        json!({ "kind": "http", "http": { "url": "http://evil.example.com:80/x" } }),
        json!({ "kind": "dns", "dns": { "name": "evil.example.com" } }),
    ] {
        let mut denied = call(90, "", fields);
        denied["verdict"] = json!("denied");
        records.push(denied);
        let text = suggest(&records);
        assert!(!text.contains('*'), "{text}");
        records.pop();
    }
}

fn reached_at(n: usize, name: &str) -> Vec<serde_json::Value> {
    reached(10 * n, name, &format!("192.0.2.{n}"), true)
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
fn a_loader_and_a_scripts_first_line_are_explained_as_the_kernel_judges_them() {
    let dir = TempDir::new().unwrap();
    let place = dir.path().canonicalize().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = place.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let loader = file("ld-linux-x86-64.so.2", b"\x7fELF");
    let tool = file("tool", b"\x7fELF");
    let script = file("run", format!("#! {loader}  --inhibit-cache \nx").as_bytes());
    let loaded = file("loaded", format!("#!{loader} {tool}\n").as_bytes());
    fs::write(
        dir.path().join("p.toml"),
        format!(
            "version = 1\ndefault = \"allow\"\n\
             [[deny]]\nid = \"no-tool\"\nexec = {{ program = {tool:?} }}\n\
             [[deny]]\nid = \"no-cache\"\nexec = {{ program = \"run\", args = [\"--inhibit-cache\"] }}\n"
        ),
    )
    .unwrap();
    let (loader, tool, script, loaded) = (&*loader, &*tool, &*script, &*loaded);
    for (call, code, rule) in [
        (&[loader, "/usr/bin/env"][..], 0, "default"),
        (&[loader, tool], 1, "no-tool"),
        (&[loader, "--argv0", "x", "./tool"], 1, "no-tool"),
        (&[script], 1, "no-cache"),
        (&[loaded, "x"], 1, "no-tool"),
    ] {
        let out = policy(dir.path(), &[&["explain", "--json", "p.toml", "exec"], call].concat());
        let told = String::from_utf8_lossy(&out.stderr);
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(
            (out.status.code(), &said["rule"]),
            (Some(code), &rule.into()),
            "{call:?}: {told}"
        );
        assert!(said["hook"].as_str().unwrap().contains("among its arguments"), "{call:?}: {said}");
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
