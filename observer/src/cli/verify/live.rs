//! `observer verify --follow`: a ledger, checked as it is written.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use observer::ledger::{PublicKey, RunState, Verifier};

use crate::cli::tail::follow::Follower;
use crate::cli::tail::show::printable;

/// Checks what is there and what comes, until a line does not hold. What is written in one group
/// is told of when its signature came.
pub(super) fn follow(path: &Path, trusted: Vec<PublicKey>) -> Result<ExitCode> {
    let name = path.display();
    let failed = || format!("cannot read {}", path.display());
    let mut follower = Follower::open(path, 0).with_context(failed)?;
    let mut verifier = Verifier::trusting(trusted);
    let mut out = io::stdout().lock();
    let mut said = 0;
    loop {
        while let Some(line) = follower.lines.next().with_context(failed)? {
            // After a file that was closed comes one that says so; after any other change a line
            // that does not continue what stood before it.
            if follower.lines.began_anew() {
                verifier.next_file();
            }
            if line.is_empty() {
                verifier.too_long();
            }
            verifier.line(&line, true);
            if verifier.is_broken() {
                break;
            }
        }
        let size = verifier.tree().size();
        if verifier.is_broken() || size > said {
            said = size;
            let report = verifier.report();
            if let Some(broken) = report.broken {
                let (line, offset, why) = (broken.line, broken.offset, printable(&broken.why));
                let name = follower.lines.name().display();
                writeln!(out, "BROKEN {name}: line {line}, byte {offset}: {why}")?;
                return Ok(ExitCode::from(1));
            }
            let open = report.runs.iter().filter(|run| run.state == RunState::Open).count();
            let pruned = match report.from {
                0 => String::new(),
                from => format!(", PRUNED: the {from} before this one's first are not here"),
            };
            writeln!(out, "HOLDS  {name}: {size} records, {open} runs open{pruned}")?;
            out.flush()?;
        }
        follower.wait()?;
    }
}
