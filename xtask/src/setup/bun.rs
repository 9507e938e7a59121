//! Bun, as npm has it: an agent whose TLS library has no names. It goes to the cache, and is never
//! installed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use xtask::place;

use crate::run::capture;

/// The package, of the version that the tests were made with.
const PACKAGE: &str = "@oven/bun-linux-x64@1.3.3";

/// Where the program is put.
pub(crate) fn directory() -> PathBuf {
    place::cache().join("bun-1.3.3")
}

/// Whether it is there, or another in PATH.
pub(super) fn is_there() -> bool {
    place::program("bun").is_some() || directory().join("bun").is_file()
}

/// Makes sure that it is; true if it had to be downloaded. Without npm it is left out, and its
/// tests say so.
///
/// # Errors
/// If it is not to be had.
pub(super) fn ensure() -> Result<bool> {
    if is_there() {
        return Ok(false);
    }
    let Some(npm) = place::program("npm") else {
        println!("setup: no npm to download bun with: tests of it will be skipped");
        return Ok(false);
    };
    let directory = directory();
    println!("setup: downloading {PACKAGE} into {}: an agent's TLS", directory.display());
    // Beside its place, so that the last step is a rename.
    let work = place::cache().join(format!("bun-{}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).with_context(|| format!("can't create {}", work.display()))?;
    let packed = capture(Command::new(npm).args(["pack", "--silent", PACKAGE]).current_dir(&work))?;
    let Some(file) = packed.split_whitespace().last() else { bail!("npm pack names no file") };
    capture(Command::new("tar").args(["-xzf", file]).current_dir(&work))?;
    let _ = fs::remove_dir_all(&directory);
    fs::rename(work.join("package/bin"), &directory)
        .with_context(|| format!("can't put it into {}", directory.display()))?;
    let _ = fs::remove_dir_all(&work);
    Ok(true)
}
