//! `observer policy replay`: what a policy would have done to what was recorded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use observer::policy::{Answers, Attempt, Judgement, Policy, Recorded, recorded};
use serde_json::{Value, json};

use super::super::tail::show::{escaped, printable};
use super::records::Source;

/// Differences that are listed one by one.
const LISTED: usize = 10_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  observer policy replay --policy policy.toml
  observer policy replay --policy next.toml --run 01890a5d ledger.jsonl --json

Exit 0: each call would have come out as it did. Exit 1: some would not, and they are listed. Exit 2: \
the policy or the ledger can't be read. Calls that no rule is held against are counted apart.")]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    source: Source,
    /// The policy to try
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// How a call came out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Allowed,
    WouldDeny,
    Denied,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::WouldDeny => "would_deny",
            Self::Denied => "denied",
        }
    }

    fn of(record: &Value) -> Self {
        match record["verdict"].as_str() {
            Some("denied") => Self::Denied,
            Some("would_deny") => Self::WouldDeny,
            _ => Self::Allowed,
        }
    }

    fn under(found: &Judgement) -> Self {
        match (found.denied, found.would) {
            (true, _) => Self::Denied,
            (false, true) => Self::WouldDeny,
            (false, false) => Self::Allowed,
        }
    }
}

/// Calls that would come out otherwise in the same way.
struct Difference {
    what: String,
    was: (End, String),
    is: (End, String),
    first: String,
    count: u64,
    doubt: Option<&'static str>,
}

#[derive(Default)]
struct Replay {
    answers: Answers,
    judged: u64,
    changed: u64,
    doubtful: u64,
    unlisted: u64,
    denied: u64,
    would: u64,
    unjudged: BTreeMap<String, u64>,
    differences: BTreeMap<(String, &'static str, &'static str, String), Difference>,
}

pub(super) fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let policy = super::load(&args.policy)?;
    let mut replay = Replay::default();
    let seen = args.source.each(|record| replay.take(&policy, record))?;
    let out = if args.json {
        format!("{}\n", escaped(&replay.json(seen.records, seen.broken).to_string()))
    } else {
        replay.text(seen.records, seen.broken)
    };
    super::answer(&out)?;
    Ok(if replay.changed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Replay {
    fn take(&mut self, policy: &Policy, record: &Value) {
        self.answers.take(record);
        let (mut attempt, doubt) = match recorded(record) {
            None => return,
            Some(Recorded::Unjudged(kind)) => {
                *self.unjudged.entry(kind).or_default() += 1;
                return;
            }
            Some(Recorded::Attempt { attempt, doubt }) => (attempt, doubt),
        };
        self.judged += 1;
        self.answers.complete(record["run"].as_str().unwrap_or_default(), &mut attempt);
        let found = policy.judge(&attempt);
        let (was, is) = (End::of(record), End::under(&found));
        self.denied += u64::from(is == End::Denied);
        self.would += u64::from(is == End::WouldDeny);
        let doubt = doubt.filter(|what| !what.contains("arguments") || policy.reads_arguments());
        let unhashed = policy.reads_hashes() && matches!(attempt, Attempt::Exec(_));
        let doubt = doubt.or(unhashed.then_some("the record has no hash of the program"));
        self.doubtful += u64::from(doubt.is_some());
        if was == is {
            return;
        }
        self.changed += 1;
        let what = describe(&attempt);
        let rule = super::rule_of(policy, found.decision, &attempt);
        let key = (what.clone(), was.word(), is.word(), rule.clone());
        if let Some(known) = self.differences.get_mut(&key) {
            known.count += 1;
        } else if self.differences.len() >= LISTED {
            self.unlisted += 1;
        } else {
            let before = record["rule"].as_str().unwrap_or("default").to_owned();
            let first = record["call"].as_str().unwrap_or_default().to_owned();
            let (was, is) = ((was, before), (is, rule));
            self.differences.insert(key, Difference { what, was, is, first, count: 1, doubt });
        }
    }

    fn text(&self, records: u64, broken: u64) -> String {
        let mut out = String::new();
        for found in self.differences.values() {
            let (was, is) = (found.was.0.word(), found.is.0.word());
            let times =
                if found.count == 1 { String::new() } else { format!(" ×{}", found.count) };
            let _ = writeln!(
                out,
                "{was} → {is} by {}: {}{times}  (call {})",
                printable(&found.is.1),
                printable(&found.what),
                printable(&found.first)
            );
            if let Some(doubt) = found.doubt {
                let _ = writeln!(out, "  uncertain: {doubt}");
            }
        }
        if self.unlisted > 0 {
            let _ = writeln!(out, "and {} more that are not listed", self.unlisted);
        }
        let Self { judged, changed, denied, would, doubtful, .. } = self;
        let _ = writeln!(
            out,
            "{records} records, {judged} calls judged: {changed} would come out otherwise; \
             {denied} denied, {would} that would be if it were enforced"
        );
        if *doubtful > 0 {
            let _ = writeln!(
                out,
                "{doubtful} judged on less than the call had: masked, cut or without a hash"
            );
        }
        if self.answers.left() > 0 {
            let left = self.answers.left();
            let _ = writeln!(out, "{left} names of addresses that there was no room for");
        }
        for (kind, count) in &self.unjudged {
            let kind = printable(kind);
            let _ = writeln!(out, "{count} of kind {kind} that no rule is held against");
        }
        if broken > 0 {
            let _ = writeln!(out, "{broken} lines that are no records");
        }
        out
    }

    fn json(&self, records: u64, broken: u64) -> Value {
        let end = |(end, rule): &(End, String)| json!({ "verdict": end.word(), "rule": rule });
        let list: Vec<Value> = self
            .differences
            .values()
            .map(|found| {
                json!({
                    "what": found.what, "was": end(&found.was), "is": end(&found.is),
                    "count": found.count, "first": found.first, "uncertain": found.doubt,
                })
            })
            .collect();
        json!({
            "records": records, "broken": broken, "judged": self.judged, "changed": self.changed,
            "denied": self.denied, "would_deny": self.would, "uncertain": self.doubtful,
            "unjudged": self.unjudged, "names_left": self.answers.left(), "unlisted": self.unlisted, "differences": list,
        })
    }
}

/// An attempt in few words.
pub(super) fn describe(attempt: &Attempt) -> String {
    const WORDS: usize = 8;
    match attempt {
        Attempt::Exec(program) => {
            let mut words = vec![String::from_utf8_lossy(&program.path).into_owned()];
            let args = program.argv.iter().skip(1);
            words.extend(args.take(WORDS).map(|arg| String::from_utf8_lossy(arg).into_owned()));
            if program.argv.len() > WORDS + 1 {
                words.push("…".to_owned());
            }
            format!("exec {}", words.join(" "))
        }
        Attempt::Net { addr, protocol, port, names } => {
            let protocol = observer::model::Protocol(*protocol);
            let name = names.first().map(|known| format!(" ({})", known.name)).unwrap_or_default();
            format!("connect {protocol} {}{name}", std::net::SocketAddr::new(*addr, *port))
        }
        Attempt::Named { name, protocol, port } => {
            format!("connect {} {name}:{port}", observer::model::Protocol(*protocol))
        }
        Attempt::Asked { addr, port, name } => {
            let name = name.as_deref().unwrap_or("no name");
            format!("ask {} for {name}", std::net::SocketAddr::new(*addr, *port))
        }
        Attempt::Lookup(name) => format!("lookup {name}"),
        Attempt::Socket(kind) => format!("socket {kind}"),
        Attempt::UnixPath(path) => format!("unix socket {}", path.escape_ascii()),
        Attempt::UnixName(name) => format!("unix socket @{}", name.escape_ascii()),
        Attempt::System(door) => format!("system {}", door.word()),
    }
}
