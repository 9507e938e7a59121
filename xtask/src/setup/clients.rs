//! HTTP clients as package registries have them, which agents are written with. They go to the
//! cache, and are never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::place;

use crate::run::capture;

/// Python's, of the versions that the tests were made with.
const OF_PYTHON: [&str; 5] = [
    "requests==2.32.3",
    "httpx[http2]==0.28.1",
    "aiohttp==3.11.11",
    "uvloop==0.21.0",
    "uv==0.5.14",
];
/// Node's.
const OF_NODE: [&str; 2] = ["undici@6.21.0", "axios@1.7.9"];

/// A Python with its clients.
fn of_python() -> PathBuf {
    place::cache().join("python-clients-1")
}

/// Node's modules.
fn of_node() -> PathBuf {
    place::cache().join("node-clients-1")
}

/// What the tests are told of their places.
pub(crate) fn environment() -> [(&'static str, PathBuf); 2] {
    [
        ("OBSERVER_TEST_PYTHON", of_python().join("bin/python3")),
        ("OBSERVER_TEST_MODULES", of_node().join("node_modules")),
    ]
}

/// Makes sure that they are there; true if any had to be downloaded. Those for a language that the
/// machine lacks are left out, and their tests say so.
///
/// # Errors
/// If they are not to be had.
pub(super) fn ensure() -> Result<bool> {
    let python = made(&of_python(), &OF_PYTHON, "python3", |python, work| {
        capture(Command::new(python).args(["-m", "venv"]).arg(work))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        capture(Command::new(work.join("bin/python3")).args(pip).args(OF_PYTHON)).map(drop)
    })?;
    let node = made(&of_node(), &OF_NODE, "npm", |npm, work| {
        let args =
            ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        capture(Command::new(npm).args(args).arg(work).args(OF_NODE)).map(drop)
    })?;
    Ok(python || node)
}

/// Makes a directory of the cache with a program of the machine, where it is not there yet.
fn made(
    place: &Path,
    packages: &[&str],
    program: &str,
    make: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<bool> {
    if place.is_dir() {
        return Ok(false);
    }
    let packages = packages.join(", ");
    let Some(program) = place::program(program) else {
        println!("setup: no {program} to download {packages} with: tests of them will be skipped");
        return Ok(false);
    };
    println!("setup: downloading {packages} into {}: agents' HTTP", place.display());
    // Beside its place, so that the last step is a rename.
    let work = place.with_extension(std::process::id().to_string());
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).with_context(|| format!("can't create {}", work.display()))?;
    if let Err(error) = make(&program, &work) {
        let _ = fs::remove_dir_all(&work);
        return Err(
            error.context(format!("{packages} can't be had: tests of them will be skipped"))
        );
    }
    fs::rename(&work, place).with_context(|| format!("can't put them into {}", place.display()))?;
    Ok(true)
}
