//! `observer verify`: does a ledger hold?

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use observer::daemon;
use observer::ledger::{PublicKey, Report, RunState, Verifier};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer verify
  observer verify ledger.jsonl --key host.pub
  zcat old.jsonl.gz | observer verify - --key host.pub --json

Exit 0: every record holds and every run is closed. 1: anything else. 2: it could not be read.
That the end was cut off, or a whole last run, can only be seen from outside of the file.")]
pub(crate) struct VerifyArgs {
    /// The ledger; - reads standard input
    #[arg(default_value = daemon::LOG)]
    file: PathBuf,
    /// The host's public key [default: this host's, and failing that the ledger's own word]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A run that goes on is no failure
    #[arg(long)]
    open_ok: bool,
    /// A ledger that no checkpoint from elsewhere vouches for is a failure
    #[arg(long)]
    anchored: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: VerifyArgs) -> Result<ExitCode> {
    let own = Path::new(daemon::STATE).join("host.pub");
    let key = match &args.key {
        Some(path) => Some(PublicKey::read(path)?),
        None if own.exists() => Some(PublicKey::read(&own)?),
        None => None,
    };
    let name = args.file.display().to_string();
    let report = if args.file.as_os_str() == "-" {
        read(io::stdin().lock(), Verifier::new(key))
    } else {
        let file = File::open(&args.file).with_context(|| format!("cannot read {name}"))?;
        read(BufReader::with_capacity(1 << 20, file), Verifier::new(key))
    };
    let report = report.with_context(|| format!("cannot read {name}"))?;
    let open_ok = args.open_ok && report.broken.is_none() && report.records > 0;
    let holds = (report.holds() || open_ok) && (report.anchored || !args.anchored);
    let mut out = io::stdout().lock();
    if args.json {
        let mut value = serde_json::to_value(&report)?;
        if let Some(map) = value.as_object_mut() {
            map.insert("holds".into(), holds.into());
        }
        writeln!(out, "{value}")?;
    } else {
        show(&mut out, &name, &report, args.anchored)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn read(mut input: impl BufRead, mut verifier: Verifier) -> io::Result<Report> {
    let mut line = vec![];
    let mut progress = Progress::new();
    while !verifier.is_broken() {
        line.clear();
        // One byte more than a line may have: then it is too long, however long it is.
        let mut limited = io::Read::take(&mut input, Verifier::LINE as u64 + 1);
        if limited.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() > Verifier::LINE {
            verifier.too_long();
            break;
        }
        let whole = line.ends_with(b"\n");
        verifier.line(line.strip_suffix(b"\n").unwrap_or(&line), whole);
        progress.step(line.len());
    }
    progress.clear();
    Ok(verifier.finish())
}

fn show(out: &mut impl Write, name: &str, report: &Report, anchored: bool) -> io::Result<()> {
    for run in &report.runs {
        let state = match run.state {
            RunState::Closed => "CLOSED",
            RunState::Open => "OPEN  ",
        };
        let lost = if run.lost > 0 { format!(", {} LOST", run.lost) } else { String::new() };
        let (id, agent) = (&run.run, run.agent.escape_debug());
        writeln!(out, "{state} {id} {agent}: {} records, {} calls{lost}", run.records, run.calls)?;
    }
    match &report.broken {
        Some(broken) => {
            writeln!(
                out,
                "BROKEN {name}: line {}, byte {}: {}",
                broken.line,
                broken.offset,
                broken.why.escape_debug()
            )?;
            writeln!(
                out,
                "       the {} records before it hold; nothing can be said of the rest",
                report.records
            )?;
        }
        None => writeln!(
            out,
            "HOLDS  {name}: {} records, each in its place and signed",
            report.records
        )?,
    }
    if !report.pinned {
        writeln!(out, "UNPINNED: the host's key is the ledger's own word: name it with --key")?;
    }
    if !report.anchored {
        let refused = if anchored { ", and --anchored was asked for" } else { "" };
        writeln!(
            out,
            "UNANCHORED: no checkpoint from elsewhere says that nothing is missing at the end{refused}"
        )?;
    }
    Ok(())
}

/// How far a long reading is, on a terminal.
struct Progress {
    began: Instant,
    said: Instant,
    bytes: u64,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { began: Instant::now(), said: Instant::now(), bytes: 0, shown: false }
    }

    fn step(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.said.elapsed() > Duration::from_secs(1) && io::stderr().is_terminal() {
            self.said = Instant::now();
            self.shown = true;
            let seconds = self.began.elapsed().as_secs();
            eprint!("\rverified {} MB in {seconds} s", self.bytes >> 20);
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
