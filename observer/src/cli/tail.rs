//! `observer tail`: records as people read them.
//!
//! It shows; it does not judge: `verify` does. Nothing that an agent chose can move the cursor.

pub(super) mod files;
pub(super) mod follow;
pub(super) mod show;

use std::collections::{HashMap, HashSet};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};
use observer::daemon;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use files::Lines;
use follow::Follower;
use show::{Painter, Shown, printable};

/// Calls that are remembered, to show their children under them and their results beside them.
const REMEMBERED: usize = 65_536;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer tail
  observer tail -f --denied
  observer tail --run 0190…  --json | jq .exec.argv
  observer tail --from 2026-01-02T03:00 --failed

Closed files of the ledger come first, compressed or not; of one that is named, only it is shown.
It shows what is there without checking it: `observer verify` does that.")]
pub(crate) struct TailArgs {
    /// The ledger
    #[arg(conflicts_with = "log")]
    file: Option<PathBuf>,
    /// The ledger [default: /var/log/observer/ledger.jsonl]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Go on as it grows
    #[arg(short, long)]
    follow: bool,
    /// Begin with a record: its number, or a time in UTC (2026-01-02, 2026-01-02T03:04:05Z)
    #[arg(long, value_name = "IDX|TIME")]
    from: Option<From>,
    /// Denied calls
    #[arg(long)]
    denied: bool,
    /// Calls that failed
    #[arg(long)]
    failed: bool,
    /// One run's records: its id, or the beginning of it
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// The records themselves, a line each
    #[arg(long)]
    json: bool,
    /// Colours
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

pub(crate) fn run(args: TailArgs) -> Result<ExitCode> {
    let path = args.file.clone().or(args.log.clone()).unwrap_or_else(|| daemon::LOG.into());
    let color = match args.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let mut view = View {
        out: io::stdout().lock(),
        painter: Painter::new(color),
        depth: HashMap::new(),
        ends: HashMap::new(),
        ended: HashSet::new(),
        number: 0,
        args: &args,
    };
    let from = match &args.from {
        Some(From::Record(idx)) => *idx,
        _ => 0,
    };
    let failed = || format!("cannot read {}", path.display());
    if args.follow {
        let mut follower = Follower::open(&path, from).with_context(failed)?;
        loop {
            match follower.next().with_context(failed)? {
                Some(line) => view.line(&line, &mut follower.lines)?,
                None => view.out.flush()?,
            }
        }
    }
    // A first reading for the ends, so that a call stands on one line with what came of it.
    let mut lines = Lines::open(&path, from).with_context(failed)?;
    while let Some(line) = lines.next().with_context(failed)? {
        view.learn_end(&line);
    }
    let mut lines = Lines::open(&path, from).with_context(failed)?;
    while let Some(line) = lines.next().with_context(failed)? {
        view.line(&line, &mut lines)?;
    }
    let rest = lines.rest().to_owned();
    if !rest.is_empty() {
        view.line(&rest, &mut lines)?;
    }
    view.out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    /// With this record.
    Record(u64),
    /// With what happened then, in UTC: the beginning of what RFC 3339 makes of it.
    Time(String),
}

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(idx) = text.parse() {
            return Ok(Self::Record(idx));
        }
        // A day, or a day and as much of a time as is given.
        const SHAPE: &[u8] = b"0000-00-00T00:00:00.000000000";
        let like = |(shape, byte): (&u8, u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        };
        let is_prefix = matches!(text.len(), 10 | 13 | 16 | 19 | 21..=29);
        if is_prefix && SHAPE.iter().zip(text.bytes()).all(like) {
            return Ok(Self::Time(text.to_owned()));
        }
        let bad = "neither a record's number nor a time as in 2026-01-02T03:04:05Z or 2026-01-02";
        let utc = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| bad)?.to_offset(UtcOffset::UTC);
        let text = utc.format(&Rfc3339).map_err(|_| bad)?;
        Ok(Self::Time(text.trim_end_matches('Z').to_owned()))
    }
}

impl From {
    fn reached(&self, record: &Value) -> bool {
        match self {
            Self::Record(idx) => record["idx"].as_u64().is_none_or(|at| at >= *idx),
            Self::Time(from) => record["time"].as_str().is_none_or(|time| time >= from.as_str()),
        }
    }
}

struct View<'a> {
    out: io::StdoutLock<'a>,
    painter: Painter,
    /// How deep each call stands under others.
    depth: HashMap<String, usize>,
    ends: HashMap<String, Value>,
    /// Calls that were shown with their ends: some of `ends`.
    ended: HashSet<String>,
    number: u64,
    args: &'a TailArgs,
}

impl View<'_> {
    fn learn_end(&mut self, line: &[u8]) {
        let Some(record) = record(line) else { return };
        if record["type"] == "result"
            && self.ends.len() < REMEMBERED
            && let Some(call) = record["call"].as_str()
        {
            self.ends.insert(call.to_owned(), record["outcome"].clone());
        }
    }

    fn line(&mut self, line: &[u8], lines: &mut Lines) -> Result<()> {
        if lines.began_anew() {
            self.number = 0;
        }
        self.number += 1;
        let Some(record) = record(line) else {
            let name = printable(&lines.name().to_string_lossy());
            writeln!(self.out, "{name}, line {}: not a record", self.number)?;
            return Ok(());
        };
        if self.args.from.as_ref().is_some_and(|from| !from.reached(&record)) {
            return Ok(());
        }
        let run = record["run"].as_str().unwrap_or_default();
        if self.args.run.as_deref().is_some_and(|wanted| !run.starts_with(wanted)) {
            return Ok(());
        }
        let call = record["call"].as_str().unwrap_or_default();
        let end = if record["type"] == "call" { self.ends.get(call).cloned() } else { None };
        let outcome =
            if record["outcome"].is_null() { end.as_ref() } else { Some(&record["outcome"]) };
        if !self.wanted(&record, outcome) {
            return Ok(());
        }
        if self.args.json {
            writeln!(self.out, "{}", show::escaped(&record.to_string()))?;
            return Ok(());
        }
        // A result that stands with its call already is not said again.
        if record["type"] == "result" && self.ended.remove(call) {
            return Ok(());
        }
        if end.is_some() {
            self.ended.insert(call.to_owned());
        }
        let depth = self.depth_of(&record, call);
        let shown = Shown { record: &record, outcome, depth };
        writeln!(self.out, "{}", self.painter.line(&shown))?;
        Ok(())
    }

    fn wanted(&self, record: &Value, outcome: Option<&Value>) -> bool {
        let denied = record["verdict"] == "denied" || record["verdict"] == "would_deny";
        let failed = outcome.is_some_and(|outcome| outcome["status"] == "failed") && !denied;
        match (self.args.denied, self.args.failed) {
            (false, false) => true,
            (wants_denied, wants_failed) => wants_denied && denied || wants_failed && failed,
        }
    }

    fn depth_of(&mut self, record: &Value, call: &str) -> usize {
        let parent = record["parent"].as_str();
        let depth = match parent.and_then(|parent| self.depth.get(parent)) {
            Some(depth) => (depth + 1).min(12),
            None => 0,
        };
        if record["kind"] == "exec" && record["type"] == "call" && self.depth.len() < REMEMBERED {
            self.depth.insert(call.to_owned(), depth);
        }
        depth
    }
}

fn record(line: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(line).ok()?;
    let record = value.get_mut("rec")?.take();
    record.is_object().then_some(record)
}
