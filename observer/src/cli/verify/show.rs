//! A verification, as people read it.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use observer::ledger::{Report, RunReport, RunState};

use crate::cli::tail::show::printable;

/// One line for each run, then what holds, then what can't be known.
pub(super) fn report(
    out: &mut impl Write,
    name: &str,
    report: &Report,
    anchored: bool,
) -> io::Result<()> {
    for found in &report.runs {
        run(out, found)?;
    }
    match &report.broken {
        Some(broken) => {
            let (line, offset) = (broken.line, broken.offset);
            let why = printable(&broken.why);
            let name = broken.file.as_deref().unwrap_or(name);
            writeln!(out, "BROKEN {name}: line {line}, byte {offset}: {why}")?;
            writeln!(
                out,
                "       the {} records before it hold; nothing can be said of the rest",
                report.records - report.from
            )?;
        }
        None => writeln!(
            out,
            "HOLDS  {name}: {} records, each in its place and signed",
            report.records - report.from
        )?,
    }
    let torn = report.runs.iter().filter(|run| run.state == RunState::Torn).count();
    if torn > 0 {
        writeln!(
            out,
            "TORN: the recorder of {torn} runs was killed: what they did after that is not here"
        )?;
    }
    if report.from > 0 {
        let from = report.from;
        writeln!(out, "PRUNED: it begins with record {from}: the {from} before it are not here")?;
    }
    if report.broken.is_none() && !report.stopped {
        writeln!(out, "OPEN: the recorder goes on, or was killed, or the end was cut off")?;
    }
    if !report.pinned {
        writeln!(out, "UNPINNED: the host's key is the ledger's own word: name it with --key")?;
    }
    if report.anchored {
        writeln!(out, "ANCHORED: a checkpoint from elsewhere vouches for every record")?;
        return Ok(());
    }
    let refused = if anchored { ", and --anchored was asked for" } else { "" };
    match report.anchor {
        Some(size) => writeln!(
            out,
            "UNANCHORED: checkpoints from elsewhere vouch for the first {size} records, not for those after them{refused}"
        ),
        None => writeln!(
            out,
            "UNANCHORED: no checkpoint from elsewhere says that nothing is missing at the end{refused}"
        ),
    }
}

fn run(out: &mut impl Write, run: &RunReport) -> io::Result<()> {
    let state = run.state.word();
    let lost = if run.lost > 0 { format!(", {} LOST", run.lost) } else { String::new() };
    let (id, agent) = (&run.run, printable(&run.agent));
    writeln!(out, "{state:<6} {id} {agent}: {} records, {} calls{lost}", run.records, run.calls)
}

/// How far a long reading is, on a terminal.
pub(super) struct Progress {
    began: Instant,
    said: Instant,
    bytes: u64,
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), said: Instant::now(), bytes: 0, shown: false }
    }

    pub(super) fn step(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.said.elapsed() > Duration::from_secs(1) && io::stderr().is_terminal() {
            self.said = Instant::now();
            self.shown = true;
            let seconds = self.began.elapsed().as_secs();
            eprint!("\rverified {} MB in {seconds} s", self.bytes >> 20);
        }
    }

    pub(super) fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
