//! Entries → records: RFC 8785 canonical JSON in the profile of docs/LEDGER.md. Pure.
//!
//! What they are made of, `json`, is canonical however it is put together.

mod bound;
mod outcome;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(super) use bound::{MAX, note, write};
use outcome::outcome;

use super::doors;
use super::entry::{Entry, Events, RunStart};
use super::http;
use super::json::{Fields, Value, int, text};
use crate::mask::{Marks, Masked};
use crate::model::{
    Action, Call, CallResult, Cut, Dns, DnsAnswer, DnsData, Exec, Guess, Image, LibraryCoverage,
    Net, NetOp, Process, Raw, Reload, RunId, Since, Told, Verdict,
};

/// The format's version.
pub(super) const VERSION: u64 = 1;

/// The fields that an entry has of its own; the writer adds those of its place.
pub(super) fn fields(entry: &Entry) -> Fields<'_> {
    let mut record = Fields::with_room_for(20);
    record.insert("mono", Value::Digits(entry.at().mono_ns));
    record.insert_some("run", entry.run());
    record.insert("time", entry.at());
    record.insert("type", entry.word());
    record.insert("v", int(VERSION));
    match entry {
        Entry::ObserverStart { version, kernel, boot_id, .. } => {
            record.insert("boot_id", boot_id.as_str());
            record.insert("kernel", kernel.as_str());
            record.insert("version", version.as_str());
        }
        Entry::RunStart(start) => run_start(start, &mut record),
        Entry::Call(masked) => call(masked, &mut record),
        Entry::Result(end) => result(end, &mut record),
        Entry::Answer(masked) => {
            result(&masked.get().result, &mut record);
            http::answer(&masked.get().http, &mut record);
            masks(&[masked.marks()], &mut record);
        }
        Entry::Resolved(masked) => {
            result(&masked.get().result, &mut record);
            record.insert("dns", resolved(masked.get()));
            masks(&[masked.marks()], &mut record);
        }
        Entry::TlsEnd(masked) => {
            let result = &masked.get().result;
            record.insert("call", result.call);
            record.insert("kind", result.kind.word());
            record.insert("outcome", outcome(&result.outcome));
            record.insert("tls", tls::end(masked.get()));
            masks(&[masked.marks()], &mut record);
        }
        Entry::Loss { place, lost, why, .. } => {
            record.insert(
                "loss",
                Fields::new()
                    .with("count", int(*lost))
                    .with("place", place.as_str())
                    .with("why", why.as_str()),
            );
        }
        Entry::Coverage { what, covered, why, .. } => {
            record.insert(
                "coverage",
                Fields::new()
                    .with("covered", *covered)
                    .with("what", what.as_str())
                    .with("why", why.as_str()),
            );
        }
        Entry::Library { path, found, .. } => {
            record.insert("coverage", library(path.get(), found));
            masks(&[path.marks()], &mut record);
        }
        Entry::Escape { process: who, to, held, .. } => {
            record.insert("escape", Fields::new().with("held", *held).with("to", text(to.get())));
            record.insert("process", process(who.get()));
            masks(&[who.marks(), to.marks()], &mut record);
        }
        Entry::Recover { what, bytes, sha256, lost, .. } => {
            let mut found = Fields::new();
            found.insert("bytes", int(*bytes));
            found.insert("what", what.as_str());
            if let Some(sha256) = sha256 {
                found.insert("sha256", sha256.as_str());
            }
            if let Some(lost) = lost {
                found.insert("run", lost.run.as_str());
                found.insert("seq", int(lost.seq));
            }
            record.insert("recover", found);
        }
        Entry::RunEnd { why, exit, events, .. } => {
            let mut end = Fields::new();
            let Events { produced, kept, lost } = *events;
            end.insert(
                "events",
                Fields::new()
                    .with("kept", int(kept))
                    .with("lost", int(lost))
                    .with("produced", int(produced)),
            );
            end.insert("why", why.as_str());
            if let Some(exit) = exit {
                end.insert("exit", *exit);
            }
            record.insert("end", end);
        }
        Entry::Key { next, .. } => {
            record.insert("key", Fields::new().with("next", next.to_base64()))
        }
        Entry::Policy { run, policy, .. } => {
            record.insert("reload", reload(*run, policy.get()));
            masks(&[policy.marks()], &mut record);
        }
        Entry::Witness { kept, .. } => {
            let mut out = Fields::new();
            out.insert("place", kept.place.as_str());
            out.insert("size", int(kept.size));
            out.insert("status", kept.status.word());
            if !kept.why.is_empty() {
                out.insert("why", kept.why.as_str());
            }
            record.insert("witness", out);
        }
        Entry::ObserverStop { .. } | Entry::Segment { .. } | Entry::Under { .. } => {}
    }
    record
}

/// Of a policy that was read while a run lasts.
fn reload(run: RunId, policy: &Reload) -> Fields<'_> {
    let mut out = Fields::new();
    out.insert("accepted", policy.generation.is_some());
    out.insert("file", text(&policy.file));
    out.insert("run", run);
    out.insert_some("generation", policy.generation);
    out.insert_some("sha256", policy.sha256.as_deref());
    out.insert_some("why", policy.why.as_ref().map(text));
    if policy.cut {
        out.insert("cut", true);
    }
    out
}

/// What of a file's TLS library is seen.
fn library<'a>(path: &'a Raw, found: &'a LibraryCoverage) -> Fields<'a> {
    let mut out = Fields::new();
    out.insert_some("build_id", found.build_id.as_deref());
    let guess = match found.told {
        Told::Name => None,
        Told::Guess { by, confirmed, .. } => Some((by, confirmed)),
    };
    out.insert_some("confirmed", guess.map(|(_, confirmed)| confirmed));
    out.insert("functions", found.held.iter().copied().collect::<Value<'_>>());
    out.insert("name", found.library);
    out.insert("path", text(path));
    out.insert("probes", found.probes);
    out.insert_some("sha256", found.sha256.as_deref());
    out.insert("since", found.since.word());
    out.insert_some("told", guess.map(|(by, _)| by.word()));
    let is_guess = guess.is_some_and(|(_, confirmed)| !confirmed);
    let covered = found.probes > 0 && found.blind.is_empty() && !is_guess;
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
    if let Some((by, confirmed)) = guess
        && found.probes > 0
    {
        why += match by {
            Guess::Pattern => "; its functions were told by what they do",
            Guess::Layout => {
                "; where its functions have their arguments was told by its version and its compiler's"
            }
        };
        why += match confirmed {
            true => ", and plaintext was read through them",
            false => ", and no plaintext was read through them yet",
        };
    }
    for blind in &found.blind {
        why = format!("{why}; not seen: {blind}");
    }
    Fields::new()
        .with("covered", covered)
        .with("library", out)
        .with("what", "tls plaintext")
        .with("why", why)
}

fn run_start<'a>(start: &'a RunStart, record: &mut Fields<'a>) {
    let mut out = Fields::new();
    out.insert("attached", start.attached);
    out.insert("cgroup", start.cgroup.as_str());
    out.insert("enforcement", start.enforcement.iter().collect::<Value<'_>>());
    out.insert("started_by", start.started_by);
    if let Some(command) = &start.command {
        out.insert("command", list(command.get()));
        masks(&[command.marks()], record);
    }
    out.insert_some("exe_sha256", start.exe_sha256.as_deref());
    record.insert("start", out);
}

fn call<'a>(masked: &'a Masked<Call>, record: &mut Fields<'a>) {
    let call = masked.get();
    record.insert("call", call.id);
    record.insert("kind", call.action.kind().word());
    record.insert_some("parent", call.parent);
    match &call.verdict {
        Verdict::Allowed { rule } => {
            record.insert("verdict", "allowed");
            if let Some(rule) = rule {
                record.insert("rule", rule.as_str());
            }
        }
        Verdict::WouldDeny { rule } => {
            record.insert("verdict", "would_deny");
            record.insert("rule", rule.as_str());
        }
        Verdict::Denied { rule } => {
            record.insert("verdict", "denied");
            record.insert("rule", rule.as_str());
        }
    }
    record.insert("process", process(&call.process));
    match &call.action {
        Action::Exec(action) => record.insert("exec", exec(action)),
        Action::Net(action) => record.insert("net", net(action)),
        Action::Dns(question) => record.insert("dns", dns(question)),
        Action::Http(action) => http::request(action, record),
        Action::Tls(action) => record.insert("tls", tls::tls(action)),
        Action::Unix(action) => record.insert("net", doors::unix(action)),
        Action::Socket(action) => record.insert("net", doors::socket(*action)),
        Action::System(action) => record.insert("system", doors::system(action)),
    }
    if let Some(end) = &call.outcome {
        record.insert("outcome", outcome(end));
    }
    if !call.cuts.is_empty() {
        record.insert("truncated", cuts(&call.cuts));
    }
    masks(&[masked.marks()], record);
}

/// What was masked of a record: of each sort how much, in all that was masked for it, and by which
/// rules. Every record with text of an agent's has it, so that "nothing was masked" is said too.
fn masks<'a>(marks: &[Marks<'a>], record: &mut Fields<'a>) {
    let mut counts = BTreeMap::new();
    for (sort, n) in marks.iter().flat_map(|marks| marks.counts) {
        *counts.entry(*sort).or_insert(0) += u64::from(*n);
    }
    let Some(last) = marks.last() else { return };
    record.insert(
        "mask",
        Fields::new()
            .with(
                "counts",
                counts.into_iter().map(|(sort, n)| (sort, int(n))).collect::<Fields<'_>>(),
            )
            .with("rules", last.rules),
    );
}

fn result<'a>(result: &'a CallResult, record: &mut Fields<'a>) {
    record.insert("call", result.call);
    record.insert("kind", result.kind.word());
    record.insert("outcome", outcome(&result.outcome));
}

fn list(texts: &[Raw]) -> Value<'_> {
    texts.iter().map(text).collect()
}

/// Where a socket stands, or goes to.
pub(super) fn address<'a>(address: SocketAddr) -> Fields<'a> {
    Fields::new().with("addr", address.ip().to_string()).with("port", address.port())
}

fn process(process: &Process) -> Fields<'_> {
    let mut out = Fields::new();
    out.insert("cgroup", text(&process.cgroup));
    out.insert("comm", text(&process.comm));
    out.insert_some("container", process.container.as_deref());
    if !process.exe.is_empty() {
        out.insert("exe", text(&process.exe));
    }
    out.insert("id", Value::Hex(&process.id.0));
    out.insert("pid", process.pid);
    out.insert("ppid", process.ppid);
    out.insert("uid", process.uid);
    out
}

fn exec<'a>(exec: &'a Exec) -> Fields<'a> {
    let mut out = Fields::new();
    let mut some = |key: &'static str, raw: &'a Raw| {
        if !raw.is_empty() {
            out.insert(key, text(raw));
        }
    };
    some("path", &exec.path);
    some("filename", &exec.filename);
    some("cwd", &exec.cwd);
    if let Some(interpreter) = &exec.interpreter {
        some("interpreter", interpreter);
    }
    out.insert("argv", list(&exec.argv));
    let image = match exec.image {
        Image::File => "file",
        Image::Fd => "fd",
        Image::Memfd => "memfd",
        Image::Deleted => "deleted",
        Image::Unknown => "unknown",
    };
    out.insert("image", image);
    out
}

fn net(net: &Net) -> Fields<'_> {
    let mut out = Fields::new();
    let op = match net.op {
        NetOp::Connect => "connect",
        NetOp::Send => "send",
        NetOp::Bind => "bind",
        NetOp::Listen => "listen",
        NetOp::Open => "open",
        NetOp::Receive => "receive",
        NetOp::Keep => "keep",
    };
    out.insert("op", op);
    out.insert("protocol", net.protocol.to_string());
    for (key, address) in [("peer", net.peer), ("local", net.local)] {
        if let Some(address) = address {
            out.insert(key, self::address(address));
        }
    }
    if let Some(host) = &net.name {
        out.insert("name", text(&host.name));
        out.insert("name_from", host.from.word());
    }
    if net.cookie != 0 {
        out.insert("cookie", Value::Digits(net.cookie));
    }
    out
}

fn dns(dns: &Dns) -> Fields<'_> {
    let mut out = Fields::new();
    out.insert("server", address(dns.server));
    out.insert("protocol", dns.protocol.to_string());
    match dns.unread {
        Some(bytes) => {
            out.insert("unread", bytes);
        }
        None => {
            out.insert("name", text(&dns.name));
            out.insert("type", dns.kind.as_str());
        }
    }
    if dns.cookie != 0 {
        out.insert("cookie", Value::Digits(dns.cookie));
    }
    out
}

fn resolved(answer: &DnsAnswer) -> Fields<'_> {
    let records = answer.records.iter().map(|record| {
        let mut out = Fields::new();
        out.insert("type", record.kind.as_str());
        out.insert("ttl", record.ttl);
        match &record.data {
            DnsData::Addr(addr) => out.insert("addr", addr.to_string()),
            DnsData::Name(name) => out.insert("name", text(name)),
            DnsData::Other(bytes) => out.insert("bytes", *bytes),
        };
        Value::from(out)
    });
    let mut out = Fields::new();
    out.insert("answers", records.collect::<Value<'_>>());
    out.insert("trusted", answer.trusted);
    if answer.truncated {
        out.insert("truncated", true);
    }
    if answer.more > 0 {
        out.insert("more", answer.more);
    }
    out
}

fn cuts(cuts: &[Cut]) -> Fields<'_> {
    let mut out = Fields::new();
    for cut in cuts {
        let mut one = Fields::new();
        one.insert("kept", int(cut.kept));
        one.insert_some("seen", cut.seen.map(int));
        one.insert_some("hmac", cut.rest.as_deref());
        out.insert(cut.field.word(), one);
    }
    out
}
