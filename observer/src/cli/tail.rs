//! `observer tail`: records as people read them.
//!
//! It shows; it does not judge: `verify` does. Nothing that an agent chose can move the cursor.

pub(super) mod follow;
pub(super) mod show;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use observer::daemon;
use observer::ledger::Verifier;
use serde_json::Value;

use follow::Follower;
use show::{Painter, Shown};

/// Calls that are remembered, to show their children under them and their results beside them.
const REMEMBERED: usize = 65_536;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer tail
  observer tail -f --denied
  observer tail --run 0190…  --json | jq .exec.argv

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
        number: 0,
        args: &args,
    };
    let open = || File::open(&path).with_context(|| format!("cannot read {}", path.display()));
    if args.follow {
        let mut follower =
            Follower::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        loop {
            match follower.next()? {
                Some(line) => view.line(&line)?,
                None => view.out.flush()?,
            }
        }
    }
    // A first reading for the ends, so that a call stands on one line with what came of it.
    each_line(open()?, |line| {
        view.learn_end(line);
        Ok(())
    })?;
    each_line(open()?, |line| view.line(line))?;
    view.out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Gives each line, without more of it in memory than a record can have; of one that is longer,
/// its beginning, which is no record.
fn each_line(file: File, mut f: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut line = vec![];
    loop {
        line.clear();
        let limit = Verifier::LINE as u64 + 1;
        if io::Read::take(&mut input, limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        f(line.strip_suffix(b"\n").unwrap_or(&line))?;
        while !line.ends_with(b"\n") {
            line.clear();
            if io::Read::take(&mut input, limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
        }
    }
}

struct View<'a> {
    out: io::StdoutLock<'a>,
    painter: Painter,
    /// How deep each call stands under others.
    depth: HashMap<String, usize>,
    ends: HashMap<String, Value>,
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

    fn line(&mut self, line: &[u8]) -> Result<()> {
        self.number += 1;
        let Some(record) = record(line) else {
            writeln!(self.out, "line {}: not a record", self.number)?;
            return Ok(());
        };
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
        if record["type"] == "result" && self.ends.contains_key(call) {
            return Ok(());
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
