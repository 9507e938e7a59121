//! Builds the kernel side and hands it to `kernel/`, as `OUT_DIR/observer-ebpf.o`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result};
use xtask::ebpf;

fn main() -> ExitCode {
    // The chain of reasons, without a backtrace through cargo's inside.
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    for source in ebpf::sources() {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let object = ebpf::build(&out_dir)?;
    let copy = out_dir.join("observer-ebpf.o");
    fs::copy(&object, &copy)
        .with_context(|| format!("can't copy {} to {}", object.display(), copy.display()))?;
    Ok(())
}
