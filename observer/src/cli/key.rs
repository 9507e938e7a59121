//! `observer key`: this host's key.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use observer::daemon;
use observer::ledger::PublicKey;

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
}

pub(crate) fn run(args: KeyArgs) -> Result<ExitCode> {
    let KeyCommand::Show { state_dir, json } = args.command;
    let path = state_dir.join("host.pub");
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
