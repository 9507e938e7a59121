//! `observer key`: this host's keys.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use observer::daemon;
use observer::ledger::{Kind, Notes, PublicKey, VerifierKey, checkpoints_of};

#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(clap::Subcommand)]
enum KeyCommand {
    /// Show the public key and its fingerprint: what `verify --key` needs, on any host
    Show {
        /// Where the host's key is
        #[arg(long, value_name = "DIR", default_value = daemon::STATE)]
        state_dir: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a ledger's name and the public key of its checkpoints: what a witness needs
    Log {
        /// The ledger
        #[arg(default_value = daemon::LOG)]
        file: PathBuf,
        /// Where the host's keys are
        #[arg(long, value_name = "DIR", default_value = daemon::STATE)]
        state_dir: PathBuf,
    },
}

pub(crate) fn run(args: KeyArgs) -> Result<ExitCode> {
    match args.command {
        KeyCommand::Show { state_dir, json } => show(&state_dir, json),
        KeyCommand::Log { file, state_dir } => log(&file, &state_dir),
    }
}

/// As signed-note writes a verifier key, for the witnesses of other makers too.
fn log(ledger: &Path, state: &Path) -> Result<ExitCode> {
    let path = checkpoints_of(ledger);
    let name = path.display();
    let file = File::open(&path).with_context(|| format!("no checkpoint yet: {name}"))?;
    let first = Notes::new(BufReader::new(file)).next_checkpoint();
    let (note, checkpoint) = first.with_context(|| name.to_string())?.context("no checkpoint")?;
    let key = PublicKey::read(&state.join("log.pub"))?;
    let key = VerifierKey { name: checkpoint.origin, kind: Kind::Log, key };
    anyhow::ensure!(note.verifies(&key), "{name}: not signed by the key in {}", state.display());
    super::answer(&format!("{key}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn show(state: &Path, json: bool) -> Result<ExitCode> {
    let path = state.join("host.pub");
    let key =
        PublicKey::read(&path).context("no key of this host: the first `observer run` makes it")?;
    let (text, print) = (key.to_base64(), key.fingerprint());
    let mut out = io::stdout().lock();
    if json {
        let shown = serde_json::json!({ "path": path, "public_key": text, "fingerprint": print });
        writeln!(out, "{shown}")?;
    } else {
        writeln!(out, "{}\n{text}\n{print}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
