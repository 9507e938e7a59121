//! `cargo xtask bench kernel`: workloads unobserved and observed in turn, on this kernel.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::run::{self, run};
use crate::setup::{self, Group};
use crate::test::binaries::Binaries;

/// `bench kernel [--rounds N] [--scale N] [--json] [--peers] [--peer COMMAND]… [WORKLOAD…]`.
pub(super) fn command(arguments: &[String]) -> Result<ExitCode> {
    if !run::is_root() {
        bail!("observing needs root:\n  sudo --preserve-env=PATH,HOME cargo xtask bench kernel");
    }
    setup::ensure(&[Group::Build])?;
    let binaries = Binaries::build()?;
    let mut bench = Command::new(&binaries.bench);
    bench.arg("--observer").arg(&binaries.observer).arg("--agent").arg(&binaries.agent);
    run(bench.args(arguments))?;
    Ok(ExitCode::SUCCESS)
}
