//! `observer prove`: one record, proved to be in the ledger, by a file that stands alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use observer::daemon;
use observer::ledger::{Notes, Proof, checkpoints_of, open, segments_of};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer prove --record 41 > record-41.tlog-proof
  observer verify --proof record-41.tlog-proof --log-key log.pub

The file has the record, its way to a root, and the checkpoint with that root (c2sp.org/tlog-proof).
It shows nothing else of the ledger.")]
pub(crate) struct ProveArgs {
    /// The ledger
    #[arg(default_value = daemon::LOG)]
    file: PathBuf,
    /// Which record: its idx
    #[arg(long, value_name = "IDX")]
    record: u64,
    /// Under the last of these checkpoints [default: those beside the ledger]
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

pub(crate) fn run(args: ProveArgs) -> Result<ExitCode> {
    let beside = args.checkpoint.unwrap_or_else(|| checkpoints_of(&args.file));
    let read = |path: &PathBuf| {
        File::open(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut notes = Notes::new(BufReader::new(read(&beside)?));
    let mut last = None;
    while let Some(note) = notes.next_note().with_context(|| beside.display().to_string())? {
        last = Some(note);
    }
    let Some(note) = last else { bail!("{}: there is no checkpoint in it", beside.display()) };
    // All of its files, one after another.
    let mut ledger: Box<dyn BufRead> = Box::new(io::empty());
    let closed = segments_of(&args.file)?.into_iter().map(|file| file.path);
    for path in closed.chain([args.file.clone()]) {
        let next = open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ledger = Box::new(ledger.chain(next));
    }
    let proof = Proof::make(ledger, args.record, &note);
    let proof = proof.with_context(|| format!("cannot prove {}", args.file.display()))?;
    io::stdout().write_all(proof.text().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
