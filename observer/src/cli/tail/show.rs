//! A record as one line of text.

use std::fmt::Write;

use observer::model::moves;
use serde_json::Value;

/// The longest text of an agent's that is shown whole.
const LONGEST: usize = 240;

/// A record and what is known of it from elsewhere.
pub(super) struct Shown<'a> {
    pub(super) record: &'a Value,
    pub(super) outcome: Option<&'a Value>,
    pub(super) depth: usize,
}

/// Writes lines, in colour or not.
pub(super) struct Painter {
    color: bool,
}

#[derive(Clone, Copy)]
enum Paint {
    Plain,
    Good,
    Denied,
    Failed,
    Dim,
}

impl Painter {
    pub(super) fn new(color: bool) -> Self {
        Self { color }
    }

    pub(super) fn line(&self, shown: &Shown<'_>) -> String {
        let record = shown.record;
        // 2026-01-02T03:04:05.678901234Z
        let time =
            record["time"].as_str().and_then(|time| time.get(11..23)).unwrap_or("--:--:--.---");
        let agent = printable(record["agent"].as_str().unwrap_or("-"));
        let indent = "  ".repeat(shown.depth);
        let (mark, paint, end) = self.end(shown);
        let what = what(record);
        let kind = record["kind"].as_str().or(record["type"].as_str()).unwrap_or("?");
        let head = format!("{indent}{kind:<8} {what}");
        let mut out = String::new();
        let time = self.paint(Paint::Dim, &printable(time));
        let _ = write!(out, "{time} {agent:<8} {} ", self.paint(paint, mark));
        if end.is_empty() {
            out.push_str(&head);
        } else {
            let _ = write!(out, "{head:<56} {}", self.paint(paint, &end));
        }
        out.trim_end().to_owned()
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            _ if !self.color => return text.to_owned(),
            Paint::Plain => return text.to_owned(),
            Paint::Good => "32",
            Paint::Denied => "1;31",
            Paint::Failed => "33",
            Paint::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The mark, its colour, and what stands at the line's end.
    fn end(&self, shown: &Shown<'_>) -> (&'static str, Paint, String) {
        let record = shown.record;
        match record["type"].as_str() {
            Some("loss") | Some("escape") | Some("recover") => {
                return ("‼", Paint::Denied, String::new());
            }
            Some("coverage") => return ("·", Paint::Dim, String::new()),
            Some("call" | "result") => {}
            _ => return ("·", Paint::Plain, String::new()),
        }
        if record["verdict"] == "denied" {
            let rule = printable(record["rule"].as_str().unwrap_or("?"));
            return ("✗", Paint::Denied, format!("DENIED by {rule}"));
        }
        let would = record["verdict"] == "would_deny";
        let Some(outcome) = shown.outcome else {
            let end = if would { would_deny(record) } else { String::new() };
            return ("…", Paint::Plain, end);
        };
        let mut how = how(outcome);
        if would {
            how = format!("{how}  {}", would_deny(record));
            return ("≈", Paint::Denied, how.trim_start().to_owned());
        }
        match outcome["status"].as_str() {
            Some("ok") => ("✓", Paint::Good, how),
            Some("failed") => ("!", Paint::Failed, how),
            _ => ("?", Paint::Plain, how),
        }
    }
}

/// That a rule which is not enforced would have stopped it.
fn would_deny(record: &Value) -> String {
    format!("WOULD BE DENIED by {}", printable(record["rule"].as_str().unwrap_or("?")))
}

fn how(outcome: &Value) -> String {
    let mut out = if let Some(status) = outcome["http_status"].as_u64() {
        let reason = printable(outcome["reason"].as_str().unwrap_or_default());
        format!("{status} {reason}").trim_end().to_owned()
    } else if let Some(rcode) = outcome["rcode"].as_str() {
        printable(rcode)
    } else if let Some(error) = outcome["error"].as_str() {
        printable(error)
    } else if let Some(errno) = outcome["errno"].as_i64() {
        format!("errno {errno}")
    } else if let Some(exit) = outcome["exit"].as_i64() {
        format!("exit {exit}")
    } else if let Some(signal) = outcome["signal"].as_i64() {
        format!("signal {signal}")
    } else {
        printable(outcome["reason"].as_str().unwrap_or_default())
    };
    if let Some(ns) = outcome["duration_ns"].as_u64() {
        let ms = ns / 1_000_000;
        let time = if ms >= 10_000 {
            format!("{} s", ms / 1000)
        } else if ms > 0 {
            format!("{ms} ms")
        } else {
            format!("{} µs", ns / 1000)
        };
        out = if out.is_empty() { time } else { format!("{out}  {time}") };
    }
    out
}

fn what(record: &Value) -> String {
    let text = |at: &str| record.pointer(at).map(bytes_of).unwrap_or_default();
    let word = |at: &str| printable(&String::from_utf8_lossy(&text(at)));
    match record["type"].as_str() {
        Some("call" | "result") if record["exec"].is_object() => command(&record["exec"]),
        Some("call" | "result") if record["net"].is_object() => network(&record["net"]),
        Some("call") if record["dns"].is_object() => question(&record["dns"]),
        Some("call") if record["http"].is_object() => request(&record["http"]),
        Some("result") => {
            format!("of call {}", word("/call").rsplit('/').next().unwrap_or_default())
        }
        Some("run.start") => {
            let attached = record["start"]["attached"] == true;
            let how = if attached { "attached to" } else { "in" };
            format!("{how} {}", word("/start/cgroup"))
        }
        Some("run.end") => {
            let counts = &record["counts"];
            let count = |key: &str| counts[key].as_u64().unwrap_or(0);
            format!(
                "{}: {} calls, {} denied, {} failed, {} lost",
                word("/end/why"),
                count("calls"),
                count("denied"),
                count("failed"),
                count("lost")
            )
        }
        Some("loss") => format!(
            "{} lost at {}: {}",
            record["loss"]["count"],
            word("/loss/place"),
            word("/loss/why")
        ),
        Some("escape") => {
            let held = if record["escape"]["held"] == true {
                "socket rules hold there too"
            } else {
                "NOT HELD there"
            };
            format!(
                "process {} ({}) went to {}: {held}",
                record["process"]["pid"],
                word("/process/comm"),
                word("/escape/to")
            )
        }
        Some("coverage") => {
            let not = if record["coverage"]["covered"] == true { "" } else { "not covered: " };
            format!("{not}{}: {}", word("/coverage/what"), word("/coverage/why"))
        }
        Some("recover") => {
            format!("{} ({} bytes)", word("/recover/what"), record["recover"]["bytes"])
        }
        Some("observer.start") => format!("observer {} on {}", word("/version"), word("/kernel")),
        _ => String::new(),
    }
}

fn command(exec: &Value) -> String {
    let argv = exec["argv"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut words: Vec<String> = argv.iter().map(|arg| quote(&bytes_of(arg))).collect();
    // One that never ran is known by the file that was tried: a search of PATH tries many.
    let tried = quote(&bytes_of(&exec["filename"]));
    match words.first_mut() {
        None => words.push(tried),
        Some(first) if exec["path"].is_null() && exec["filename"].is_string() => *first = tried,
        Some(_) => {}
    }
    bound(words.join(" "))
}

/// The method and the URL, and what makes a reader doubt them.
fn request(http: &Value) -> String {
    let word = |key: &str| printable(&String::from_utf8_lossy(&bytes_of(&http[key])));
    let doubt = if http["ambiguous"].is_array() { " (ambiguous)" } else { "" };
    bound(format!("{} {}{doubt}", word("method"), word("url")))
}

fn question(dns: &Value) -> String {
    let server = printable(dns["server"]["addr"].as_str().unwrap_or("?"));
    if let Some(bytes) = dns["unread"].as_u64() {
        return format!("{bytes} bytes that can't be read, to {server}");
    }
    let kind = printable(dns["type"].as_str().unwrap_or("?"));
    bound(format!("{kind} {} of {server}", quote(&bytes_of(&dns["name"]))))
}

fn network(net: &Value) -> String {
    let end = |key: &str| {
        let address = printable(net[key]["addr"].as_str()?);
        let port = net[key]["port"].as_u64()?;
        Some(if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        })
    };
    let op = net["op"].as_str().unwrap_or_default();
    let op = if matches!(op, "connect" | "listen") {
        String::new()
    } else {
        format!("{} ", printable(op))
    };
    let protocol = printable(net["protocol"].as_str().unwrap_or("?"));
    let name = |key: &str| net.get(key).map(|name| quote(&bytes_of(name)));
    let place = end("peer")
        .or_else(|| end("local"))
        .or_else(|| name("path"))
        .or_else(|| name("abstract").map(|name| format!("abstract {name}")))
        .unwrap_or_default();
    let known = net.get("name").map(|name| format!(" ({})", quote(&bytes_of(name))));
    bound(format!("{op}{protocol} {place}{}", known.unwrap_or_default()))
}

/// The bytes of a text, however it is written.
fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Object(map) => map
            .get("b64")
            .and_then(Value::as_str)
            .and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok())
            .unwrap_or_default(),
        _ => vec![],
    }
}

/// As a shell would take it, if nothing in it had to be escaped for the terminal.
fn quote(arg: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,<>".contains(b);
    let text = match std::str::from_utf8(arg) {
        Ok(text) => printable(text),
        Err(_) => arg.escape_ascii().to_string(),
    };
    if !arg.is_empty() && arg.iter().all(plain) { text } else { format!("'{text}'") }
}

/// Nothing that moves a cursor, hides, or turns what stands around it about.
pub(in crate::cli) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if moves(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON with such characters as JSON escapes them: it stays the same value.
pub(in crate::cli) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if moves(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn bound(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}… ({} more)", &text[..at], text.chars().count() - LONGEST),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn line(record: Value, outcome: Value) -> String {
        let outcome = (!outcome.is_null()).then_some(outcome);
        let shown = Shown { record: &record, outcome: outcome.as_ref(), depth: 1 };
        Painter::new(false).line(&shown)
    }

    #[test]
    fn an_exec_reads_as_it_was_typed() {
        let record = json!({"type": "call", "kind": "exec", "agent": "demo", "verdict": "allowed",
            "time": "2026-01-02T12:00:01.123456789Z", "exec": {"argv": ["curl", "-H", "A: b", ""]}});
        let outcome = json!({"status": "ok", "exit": 0, "duration_ns": 12_300_000});
        let shown = line(record, outcome);
        assert!(
            shown.starts_with("12:00:01.123 demo     ✓   exec     curl -H 'A: b' ''"),
            "{shown}"
        );
        assert!(shown.ends_with("exit 0  12 ms"), "{shown}");
    }

    #[test]
    fn a_search_of_path_shows_each_place_that_was_tried() {
        let tried = |file: &str| {
            let exec = json!({"argv": ["bash", "x.sh"], "filename": file});
            line(json!({"type": "call", "kind": "exec", "exec": exec}), Value::Null)
        };
        assert!(tried("/usr/local/bin/bash").contains(" /usr/local/bin/bash x.sh"));
        assert!(tried("/bin/bash").contains(" /bin/bash x.sh"));
    }

    #[test]
    fn a_denial_names_its_rule() {
        let record = json!({"type": "call", "kind": "connect", "verdict": "denied", "rule": "meta",
            "net": {"op": "connect", "protocol": "tcp", "peer": {"addr": "::1", "port": 80}}});
        let shown = line(record, json!({"status": "failed"}));
        assert!(shown.contains("✗") && shown.contains("tcp [::1]:80"), "{shown}");
        assert!(shown.ends_with("DENIED by meta"), "{shown}");
    }

    #[test]
    fn what_would_be_denied_shows_its_end_and_its_rule() {
        let record = json!({"type": "call", "kind": "exec", "verdict": "would_deny", "rule": "r",
            "exec": {"argv": ["git"]}});
        let shown = line(record, json!({"status": "ok", "exit": 0}));
        assert!(shown.contains('≈') && shown.ends_with("exit 0  WOULD BE DENIED by r"), "{shown}");
    }

    #[test]
    fn a_question_shows_its_name_and_a_connect_the_one_it_came_by() {
        let server = json!({"addr": "192.0.2.53", "port": 53});
        let asked = json!({"name": "a.example", "type": "AAAA", "server": server});
        let shown = line(json!({"type": "call", "kind": "dns", "dns": asked}), Value::Null);
        assert!(shown.ends_with("dns      AAAA a.example of 192.0.2.53"), "{shown}");
        let net = json!({"op": "connect", "protocol": "tcp", "name": "a.example",
            "name_from": "dns", "peer": {"addr": "192.0.2.1", "port": 443}});
        let shown = line(json!({"type": "call", "kind": "connect", "net": net}), Value::Null);
        assert!(shown.ends_with("tcp 192.0.2.1:443 (a.example)"), "{shown}");
    }

    #[test]
    fn what_is_not_text_is_shown_escaped() {
        let b64 = data_encoding::BASE64.encode(b"a\xff\x1b[2J");
        let record = json!({"type": "call", "kind": "exec", "exec": {"argv": [{"b64": b64}]}});
        assert!(line(record, Value::Null).contains("'a\\xff\\x1b[2J'"));
    }

    proptest! {
        #[test]
        fn escaped_json_is_the_same_value_and_moves_no_cursor(text in any::<String>()) {
            let value = json!({ "text": text, "ends": "\u{9b}\u{202e}\u{7f}\u{e0041}" });
            let shown = escaped(&value.to_string());
            prop_assert!(!shown.chars().any(moves), "{:?}", shown);
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }

        #[test]
        fn nothing_that_an_agent_chose_moves_the_cursor(text in any::<String>(), bytes: Vec<u8>) {
            let b64 = data_encoding::BASE64.encode(&bytes);
            for kind in ["call", "result", "loss", "escape", "coverage", "recover", "run.start", "run.end"] {
                let record = json!({"type": kind, "kind": text, "agent": text, "rule": text,
                    "verdict": "denied", "time": text, "call": text,
                    "exec": {"argv": [text, {"b64": b64}]}, "process": {"comm": text},
                    "loss": {"place": text, "why": text}, "escape": {"to": text}, "recover": {"what": text},
                    "start": {"cgroup": text}, "end": {"why": text}, "coverage": {"what": text, "why": text}});
                let shown = line(record, json!({"status": "failed", "error": text}));
                prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
            }
        }
    }
}
