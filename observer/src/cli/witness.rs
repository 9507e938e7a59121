//! `observer witness`: keeps the last checkpoint of each log that it knows, and cosigns what
//! continues it (C2SP tlog-witness). It runs on another host, or as another user, and needs no
//! privilege.

mod book;
mod serve;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use observer::ledger::{Cosigner, VerifierKey, is_name};

use book::Book;

#[derive(clap::Args)]
pub(crate) struct WitnessArgs {
    #[command(subcommand)]
    command: WitnessCommand,
}

#[derive(clap::Subcommand)]
enum WitnessCommand {
    /// Serve `add-checkpoint`
    #[command(after_help = "\
Example:
  observer key log ledger.jsonl > logs          on the recorder's host: the ledger's name and key
  observer witness serve --logs logs --state-dir /var/lib/observer-witness --listen 10.0.0.7:8401

Its own key is made at first use and said on standard error: the recorder needs it. A checkpoint
is kept on disk before it is cosigned; one that would roll a ledger back, or fork it, is refused.")]
    Serve {
        /// Where to listen
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8401")]
        listen: String,
        /// The logs to cosign for: a file with a verifier key a line
        #[arg(long, value_name = "FILE")]
        logs: PathBuf,
        /// Where its key and what it has cosigned are
        #[arg(long, value_name = "DIR")]
        state_dir: PathBuf,
        /// The name of its key
        #[arg(long, default_value = "observer/witness")]
        name: String,
    },
}

pub(crate) fn run(args: WitnessArgs) -> Result<ExitCode> {
    let WitnessCommand::Serve { listen, logs, state_dir, name } = args.command;
    if !is_name(&name) {
        bail!("a key's name has no space and no plus: {name:?}");
    }
    let text = std::fs::read_to_string(&logs);
    let text = text.with_context(|| format!("cannot read {}", logs.display()))?;
    let mut keys = vec![];
    for (n, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = || format!("{}: line {} is no verifier key", logs.display(), n + 1);
        keys.push(VerifierKey::parse(line).with_context(bad)?);
    }
    if keys.is_empty() {
        bail!("{}: there is no verifier key in it; `observer key log` says it", logs.display());
    }
    let cosigner = Cosigner::open_or_create(&state_dir, &name)?;
    let book = Book::open(&state_dir)
        .with_context(|| format!("cannot keep checkpoints in {}", state_dir.display()))?;
    let listener =
        TcpListener::bind(&listen).with_context(|| format!("cannot listen on {listen}"))?;
    eprintln!("observer: witness for {} logs on {}", keys.len(), listener.local_addr()?);
    eprintln!("observer: its key is {}", cosigner.public());
    serve::serve(&listener, &Arc::new(serve::Witness::new(keys, cosigner, book)))
}
