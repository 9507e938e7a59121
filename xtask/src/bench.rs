//! `cargo xtask bench`: figures that the documents quote, measured again.

mod masking;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// `bench`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((name, rest)) if name == "masking" => masking::command(rest),
        Some((other, _)) => bail!("no benchmark {other:?}: there is `masking`"),
        None => bail!("which benchmark? There is `masking`"),
    }
}
