//! Entries → records: RFC 8785 canonical JSON in the profile of docs/LEDGER.md. Pure.
//!
//! `serde_json`'s map is sorted, and every key is ASCII, so what it writes is canonical as long as
//! no float and no integer beyond 2^53 − 1 gets in: [`int`] is the only way in for integers.

mod tls;

use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::doors;
use super::entry::{Entry, Events, RunStart};
use super::http;
use crate::mask::{Marks, Masked};
use crate::model::{
    Action, Call, CallResult, Cut, CutField, Dns, DnsAnswer, DnsData, Exec, Image, LibraryCoverage,
    Net, NetOp, Outcome, Process, Raw, Reason, Reload, RunId, Since, Stamp, Status, Verdict,
};

/// The format's version.
pub(super) const VERSION: u64 = 1;
/// A record's bound, in bytes.
pub(super) const MAX: usize = 60 * 1024;
/// The integers that every JSON reader keeps exactly.
const EXACT: u64 = (1 << 53) - 1;

/// A record's fields.
pub(super) type Fields = Map<String, Value>;

/// Text that came from an agent, masked: as it is, or its bytes where it is not UTF-8.
pub(super) fn text(raw: &Raw) -> Value {
    match std::str::from_utf8(raw.bytes()) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "b64": BASE64.encode(raw.bytes()) }),
    }
}

/// An integer, as a string where it is wider than 2^53 − 1.
pub(super) fn int(n: u64) -> Value {
    if n <= EXACT { Value::from(n) } else { Value::from(n.to_string()) }
}

/// RFC 3339 in UTC with nine digits of a second.
fn time(stamp: Stamp) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");
    let at = OffsetDateTime::from_unix_timestamp_nanos(stamp.wall_ns.into());
    let text = at.ok().and_then(|at| at.format(format).ok());
    text.unwrap_or_else(|| "1970-01-01T00:00:00.000000000Z".to_owned())
}

/// The fields that an entry has of its own; the writer adds those of its place.
pub(super) fn fields(entry: &Entry) -> Fields {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("v", VERSION.into());
    put("type", entry.word().into());
    put("time", time(entry.at()).into());
    put("mono", entry.at().mono_ns.to_string().into());
    if let Some(run) = entry.run() {
        put("run", run.to_string().into());
    }
    match entry {
        Entry::ObserverStart { version, kernel, boot_id, .. } => {
            put("boot_id", boot_id.as_str().into());
            put("kernel", kernel.as_str().into());
            put("version", version.as_str().into());
        }
        Entry::RunStart(start) => run_start(start, &mut put),
        Entry::Call(masked) => call(masked, &mut put),
        Entry::Result(end) => result(end, &mut put),
        Entry::Answer(masked) => {
            result(&masked.get().result, &mut put);
            http::answer(&masked.get().http, &mut put);
            masks(&[masked.marks()], &mut put);
        }
        Entry::Resolved(masked) => {
            result(&masked.get().result, &mut put);
            put("dns", resolved(masked.get()));
            masks(&[masked.marks()], &mut put);
        }
        Entry::TlsEnd(masked) => {
            let result = &masked.get().result;
            put("call", result.call.to_string().into());
            put("kind", result.kind.word().into());
            put("outcome", outcome(&result.outcome));
            put("tls", tls::end(masked.get()));
            masks(&[masked.marks()], &mut put);
        }
        Entry::Loss { place, lost, why, .. } => {
            put("loss", json!({ "count": int(*lost), "place": place, "why": why }));
        }
        Entry::Coverage { what, covered, why, .. } => {
            put("coverage", json!({ "covered": covered, "what": what, "why": why }));
        }
        Entry::Library { path, found, .. } => {
            put("coverage", library(path.get(), found));
            masks(&[path.marks()], &mut put);
        }
        Entry::Escape { process: who, to, held, .. } => {
            put("escape", json!({ "held": held, "to": text(to.get()) }));
            put("process", process(who.get()));
            masks(&[who.marks(), to.marks()], &mut put);
        }
        Entry::Recover { what, bytes, sha256, lost, .. } => {
            let mut found = Map::new();
            found.insert("bytes".into(), int(*bytes));
            found.insert("what".into(), what.as_str().into());
            if let Some(sha256) = sha256 {
                found.insert("sha256".into(), sha256.as_str().into());
            }
            if let Some(lost) = lost {
                found.insert("run".into(), lost.run.as_str().into());
                found.insert("seq".into(), int(lost.seq));
            }
            put("recover", found.into());
        }
        Entry::RunEnd { why, exit, events, .. } => {
            let mut end = Map::new();
            let Events { produced, kept, lost } = *events;
            end.insert(
                "events".into(),
                json!({ "kept": int(kept), "lost": int(lost), "produced": int(produced) }),
            );
            end.insert("why".into(), why.as_str().into());
            if let Some(exit) = exit {
                end.insert("exit".into(), (*exit).into());
            }
            put("end", end.into());
        }
        Entry::Key { next, .. } => put("key", json!({ "next": next.to_base64() })),
        Entry::Policy { run, policy, .. } => {
            put("reload", reload(*run, policy.get()));
            masks(&[policy.marks()], &mut put);
        }
        Entry::Witness { kept, .. } => {
            let mut out = Map::new();
            out.insert("place".into(), kept.place.as_str().into());
            out.insert("size".into(), int(kept.size));
            out.insert("status".into(), kept.status.word().into());
            if !kept.why.is_empty() {
                out.insert("why".into(), kept.why.as_str().into());
            }
            put("witness", out.into());
        }
        Entry::ObserverStop { .. } | Entry::Segment { .. } | Entry::Under { .. } => {}
    }
    out
}

/// Of a policy that was read while a run lasts.
fn reload(run: RunId, policy: &Reload) -> Value {
    let mut out = Map::new();
    out.insert("accepted".into(), policy.generation.is_some().into());
    out.insert("file".into(), text(&policy.file));
    out.insert("run".into(), run.to_string().into());
    if let Some(generation) = policy.generation {
        out.insert("generation".into(), generation.into());
    }
    if let Some(sha256) = &policy.sha256 {
        out.insert("sha256".into(), sha256.as_str().into());
    }
    if let Some(why) = &policy.why {
        out.insert("why".into(), text(why));
    }
    if policy.cut {
        out.insert("cut".into(), true.into());
    }
    out.into()
}

/// What of a file's TLS library is seen.
fn library(path: &Raw, found: &LibraryCoverage) -> Value {
    let mut out = Map::new();
    if let Some(build_id) = &found.build_id {
        out.insert("build_id".into(), build_id.as_str().into());
    }
    out.insert("functions".into(), json!(found.held));
    out.insert("name".into(), found.library.into());
    out.insert("path".into(), text(path));
    out.insert("probes".into(), found.probes.into());
    if let Some(sha256) = &found.sha256 {
        out.insert("sha256".into(), sha256.as_str().into());
    }
    out.insert("since".into(), found.since.word().into());
    let covered = found.probes > 0 && found.blind.is_empty();
    let mut why = match found.since {
        Since::Start => "probes stand in it since before the run began".to_owned(),
        Since::Open => "probes stand in it since before it was loaded".to_owned(),
        Since::Exec => "probes stand in it since before its first instruction".to_owned(),
        Since::Connect => "probes stand in it since its process connected: plaintext that went \
                           through it before was not seen"
            .to_owned(),
    };
    if found.probes == 0 {
        why = "no probe stands in it".to_owned();
    }
    for blind in &found.blind {
        why = format!("{why}; not seen: {blind}");
    }
    json!({ "covered": covered, "library": out, "what": "tls plaintext", "why": why })
}

fn run_start(start: &RunStart, put: &mut dyn FnMut(&str, Value)) {
    let mut out = Map::new();
    out.insert("attached".into(), start.attached.into());
    out.insert("cgroup".into(), start.cgroup.as_str().into());
    out.insert("enforcement".into(), start.enforcement.clone().into());
    out.insert("started_by".into(), start.started_by.into());
    if let Some(command) = &start.command {
        out.insert("command".into(), command.get().iter().map(text).collect());
        masks(&[command.marks()], put);
    }
    if let Some(sha256) = &start.exe_sha256 {
        out.insert("exe_sha256".into(), sha256.as_str().into());
    }
    put("start", out.into());
}

fn call(masked: &Masked<Call>, put: &mut dyn FnMut(&str, Value)) {
    let call = masked.get();
    put("call", call.id.to_string().into());
    put("kind", call.action.kind().word().into());
    if let Some(parent) = &call.parent {
        put("parent", parent.to_string().into());
    }
    match &call.verdict {
        Verdict::Allowed { rule } => {
            put("verdict", "allowed".into());
            if let Some(rule) = rule {
                put("rule", rule.as_str().into());
            }
        }
        Verdict::WouldDeny { rule } => {
            put("verdict", "would_deny".into());
            put("rule", rule.as_str().into());
        }
        Verdict::Denied { rule } => {
            put("verdict", "denied".into());
            put("rule", rule.as_str().into());
        }
    }
    put("process", process(&call.process));
    match &call.action {
        Action::Exec(action) => put("exec", exec(action)),
        Action::Net(action) => put("net", net(action)),
        Action::Dns(question) => put("dns", dns(question)),
        Action::Http(action) => http::request(action, put),
        Action::Tls(action) => put("tls", tls::tls(action)),
        Action::Unix(action) => put("net", doors::unix(action)),
        Action::Socket(action) => put("net", doors::socket(*action)),
        Action::System(action) => put("system", doors::system(action)),
    }
    if let Some(end) = &call.outcome {
        put("outcome", outcome(end));
    }
    if !call.cuts.is_empty() {
        put("truncated", cuts(&call.cuts));
    }
    masks(&[masked.marks()], put);
}

/// What was masked of a record: of each sort how much, in all that was masked for it, and by which
/// rules. Every record with text of an agent's has it, so that "nothing was masked" is said too.
fn masks(marks: &[Marks<'_>], put: &mut dyn FnMut(&str, Value)) {
    let mut counts = Fields::new();
    for (sort, n) in marks.iter().flat_map(|marks| marks.counts) {
        let before = counts.get(*sort).and_then(Value::as_u64).unwrap_or(0);
        counts.insert((*sort).to_owned(), int(before + u64::from(*n)));
    }
    let Some(last) = marks.last() else { return };
    put("mask", json!({ "counts": counts, "rules": last.rules }));
}

fn result(result: &CallResult, put: &mut dyn FnMut(&str, Value)) {
    put("call", result.call.to_string().into());
    put("kind", result.kind.word().into());
    put("outcome", outcome(&result.outcome));
}

fn process(process: &Process) -> Value {
    let mut out = Map::new();
    out.insert("id".into(), process.id.to_string().into());
    out.insert("pid".into(), process.pid.into());
    out.insert("ppid".into(), process.ppid.into());
    out.insert("uid".into(), process.uid.into());
    out.insert("comm".into(), text(&process.comm));
    out.insert("cgroup".into(), text(&process.cgroup));
    if !process.exe.is_empty() {
        out.insert("exe".into(), text(&process.exe));
    }
    if let Some(container) = &process.container {
        out.insert("container".into(), container.as_str().into());
    }
    out.into()
}

fn exec(exec: &Exec) -> Value {
    let mut out = Map::new();
    let mut some = |key: &str, raw: &Raw| {
        if !raw.is_empty() {
            out.insert(key.to_owned(), text(raw));
        }
    };
    some("path", &exec.path);
    some("filename", &exec.filename);
    some("cwd", &exec.cwd);
    if let Some(interpreter) = &exec.interpreter {
        some("interpreter", interpreter);
    }
    out.insert("argv".into(), exec.argv.iter().map(text).collect());
    let image = match exec.image {
        Image::File => "file",
        Image::Fd => "fd",
        Image::Memfd => "memfd",
        Image::Deleted => "deleted",
        Image::Unknown => "unknown",
    };
    out.insert("image".into(), image.into());
    out.into()
}

fn net(net: &Net) -> Value {
    let mut out = Map::new();
    let op = match net.op {
        NetOp::Connect => "connect",
        NetOp::Send => "send",
        NetOp::Bind => "bind",
        NetOp::Listen => "listen",
        NetOp::Open => "open",
        NetOp::Receive => "receive",
    };
    out.insert("op".into(), op.into());
    out.insert("protocol".into(), net.protocol.to_string().into());
    for (key, address) in [("peer", net.peer), ("local", net.local)] {
        if let Some(address) = address {
            let address = json!({ "addr": address.ip().to_string(), "port": address.port() });
            out.insert(key.into(), address);
        }
    }
    if let Some(host) = &net.name {
        out.insert("name".into(), text(&host.name));
        out.insert("name_from".into(), host.from.word().into());
    }
    if net.cookie != 0 {
        out.insert("cookie".into(), net.cookie.to_string().into());
    }
    out.into()
}

fn dns(dns: &Dns) -> Value {
    let mut out = Map::new();
    let server = json!({ "addr": dns.server.ip().to_string(), "port": dns.server.port() });
    out.insert("server".into(), server);
    out.insert("protocol".into(), dns.protocol.to_string().into());
    match dns.unread {
        Some(bytes) => {
            out.insert("unread".into(), bytes.into());
        }
        None => {
            out.insert("name".into(), text(&dns.name));
            out.insert("type".into(), dns.kind.as_str().into());
        }
    }
    if dns.cookie != 0 {
        out.insert("cookie".into(), dns.cookie.to_string().into());
    }
    out.into()
}

fn resolved(answer: &DnsAnswer) -> Value {
    let records = answer.records.iter().map(|record| {
        let mut out = Map::new();
        out.insert("type".into(), record.kind.as_str().into());
        out.insert("ttl".into(), record.ttl.into());
        match &record.data {
            DnsData::Addr(addr) => out.insert("addr".into(), addr.to_string().into()),
            DnsData::Name(name) => out.insert("name".into(), text(name)),
            DnsData::Other(bytes) => out.insert("bytes".into(), (*bytes).into()),
        };
        Value::from(out)
    });
    let mut out = Map::new();
    out.insert("answers".into(), records.collect());
    out.insert("trusted".into(), answer.trusted.into());
    if answer.truncated {
        out.insert("truncated".into(), true.into());
    }
    if answer.more > 0 {
        out.insert("more".into(), answer.more.into());
    }
    out.into()
}

fn outcome(outcome: &Outcome) -> Value {
    let mut out = Map::new();
    let status = match outcome.status {
        Status::Ok => "ok",
        Status::Failed => "failed",
        Status::Unknown => "unknown",
    };
    out.insert("status".into(), status.into());
    match outcome.reason {
        Reason::None => {}
        Reason::Errno(errno) => {
            out.insert("errno".into(), errno.into());
            if let Some(name) = errno_name(errno) {
                out.insert("error".into(), name.into());
            }
        }
        Reason::Exit(exit) => {
            out.insert("exit".into(), exit.into());
        }
        Reason::Signal(signal) => {
            out.insert("signal".into(), signal.into());
        }
        Reason::Rcode(rcode) => {
            out.insert("rcode".into(), rcode.into());
        }
        Reason::Unseen(why) => {
            out.insert("reason".into(), why.into());
        }
        Reason::Http { status, note } => {
            out.insert("http_status".into(), status.into());
            if let Some(note) = note {
                out.insert("reason".into(), note.into());
            }
        }
    }
    if let Some(ns) = outcome.duration_ns {
        out.insert("duration_ns".into(), int(ns));
    }
    out.into()
}

/// The names of the errors that calls end with (errno(3)).
fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EIO => "EIO",
        libc::E2BIG => "E2BIG",
        libc::ENOEXEC => "ENOEXEC",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::ENOTDIR => "ENOTDIR",
        libc::EISDIR => "EISDIR",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ETXTBSY => "ETXTBSY",
        libc::ELOOP => "ELOOP",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ELIBBAD => "ELIBBAD",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENOBUFS => "ENOBUFS",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EPROTOTYPE => "EPROTOTYPE",
        _ => return None,
    })
}

fn cuts(cuts: &[Cut]) -> Value {
    let mut out = Map::new();
    for cut in cuts {
        let mut one = Map::new();
        one.insert("kept".into(), int(cut.kept));
        if let Some(seen) = cut.seen {
            one.insert("seen".into(), int(seen));
        }
        if let Some(rest) = &cut.rest {
            one.insert("hmac".into(), rest.as_str().into());
        }
        out.insert(cut.field.word().to_owned(), one.into());
    }
    out.into()
}

/// Writes a record; one that is too long loses arguments from the end, or what else is long, and
/// says so. A longer one would be refused by whoever reads the ledger, and hide what follows it.
pub(super) fn write(fields: &mut Fields) -> Vec<u8> {
    loop {
        let bytes = serde_json::to_vec(fields).unwrap_or_default();
        let fits = bytes.len() <= MAX;
        if fits || !(shorten(fields, bytes.len() - MAX) || drop_longest(fields)) {
            return bytes;
        }
    }
}

/// Takes away the longest part of what a record tells, or the half of it where it is a list. False
/// where nothing is long: what is left then has bounds of its own.
fn drop_longest(fields: &mut Fields) -> bool {
    const LONG: usize = 256;
    const OURS: [&str; 3] = ["truncated", "mask", "outcome"];
    let length = |value: &Value| serde_json::to_vec(value).map_or(0, |bytes| bytes.len());
    let parts = fields.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
    let members = parts.filter_map(|(name, part)| Some((name, part.as_object()?)));
    let all = members.flat_map(|(name, part)| part.iter().map(move |(key, it)| (name, key, it)));
    let longest = all.map(|(name, key, it)| (length(it), name.clone(), key.clone())).max();
    let Some((_, name, key)) = longest.filter(|(length, ..)| *length > LONG) else { return false };
    let Some(part) = fields.get_mut(&name).and_then(Value::as_object_mut) else { return false };
    let kept = match part.get_mut(&key) {
        Some(Value::Array(list)) if list.len() > 1 => {
            list.truncate(list.len() / 2);
            list.iter().map(length).sum()
        }
        _ => {
            part.remove(&key);
            0
        }
    };
    note(fields, &format!("{name}.{key}"), kept as u64)
}

/// Takes at least `over` bytes of arguments away, or whatever else is long. False where nothing
/// is left to take.
fn shorten(fields: &mut Fields, over: usize) -> bool {
    if fields.contains_key("http") {
        return http::shorten(fields);
    }
    let length = |value: &Value| serde_json::to_vec(value).map_or(0, |bytes| bytes.len() + 1);
    let Some(exec) = fields.get_mut("exec").and_then(Value::as_object_mut) else { return false };
    let Some(argv) = exec.get_mut("argv").and_then(Value::as_array_mut) else { return false };
    if argv.is_empty() {
        // Names of 4 KiB, each byte an escape: the file as it was named goes, and is said.
        let gone = exec.remove("filename").is_some() || exec.remove("cwd").is_some();
        return gone && note(fields, CutField::Filename.word(), 0);
    }
    // Room for the note as well.
    let mut freed = 0;
    while freed < over + 128
        && let Some(last) = argv.pop()
    {
        freed += length(&last);
    }
    let kept: usize = argv.iter().map(|arg| arg.as_str().map_or(0, |text| text.len() + 1)).sum();
    note(fields, CutField::Argv.word(), kept as u64)
}

pub(super) fn note(fields: &mut Fields, field: &str, kept: u64) -> bool {
    let truncated = fields.entry("truncated").or_insert_with(|| json!({}));
    let Some(truncated) = truncated.as_object_mut() else { return false };
    let one = truncated.entry(field).or_insert_with(|| json!({}));
    let Some(one) = one.as_object_mut() else { return false };
    one.insert("kept".into(), int(kept));
    // What was read but does not fit the record is not in the hash: it would claim too much.
    one.remove("hmac");
    one.insert("why".into(), "the record's bound".into());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these is an agent's to make.
    #[test]
    fn no_record_is_longer_than_the_bound_whatever_is_in_it() {
        let answers: Vec<Value> = (0..64).map(|_| json!({ "data": "\\001".repeat(320) })).collect();
        let long = "x".repeat(62 * 1024);
        for (part, told) in [
            (json!({ "dns": { "answers": answers, "id": 1 } }), "dns.answers"),
            (json!({ "http": { "url": { "b64": long } } }), "http.url"),
            (json!({ "http": { "body": { "bytes": 1, "type": long } } }), "http.body"),
            (json!({ "unix": { "path": long } }), "unix.path"),
            (json!({ "process": { "exe": long }, "exec": {} }), "process.exe"),
        ] {
            let mut fields = part.as_object().unwrap().clone();
            let bytes = write(&mut fields);
            assert!(bytes.len() <= MAX, "{told}: {}", bytes.len());
            let why = fields["truncated"][told]["why"].as_str();
            assert_eq!(why, Some("the record's bound"), "{:?}", fields["truncated"]);
        }
    }

    #[test]
    fn a_long_list_keeps_what_fits() {
        let answers: Vec<Value> =
            (0..64).map(|n| json!(format!("{n}{}", "x".repeat(1280)))).collect();
        let part = json!({ "dns": { "answers": answers } });
        let mut fields = part.as_object().unwrap().clone();
        assert!(write(&mut fields).len() <= MAX);
        assert_eq!(fields["dns"]["answers"].as_array().unwrap().len(), 32);
    }
}
