//! `observer verify`: does a ledger hold?

mod live;
mod show;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use observer::daemon;
use observer::ledger::{
    Check, HostKey, Kind, Lenience, PROOF, Proof, PublicKey, Report, Verifier, VerifierKey,
    checkpoints_of, cosigned_of, segment, segments_of,
};

use show::Progress;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer verify
  observer verify ledger.jsonl --key host.pub
  observer verify ledger.jsonl --anchored --checkpoint /mnt/worm/checkpoints
  zcat old.jsonl.gz | observer verify - --key host.pub --json
  observer verify --proof record-41.tlog-proof --log-key log.pub

Exit 0: every record holds, every run is closed, and the recorder has stopped. 1: anything else.
2: it could not be read. That the end was cut off after a stop, or the whole replaced, can only be
seen from outside of the file: with a checkpoint that was kept elsewhere.")]
pub(crate) struct VerifyArgs {
    /// The ledger, with its closed files; - reads standard input; of a directory, every ledger
    /// in it
    #[arg(default_value = daemon::LOG)]
    file: PathBuf,
    /// The host's public key that the ledger begins with [default: this host's, now or earlier,
    /// and failing that the ledger's own word]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A run that goes on, and a recorder that has not stopped, are no failure
    #[arg(long)]
    open_ok: bool,
    /// Earlier records that are not in this file are no failure
    #[arg(long)]
    pruned_ok: bool,
    /// Hold it against checkpoints that were kept elsewhere
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Hold it against what this witness cosigned: its key; read from FILE.cosigned
    #[arg(long, value_name = "KEY")]
    witness: Vec<String>,
    /// A record that no checkpoint from elsewhere vouches for is a failure
    #[arg(long)]
    anchored: bool,
    /// Check what is written as it is written, until a line does not hold
    #[arg(long, conflicts_with_all = ["anchored", "checkpoint", "witness", "json"])]
    follow: bool,
    /// Verify the proof of one record, which `observer prove` made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "checkpoint", "anchored", "follow"])]
    proof: Option<PathBuf>,
    /// The public key of the ledger's checkpoints, for --proof [default: this host's]
    #[arg(long, value_name = "FILE", requires = "proof")]
    log_key: Option<PathBuf>,
    /// As JSON, a line for each ledger
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: VerifyArgs) -> Result<ExitCode> {
    if let Some(path) = &args.proof {
        return proof(path, &args);
    }
    let trusted = match &args.key {
        Some(path) => vec![PublicKey::read(path)?],
        None => HostKey::known_public(Path::new(daemon::STATE))?,
    };
    if args.follow {
        return live::follow(&args.file, trusted);
    }
    let holds = if args.file.is_dir() {
        let mut all = true;
        for path in ledgers(&args.file)? {
            all &= one(&path, &trusted, &args)?;
        }
        all
    } else {
        one(&args.file, &trusted, &args)?
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The ledgers in a directory, in the order of their names.
fn ledgers(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot read the directory {}", dir.display());
    let mut found = vec![];
    for entry in std::fs::read_dir(dir).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        // Closed files are verified with the ledger that they are of.
        match segment(&path) {
            Some((of, _)) => found.push(dir.join(of)),
            None if path.extension().is_some_and(|end| end == "jsonl") => found.push(path),
            None => {}
        }
    }
    if found.is_empty() {
        bail!("there is no ledger (*.jsonl) in {}", dir.display());
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn one(path: &Path, trusted: &[PublicKey], args: &VerifyArgs) -> Result<bool> {
    let name = path.display().to_string();
    let report = check(path, trusted, args).with_context(|| format!("cannot verify {name}"))?;
    let lenience = Lenience { open: args.open_ok, pruned: args.pruned_ok };
    let holds = report.holds_but_for(lenience) && (report.anchored || !args.anchored);
    let mut out = io::stdout().lock();
    if args.json {
        let mut value = serde_json::to_value(&report)?;
        if let Some(map) = value.as_object_mut() {
            map.insert("file".into(), name.into());
            map.insert("holds".into(), holds.into());
        }
        writeln!(out, "{value}")?;
    } else {
        show::report(&mut out, &name, &report, args.anchored)?;
    }
    Ok(holds)
}

fn check(path: &Path, trusted: &[PublicKey], args: &VerifyArgs) -> Result<Report> {
    let mut check = Check::new(Verifier::trusting(trusted.to_vec()))?;
    for path in &args.checkpoint {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| name.clone())?;
        let notes = Box::new(BufReader::new(file));
        check.hold_against(notes, &name, true).with_context(|| name.clone())?;
    }
    let stdin = path.as_os_str() == "-";
    if !stdin {
        beside(&mut check, path)?;
    }
    for text in &args.witness {
        let key = VerifierKey::parse(text).filter(|key| key.kind == Kind::Witness);
        let key = key.with_context(|| format!("not a witness's key: {text:?}"))?;
        let cosigned = cosigned_of(path);
        let name = format!("{} ({})", cosigned.display(), key.name);
        let file = File::open(&cosigned).with_context(|| name.clone())?;
        // As it is now: what comes while the ledger is read may vouch for more than is read.
        let now = file.metadata()?.len();
        let notes = Box::new(BufReader::new(file.take(now)));
        check.hold_against_witness(notes, &name, key).with_context(|| name.clone())?;
    }
    let mut progress = Progress::new();
    if stdin {
        let source = observer::ledger::decompressed(io::stdin().lock())?;
        check.read(None, source, |bytes| progress.step(bytes))?;
    } else {
        let closed = segments_of(path)?;
        for file in &closed {
            let name = file.path.display().to_string();
            let source = observer::ledger::open(&file.path).with_context(|| name.clone())?;
            check.read(Some(name), source, |bytes| progress.step(bytes))?;
        }
        // A crash may have come before the next file was begun.
        if path.exists() || closed.is_empty() {
            let name = (!closed.is_empty()).then(|| path.display().to_string());
            let source = observer::ledger::open(path)?;
            check.read(name, source, |bytes| progress.step(bytes))?;
        }
    }
    progress.clear();
    let mut report = check.finish();
    if args.anchored && args.checkpoint.is_empty() && args.witness.is_empty() {
        report.anchor(None);
    }
    Ok(report)
}

/// Holds a ledger against the checkpoints that stand beside it, as they are now: what is added
/// while it is read vouches for records that may not be read any more.
fn beside(check: &mut Check, ledger: &Path) -> Result<()> {
    let path = checkpoints_of(ledger);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    let now = file.metadata()?.len();
    let name = path.display().to_string();
    check.hold_against(Box::new(BufReader::new(file.take(now))), &name, false)?;
    Ok(())
}

fn proof(path: &Path, args: &VerifyArgs) -> Result<ExitCode> {
    let name = path.display();
    let own = Path::new(daemon::STATE).join("log.pub");
    let log = PublicKey::read(args.log_key.as_deref().unwrap_or(&own))
        .context("whose ledger? name the public key of its checkpoints with --log-key")?;
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut bytes = vec![];
    file.take(PROOF as u64 + 1).read_to_end(&mut bytes)?;
    let proof = Proof::parse(&bytes).ok_or_else(|| "it is not a proof".to_owned());
    let index = proof.as_ref().map(|proof| proof.index).unwrap_or_default();
    let proved = proof.and_then(|proof| proof.verify(log));
    let mut out = io::stdout().lock();
    match &proved {
        Ok(proved) if args.json => out.write_all(&[&proved.record[..], b"\n"].concat())?,
        Ok(proved) => {
            let (origin, size) = (proved.checkpoint.origin.escape_debug(), proved.checkpoint.size);
            writeln!(out, "PROVED {name}: record {index} of the {size} of {origin}")?;
            out.write_all(&[&proved.record[..], b"\n"].concat())?;
        }
        Err(why) => writeln!(out, "BROKEN {name}: {why}")?,
    }
    Ok(if proved.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
