//! The programs that the end-to-end tests run, linked statically, so that one build runs on this
//! kernel and in machines that have no libraries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xtask::place;

use crate::run::{cargo, stream};

/// The GNU target, named: without `--target`, the flags would reach procedural macros too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Everything in one directory: `observer`, `e2e`, and the tests' helpers beside them under their
/// own names, here as in the machine's `/bin`.
pub(super) struct Binaries {
    pub(super) observer: PathBuf,
    pub(super) e2e: PathBuf,
    directory: PathBuf,
}

impl Binaries {
    /// Builds them.
    ///
    /// # Errors
    /// If a build fails, or leaves out one of the two that must be there.
    pub(super) fn build() -> Result<Self> {
        let mut cargo = cargo();
        cargo
            .args(["build", "--release", "--target", TARGET, "--target-dir"])
            .arg(place::target().join("static"))
            .args(["-p", "observer", "-p", "observer-tests", "--bins", "--test", "e2e"])
            .args(["--message-format", "json-render-diagnostics"])
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        let mut built = Vec::new();
        let status = stream(&mut cargo, super::LIMIT, &mut |line| {
            built.extend(executable_in(line));
            Ok(())
        })?;
        if !status.success() {
            bail!("the static build failed: {status}");
        }
        let directory = place::target().join("e2e-static");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)
            .with_context(|| format!("can't create {}", directory.display()))?;
        for file in &built {
            let place = directory.join(name_of(file));
            fs::copy(file, &place)
                .with_context(|| format!("can't copy {} to {}", file.display(), place.display()))?;
        }
        let binaries =
            Self { observer: directory.join("observer"), e2e: directory.join("e2e"), directory };
        for file in [&binaries.observer, &binaries.e2e] {
            if !file.is_file() {
                bail!("the static build left no {}", file.display());
            }
        }
        Ok(binaries)
    }

    /// Each file, and its place in the machine.
    pub(super) fn in_bin(&self) -> Vec<(PathBuf, String)> {
        let entries = self.directory.read_dir().into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .map(|file| {
                let there = format!("/bin/{}", name_of(&file));
                (file, there)
            })
            .collect()
    }
}

/// The program's name: without the hash that cargo gives to a test's.
fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit_once('-') {
        Some((stem, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            stem.to_owned()
        }
        _ => name.into_owned(),
    }
}

/// The program that one of cargo's messages names. Cargo writes an object a line and escapes
/// nothing in a path but quotes, backslashes and control characters, which no path of ours has.
fn executable_in(message: &str) -> Option<PathBuf> {
    if !message.starts_with(r#"{"reason":"compiler-artifact""#) {
        return None;
    }
    let (_, rest) = message.split_once(r#""executable":""#)?;
    let (path, _) = rest.split_once('"')?;
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["bin"]},"executable":"/t/release/observer","fresh":true}"#;
        assert_eq!(executable_in(message), Some(PathBuf::from("/t/release/observer")));
        assert_eq!(executable_in(&message.replace(r#""/t/release/observer""#, "null")), None);
        assert_eq!(executable_in(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn a_tests_hash_is_not_part_of_its_name() {
        assert_eq!(name_of(Path::new("/t/deps/e2e-0123456789abcdef")), "e2e");
        assert_eq!(name_of(Path::new("/t/release/agent-fork-bomb")), "agent-fork-bomb");
    }
}
