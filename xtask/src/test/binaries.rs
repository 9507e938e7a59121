//! The programs that the end-to-end tests run, linked statically, so that one build runs on this
//! kernel and in machines that have no libraries.

use std::path::PathBuf;

use anyhow::{Result, bail};
use xtask::place;

use crate::run::{cargo, run};

/// The GNU target, named: without `--target`, the flags would reach procedural macros too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The recorder, the sample that acts as an agent, and the cases that hold one against the other.
pub(super) struct Binaries {
    pub(super) observer: PathBuf,
    pub(super) agent: PathBuf,
    pub(super) e2e: PathBuf,
}

impl Binaries {
    /// Builds them.
    ///
    /// # Errors
    /// If the build fails, or leaves one of them out.
    pub(super) fn build() -> Result<Self> {
        let target = place::target().join("static");
        let mut cargo = cargo();
        cargo
            .args(["build", "--release", "--target", TARGET, "--target-dir"])
            .arg(&target)
            .args(["-p", "observer", "-p", "observer-tests", "--bins"])
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        run(&mut cargo)?;
        let built = |name| target.join(TARGET).join("release").join(name);
        let binaries =
            Self { observer: built("observer"), agent: built("agent"), e2e: built("e2e") };
        for file in binaries.all() {
            if !file.is_file() {
                bail!("the static build left no {}", file.display());
            }
        }
        Ok(binaries)
    }

    /// Each of them.
    pub(super) fn all(&self) -> [&PathBuf; 3] {
        [&self.observer, &self.agent, &self.e2e]
    }
}
