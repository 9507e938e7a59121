//! `cargo xtask bench PART`: figures that the documents quote, measured again.

mod kernel;
mod masking;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::run::{cargo, run};

const PARTS: &str =
    "there are `kernel`, `policy`, `runs`, `latency`, `pipeline`, `masking` and `verify`";

/// `bench kernel|policy|runs|latency|pipeline|masking|verify …`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((part, rest)) if part == "kernel" => kernel::command(rest),
        Some((part, rest)) if ["policy", "runs", "latency"].contains(&part.as_str()) => {
            kernel::command(&[&[format!("--{part}")], rest].concat())
        }
        Some((part, rest)) if part == "pipeline" || part == "verify" => plain(part, rest),
        Some((part, rest)) if part == "masking" => masking::command(rest),
        Some((part, _)) => bail!("no benchmark {part:?}: {PARTS}"),
        None => bail!("which benchmark? {PARTS}"),
    }
}

/// One of observer's own benches that takes no arguments.
fn plain(name: &str, arguments: &[String]) -> Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("bench {name}: takes nothing, and not {argument:?}");
    }
    run(cargo().args(["bench", "--quiet", "--package", "observer", "--bench", name]))?;
    Ok(ExitCode::SUCCESS)
}
