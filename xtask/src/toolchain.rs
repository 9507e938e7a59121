//! Finding a compiler for the kernel side. Two ways lead to one, and whichever is there is used:
//!
//! - rustup's nightly with `rust-src`: `core` is built for the target, by `-Z build-std`;
//! - Debian's `rustc-web` with `libstd-rust-web-dev-bpf`: `core` comes ready-made.
//!
//! Both link with bpf-linker, which must read the bitcode of the compiler's LLVM.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::place;

/// The bpf-linker that `cargo xtask setup` installs.
pub const BPF_LINKER: &str = "0.13.0";

/// The LLVM that this bpf-linker is built with.
pub const LLVM: u32 = 22;

/// The target that the kernel side is compiled for.
pub const TARGET: &str = "bpfel-unknown-none";

/// A compiler and a linker that fit each other.
#[derive(Debug)]
pub struct Toolchain {
    /// The cargo to start.
    pub cargo: PathBuf,
    /// The compiler to name to it.
    pub rustc: PathBuf,
    /// bpf-linker.
    pub linker: PathBuf,
    /// `core` isn't there for the target and is built with the crate.
    pub build_std: bool,
}

/// Where `cargo xtask setup` installs its bpf-linker; the version is in the path, so that another
/// version never meets an old file.
pub fn linker_root() -> PathBuf {
    place::cache().join(format!("bpf-linker-{BPF_LINKER}-llvm{LLVM}"))
}

/// LLVM's own directory in Debian.
pub fn llvm_dir() -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{LLVM}"))
}

impl Toolchain {
    /// The first toolchain that is whole.
    ///
    /// # Errors
    /// Names what each of the two ways lacks.
    pub fn find() -> Result<Self> {
        let mut lacking = String::new();
        for (way, found) in [("rustup", rustup()), ("Debian", debian())] {
            match found {
                Ok(toolchain) => return Ok(toolchain),
                Err(missing) => {
                    let _ = write!(lacking, "\n  {way}: {missing}");
                }
            }
        }
        bail!(
            "no toolchain for the eBPF programs:{lacking}\nrun `cargo xtask setup`, which installs one"
        )
    }

    /// In a sentence, for people.
    pub fn describe(&self) -> String {
        let core = if self.build_std { "core built from rust-src" } else { "core ready-made" };
        format!("{} with {}, {core}", self.rustc.display(), self.linker.display())
    }
}

/// rustup's nightly, read from its directory: asking `rustup` could start a download.
fn rustup() -> Result<Toolchain, String> {
    let home = place::absolute("RUSTUP_HOME")
        .or_else(|| Some(place::absolute("HOME")?.join(".rustup")))
        .ok_or("neither RUSTUP_HOME nor HOME is set")?;
    let root = nightly(&home).ok_or("no nightly toolchain")?;
    if !root.join("lib/rustlib/src/rust/library/core").is_dir() {
        return Err(format!("{} has no rust-src", root.display()));
    }
    let (cargo, rustc) = (root.join("bin/cargo"), root.join("bin/rustc"));
    let linker = match place::program("bpf-linker") {
        Some(linker) => linker,
        None => own_linker_for(&rustc)?,
    };
    Ok(Toolchain { cargo, rustc, linker, build_std: true })
}

fn nightly(rustup_home: &Path) -> Option<PathBuf> {
    let host = format!("nightly-{}-", std::env::consts::ARCH);
    let entries = rustup_home.join("toolchains").read_dir().ok()?;
    let named = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&host))
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(named)
        .find(|root| place::is_executable(&root.join("bin/rustc")))
}

/// Debian's packages.
fn debian() -> Result<Toolchain, String> {
    let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    for (file, package) in [(&rustc, "rustc-web"), (&cargo, "cargo-web")] {
        if !place::is_executable(file) {
            return Err(format!("no {} (package {package})", file.display()));
        }
    }
    let core = PathBuf::from("/usr/lib/rustlib").join(TARGET);
    if !core.is_dir() {
        return Err(format!("no {} (package libstd-rust-web-dev-bpf)", core.display()));
    }
    let linker = match own_linker_for(&rustc) {
        Ok(linker) => linker,
        Err(why) => place::program("bpf-linker").ok_or(why)?,
    };
    Ok(Toolchain { cargo, rustc, linker, build_std: false })
}

/// The bpf-linker that setup installed, if it can read what this compiler writes.
fn own_linker_for(rustc: &Path) -> Result<PathBuf, String> {
    let linker = linker_root().join("bin/bpf-linker");
    if !place::is_executable(&linker) {
        return Err(format!("no bpf-linker, neither in PATH nor at {}", linker.display()));
    }
    match llvm_of(rustc) {
        Some(llvm) if llvm <= LLVM => Ok(linker),
        Some(llvm) => Err(format!(
            "{} writes LLVM {llvm}, which {} can't read (LLVM {LLVM})",
            rustc.display(),
            linker.display()
        )),
        None => Err(format!("{} -vV names no LLVM version", rustc.display())),
    }
}

fn llvm_of(rustc: &Path) -> Option<u32> {
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    llvm_in(&String::from_utf8_lossy(&output.stdout))
}

fn llvm_in(version: &str) -> Option<u32> {
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

/// `PATH` with LLVM's programs first: bpf-linker's build asks `llvm-config` where its LLVM stands.
///
/// # Errors
/// If a directory in `PATH` can't be written in one.
pub fn path_with_llvm() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [llvm_dir().join("bin")].into_iter().chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(dirs)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_rustc() {
        assert_eq!(llvm_in("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_in("rustc 1.96.0\n"), None);
        assert_eq!(llvm_in("LLVM version: unknown"), None);
    }

    #[test]
    fn the_version_of_the_linker_is_in_its_path() {
        assert!(linker_root().to_string_lossy().ends_with("bpf-linker-0.13.0-llvm22"));
    }
}
