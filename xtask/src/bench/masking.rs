//! What masking misses, what it takes without need, and what it costs: the table of docs/MASKING.md.
//! The program itself is observer's bench of that name; directories are its benign corpus.

use std::process::ExitCode;

use anyhow::Result;

use crate::run::{cargo, run};

/// `bench masking [DIR…]`.
pub(crate) fn command(directories: &[String]) -> Result<ExitCode> {
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "--package", "observer", "--bench", "masking", "--"]);
    // The bench runs in its own package's directory.
    for directory in directories {
        bench.arg(std::path::absolute(directory)?);
    }
    run(&mut bench)?;
    Ok(ExitCode::SUCCESS)
}
