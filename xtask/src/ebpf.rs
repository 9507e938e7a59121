//! Building `observer-ebpf`: another target, another compiler, a lock file of its own. So it is a
//! cargo of its own too, and nothing that an outer cargo said in the environment reaches it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::place;
use crate::toolchain::{TARGET, Toolchain, path_with_llvm};

/// The crate's name and its object's.
const NAME: &str = "observer-ebpf";

/// What the object is built from, seen from the workspace's root.
const SOURCES: [&str; 5] = [
    "observer-ebpf/src",
    "observer-ebpf/Cargo.toml",
    "observer-ebpf/Cargo.lock",
    "observer-common/src",
    "observer-common/Cargo.toml",
];

/// Builds the eBPF object and says where it is. `out_dir` is where the caller may write: a build
/// inside the workspace shares `target/ebpf`, so that each profile of `observer` doesn't compile
/// the same object again; one from elsewhere keeps to `out_dir`.
///
/// # Errors
/// If no toolchain is there (and what it lacks), or if the build fails.
pub fn build(out_dir: &Path) -> Result<PathBuf> {
    let source = place::workspace().join(NAME);
    if !source.join("Cargo.toml").is_file() {
        bail!("no {}: the eBPF programs' source is missing from this tree", source.display());
    }
    let toolchain = Toolchain::find()?;
    let target = target_dir(out_dir);
    let mut cargo = command(&toolchain, &source, &target)?;
    let status =
        cargo.status().with_context(|| format!("can't start {}", toolchain.cargo.display()))?;
    if !status.success() {
        bail!("the build of {NAME} failed ({status}), with {}", toolchain.describe());
    }
    let object = target.join(TARGET).join("release").join(NAME);
    if !object.is_file() {
        bail!("the build of {NAME} left no {}", object.display());
    }
    Ok(object)
}

/// The files and directories whose change calls for another build.
pub fn sources() -> Vec<PathBuf> {
    SOURCES.iter().map(|path| place::workspace().join(path)).collect()
}

fn target_dir(out_dir: &Path) -> PathBuf {
    let own = place::target();
    if out_dir.starts_with(&own) { own.join("ebpf") } else { out_dir.join("ebpf") }
}

fn command(toolchain: &Toolchain, source: &Path, target: &Path) -> Result<Command> {
    let mut cargo = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os() {
        if !passes(&name) {
            cargo.env_remove(name);
        }
    }
    let linker = format!("linker={}", toolchain.linker.display());
    let flags = [
        "-C",
        &linker,
        // v3: atomics that return what was there, and 32-bit jumps; every kernel since 5.12 has both.
        "-C",
        "target-cpu=v3",
        "-C",
        "link-arg=--btf",
        // What bpf-linker asks of LLVM by default (--bpf-expand-memcpy-in-order) makes a call of each
        // memset, which then goes byte by byte: through sixteen of them where two stores do.
        "-C",
        "link-arg=--disable-expand-memcpy-in-order",
        "-C",
        "debuginfo=2",
    ];
    cargo
        .current_dir(source)
        .args(["build", "--release", "--target", TARGET, "--target-dir"])
        .arg(target)
        .env("RUSTC", &toolchain.rustc)
        .env("PATH", path_with_llvm()?)
        // aya-ebpf's assembly and our intrinsics are unstable; a nightly doesn't mind being told.
        .env("RUSTC_BOOTSTRAP", "1")
        // Encoded: a linker's path may hold a space.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if toolchain.build_std {
        cargo.args(["-Z", "build-std=core"]);
    }
    Ok(cargo)
}

/// Whether a variable of the outer environment may reach the inner cargo: not what speaks of
/// another build (its compiler, wrappers, flags, profile, target), but what speaks of the machine
/// (registries, proxies, network).
fn passes(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    const MACHINE: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
    ];
    const BUILD: [&str; 4] = ["CARGO", "RUSTC", "RUSTDOC", "CLIPPY_"];
    const EXACT: [&str; 9] = [
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "LD_LIBRARY_PATH",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "OUT_DIR",
    ];
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    begins(&MACHINE) || !(begins(&BUILD) || EXACT.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_build_does_not_reach_the_inner_one() {
        for name in [
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "CLIPPY_ARGS",
        ] {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX"]
        {
            assert!(passes(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn profiles_share_one_build_and_strangers_keep_to_their_own() {
        let inside = place::target().join("release/build/observer-0/out");
        assert_eq!(target_dir(&inside), place::target().join("ebpf"));
        assert_eq!(target_dir(Path::new("/elsewhere/out")), Path::new("/elsewhere/out/ebpf"));
    }
}
