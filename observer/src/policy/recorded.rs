//! Attempts, as records tell them.

use std::net::IpAddr;

use serde_json::Value;

use super::compile::RAW;
use super::judge::{Attempt, Program};
use super::known::Known;
use crate::model::Door;

/// What of a record can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// An attempt.
    Attempt {
        /// What was attempted.
        attempt: Attempt,
        /// Why the judgement may err: something was masked or cut.
        doubt: Option<&'static str>,
    },
    /// A call that no rule is held against, by its kind.
    Unjudged(String),
}

/// Reads a record; none where it tells no call.
pub fn recorded(record: &Value) -> Option<Recorded> {
    if record["type"] != "call" {
        return None;
    }
    let kind = record["kind"].as_str().unwrap_or_default();
    let unjudged = || Some(Recorded::Unjudged(kind.to_owned()));
    if record["exec"].is_object() {
        let none = || Some(Recorded::Unjudged("exec that found no file".to_owned()));
        return exec(record).or_else(none);
    }
    let net = &record["net"];
    let sure = |attempt| Some(Recorded::Attempt { attempt, doubt: None });
    if net["protocol"] == "unix" {
        return match unix(net) {
            Some((attempt, doubt)) => Some(Recorded::Attempt { attempt, doubt }),
            None => unjudged(),
        };
    }
    if kind == "system" {
        let door = Door::ALL.into_iter().find(|door| record["system"]["op"] == door.word());
        return door.map_or_else(unjudged, |door| sure(Attempt::System(door)));
    }
    match (kind, net["op"].as_str()) {
        ("socket", Some("open")) if net["protocol"] == "netlink" => {
            sure(Attempt::System(Door::Netlink))
        }
        ("connect", Some("connect" | "send")) => match destination(net) {
            Some(attempt) => sure(attempt),
            None => unjudged(),
        },
        ("socket", Some("open")) => {
            sure(Attempt::Socket(net["protocol"].as_str().unwrap_or("raw").to_owned()))
        }
        ("tls" | "http", _) => asked(record, kind).or_else(unjudged),
        ("dns", _) => match name(&record["dns"]["name"]) {
            Some(name) if record["dns"]["op"] != "answer" => sure(Attempt::Lookup(name)),
            _ => unjudged(),
        },
        _ => unjudged(),
    }
}

/// What a connection asks for, where the kernel reads it: not within TLS, and not in HTTP/2. What
/// readers differ in, or can't read, has a rule of its own.
fn asked(record: &Value, kind: &str) -> Option<Recorded> {
    let found = &record[kind];
    let http = kind == "http";
    let plain = found["transport"] == "plaintext" && found["version"] != "2";
    if http && !plain || found["unread"] == true || !found["ambiguous"].is_null() {
        return None;
    }
    let addr = found["peer"]["addr"].as_str()?.parse().ok()?;
    let port = u16::try_from(found["peer"]["port"].as_u64()?).ok()?;
    let name = if http { authority(found["url"].as_str()?) } else { name(&found["sni"]) };
    let masked = name.as_ref().is_some_and(|name| is_masked(name.as_bytes()));
    let doubt = masked.then_some("a part of the name is masked");
    Some(Recorded::Attempt { attempt: Attempt::Asked { addr, port, name }, doubt })
}

/// The name that a URL has, if it is none of an address.
pub(super) fn authority(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let whole = rest.split(['/', '?', '#']).next()?;
    let host = whole.rsplit_once(':').map_or(whole, |(host, _)| host);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = name.starts_with('[') || name.parse::<IpAddr>().is_ok();
    (!name.is_empty() && !address).then_some(name)
}

/// A unix socket: rules are held against what its server bound, and of an allowed connect the record
/// has what the caller wrote.
fn unix(net: &Value) -> Option<(Attempt, Option<&'static str>)> {
    const WRITTEN: &str = "the socket's path stands as the caller wrote it";
    if let Some(path) = bytes(&net["path"]) {
        let path = match path.strip_prefix(b"/var/run/") {
            Some(rest) => [b"/run/", rest].concat(),
            None => path,
        };
        let doubt = (is_masked(&path) || net["op"] == "connect").then_some(WRITTEN);
        return Some((Attempt::UnixPath(path), doubt));
    }
    Some((Attempt::UnixName(bytes(&net["abstract"])?), None))
}

fn exec(record: &Value) -> Option<Recorded> {
    let exec = &record["exec"];
    let path = bytes(&exec["path"]);
    let invoked = bytes(&exec["filename"]).unwrap_or_default();
    let denied = record["verdict"] == "denied";
    if path.is_none() && !denied {
        // It failed before a file was found, so there was nothing to judge.
        return None;
    }
    let file = path.clone().unwrap_or_else(|| absolute(&invoked, &exec["cwd"]));
    let script = exec["interpreter"].is_string() || exec["interpreter"].is_object();
    let (path, interpreter) =
        if script { (absolute(&invoked, &exec["cwd"]), Some(file)) } else { (file, None) };
    let argv: Vec<Vec<u8>> =
        exec["argv"].as_array().into_iter().flatten().filter_map(bytes).collect();
    let masked = |text: &[u8]| is_masked(text);
    let doubt = if masked(&path) || masked(&invoked) {
        Some("a part of the path is masked")
    } else if argv.iter().skip(1).any(|arg| masked(arg)) {
        Some("arguments are masked")
    } else if !record["truncated"]["argv"].is_null() {
        Some("arguments are cut")
    } else {
        None
    };
    let attempt = Attempt::Exec(Program { path, invoked, interpreter, argv, ..Program::default() });
    Some(Recorded::Attempt { attempt, doubt })
}

/// Whether a text holds a mask's token.
pub(super) fn is_masked(text: &[u8]) -> bool {
    text.windows(6).any(|part| part == b"<mask:")
}

/// A file's path as it was named from a directory: what stands for the resolved one where the
/// record has none.
fn absolute(invoked: &[u8], cwd: &Value) -> Vec<u8> {
    let mut whole = match invoked.first() {
        Some(b'/') => vec![],
        _ => bytes(cwd).unwrap_or_default(),
    };
    whole.push(b'/');
    whole.extend(invoked);
    let mut parts: Vec<&[u8]> = vec![];
    for part in whole.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| [b"/", *part].concat()).collect()
}

fn destination(net: &Value) -> Option<Attempt> {
    let addr: IpAddr = net["peer"]["addr"].as_str()?.parse().ok()?;
    let port = u16::try_from(net["peer"]["port"].as_u64()?).ok()?;
    let protocol = protocol(net["protocol"].as_str()?)?;
    let names = name(&net["name"]).into_iter().map(Known::plain).collect();
    Some(Attempt::Net { addr, protocol, port, names })
}

/// A protocol by its word in records.
fn protocol(word: &str) -> Option<u8> {
    Some(match word {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        "sctp" => 132,
        "raw" => RAW,
        other => other.strip_prefix("ip-")?.parse().ok()?,
    })
}

pub(super) fn name(value: &Value) -> Option<String> {
    let name = value.as_str()?.trim_end_matches('.').to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

/// The bytes of a text, however it is written.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Object(map) => {
            let text = map.get("b64")?.as_str()?;
            data_encoding::BASE64.decode(text.as_bytes()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_script_is_judged_by_its_own_path_and_its_interpreter_apart() {
        let record = json!({"type": "call", "kind": "exec", "verdict": "allowed", "exec": {
            "path": "/usr/bin/dash", "filename": "./a/../run", "cwd": "/home/x",
            "interpreter": "/bin/sh", "argv": ["/bin/sh", "./a/../run", "<mask:bearer:k:0>"]}});
        let Some(Recorded::Attempt { attempt: Attempt::Exec(program), doubt }) = recorded(&record)
        else {
            panic!("no exec");
        };
        assert_eq!(program.path, b"/home/x/run");
        assert_eq!(program.interpreter.as_deref(), Some(&b"/usr/bin/dash"[..]));
        assert_eq!(doubt, Some("arguments are masked"));
    }

    #[test]
    fn what_a_connection_asks_for_is_judged_where_the_kernel_reads_it() {
        let peer = json!({"addr": "192.0.2.1", "port": 80});
        let http = |fields: Value| {
            let mut http = json!({"url": "http://A.example.:80/x?y", "version": "1.1", "peer": peer,
                "transport": "plaintext"});
            http.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            recorded(&json!({"type": "call", "kind": "http", "http": http}))
        };
        let asked = |name: Option<&str>| {
            let (addr, name) = ("192.0.2.1".parse().unwrap(), name.map(str::to_owned));
            let attempt = Attempt::Asked { addr, port: 80, name };
            Some(Recorded::Attempt { attempt, doubt: None })
        };
        assert_eq!(http(json!({})), asked(Some("a.example")));
        assert_eq!(
            http(json!({"url": "b.example:443", "method": "CONNECT"})),
            asked(Some("b.example"))
        );
        for none in ["http://[::1]:80/", "http://192.0.2.1/", "/x", "http:///"] {
            assert_eq!(http(json!({"url": none})), asked(None), "{none}");
        }
        let unjudged = Some(Recorded::Unjudged("http".to_owned()));
        assert_eq!(http(json!({"transport": "tls"})), unjudged);
        assert_eq!(http(json!({"version": "2"})), unjudged);
        assert_eq!(http(json!({"ambiguous": ["obs-fold"]})), unjudged);
        let tls = |tls: Value| recorded(&json!({"type": "call", "kind": "tls", "tls": tls}));
        assert_eq!(tls(json!({"sni": "A.example", "peer": peer})), asked(Some("a.example")));
        assert_eq!(tls(json!({"peer": peer})), asked(None));
        let unread = tls(json!({"unread": true, "peer": peer}));
        assert_eq!(unread, Some(Recorded::Unjudged("tls".to_owned())));
    }

    #[test]
    fn what_never_found_a_file_is_not_judged() {
        let record = json!({"type": "call", "kind": "exec", "verdict": "allowed",
            "exec": {"filename": "/no/such", "argv": ["x"]}, "outcome": {"errno": 2}});
        assert_eq!(recorded(&record), Some(Recorded::Unjudged("exec that found no file".into())));
    }
}
