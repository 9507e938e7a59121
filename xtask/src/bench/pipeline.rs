//! What a record costs in user space, stage by stage: observer's bench of that name.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::run::{cargo, run};

/// `bench pipeline`.
pub(super) fn command(arguments: &[String]) -> Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        bail!("bench pipeline: takes nothing, and not {argument:?}");
    }
    run(cargo().args(["bench", "--quiet", "--package", "observer", "--bench", "pipeline"]))?;
    Ok(ExitCode::SUCCESS)
}
