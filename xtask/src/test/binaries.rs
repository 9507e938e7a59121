//! The programs that the end-to-end tests run, linked statically, so that one build runs on this
//! kernel and in machines that have no libraries.

use std::path::PathBuf;

use anyhow::{Result, bail};
use xtask::place;

use crate::run::{cargo, run};

/// The GNU target, named: without `--target`, the flags would reach procedural macros too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The recorder, the sample that acts as an agent, the cases that hold one against the other, and
/// what measures them.
pub(crate) struct Binaries {
    pub(crate) observer: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) e2e: PathBuf,
    pub(crate) bench: PathBuf,
}

impl Binaries {
    /// Builds them.
    ///
    /// # Errors
    /// If the build fails, or leaves one of them out.
    pub(crate) fn build() -> Result<Self> {
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
        let (observer, agent) = (built("observer"), built("agent"));
        let binaries = Self { observer, agent, e2e: built("e2e"), bench: built("bench") };
        for file in binaries.all().into_iter().chain([&binaries.bench]) {
            if !file.is_file() {
                bail!("the static build left no {}", file.display());
            }
        }
        Ok(binaries)
    }

    /// Those that the cases need.
    pub(super) fn all(&self) -> [&PathBuf; 3] {
        [&self.observer, &self.agent, &self.e2e]
    }
}
