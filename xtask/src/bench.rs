//! `cargo xtask bench PART`: figures that the documents quote, measured again.

mod kernel;
mod masking;
mod pipeline;

use std::process::ExitCode;

use anyhow::{Result, bail};

const PARTS: &str = "there are `kernel`, `pipeline` and `masking`";

/// `bench kernel|pipeline|masking …`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((part, rest)) if part == "kernel" => kernel::command(rest),
        Some((part, rest)) if part == "pipeline" => pipeline::command(rest),
        Some((part, rest)) if part == "masking" => masking::command(rest),
        Some((part, _)) => bail!("no benchmark {part:?}: {PARTS}"),
        None => bail!("which benchmark? {PARTS}"),
    }
}
