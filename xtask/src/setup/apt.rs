//! Debian's package manager: asking, installing, downloading. Others use it at the same time, and
//! mirrors have bad moments, so what may pass is tried again.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use xtask::place;

use crate::run::{capture, is_root};

/// How long to wait before each further try.
const WAITS: [Duration; 3] =
    [Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(30)];

/// Which of these packages are installed; none where there is no dpkg.
pub(super) fn installed(names: &[&str]) -> HashSet<String> {
    // It ends in failure when it doesn't know one of them, and says the others all the same.
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\\n"])
        .args(names)
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

/// Installs packages, and nothing that they only recommend.
///
/// # Errors
/// Without apt-get; without root (with the command to give); if apt-get fails to the end.
pub(super) fn install(names: &[&str]) -> Result<()> {
    need_apt()?;
    let line = format!("apt-get install --no-install-recommends -y {}", names.join(" "));
    if !is_root() {
        bail!("root is needed to install packages:\n  sudo apt-get update && sudo {line}");
    }
    println!("setup: {line}");
    let mut lists_are_new = false;
    again("apt-get install", || {
        let result = capture(apt_get().args(["install", "--no-install-recommends"]).args(names));
        let stale = result.as_ref().is_err_and(|error| calls_for_update(&error.to_string()));
        if stale && !lists_are_new {
            lists_are_new = true;
            update()?;
            return capture(apt_get().args(["install", "--no-install-recommends"]).args(names));
        }
        result
    })?;
    Ok(())
}

/// The available packages whose name matches; the lists are fetched where there are none.
///
/// # Errors
/// Without apt, or if the lists can't be had.
pub(super) fn search(pattern: &str) -> Result<Vec<String>> {
    need_apt()?;
    let names = || -> Result<Vec<String>> {
        let found = capture(Command::new("apt-cache").args(["search", "--names-only", pattern]))?;
        Ok(found.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    };
    let found = names()?;
    if !found.is_empty() {
        return Ok(found);
    }
    if !is_root() {
        bail!("no package matches {pattern}; the lists may be missing:\n  sudo apt-get update");
    }
    println!("setup: no package matches {pattern}: fetching the lists");
    again("apt-get update", update)?;
    names()
}

/// Downloads a package's file into a directory, and checks it against the signed lists.
///
/// # Errors
/// If apt-get fails to the end.
pub(super) fn download(package: &str, directory: &Path) -> Result<()> {
    again("apt-get download", || {
        capture(apt_get().args(["download", package]).current_dir(directory))
    })
    .context("if the lists are old: `sudo apt-get update`")?;
    Ok(())
}

fn need_apt() -> Result<()> {
    if place::program("apt-get").is_none() {
        bail!("no apt-get here: only Debian and its kin can be set up by this command");
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-y", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn update() -> Result<String> {
    capture(apt_get().arg("update"))
}

/// Whether newer lists could make the difference.
fn calls_for_update(error: &str) -> bool {
    ["Unable to locate package", "has no installation candidate", "404", "Unable to fetch"]
        .iter()
        .any(|sign| error.contains(sign))
}

/// Whether waiting could.
fn may_pass(error: &str) -> bool {
    let lasting =
        ["Unable to locate package", "has no installation candidate", "unmet dependencies"];
    !lasting.iter().any(|sign| error.contains(sign))
}

fn again<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for wait in WAITS {
        match attempt() {
            Err(error) if may_pass(&error.to_string()) => {
                println!("setup: {error:#}\nsetup: {what} again in {} s", wait.as_secs());
                thread::sleep(wait);
            }
            settled => return settled,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_passes_and_an_unknown_package_does_not() {
        assert!(may_pass("E: Could not get lock /var/lib/apt/lists/lock. It is held by 7"));
        assert!(!may_pass("E: Unable to locate package rustc-web"));
        assert!(calls_for_update("E: Unable to locate package rustc-web"));
        assert!(!calls_for_update("E: Could not get lock"));
    }

    #[test]
    fn what_can_not_pass_is_tried_once() {
        let mut tries = 0;
        let result: Result<()> = again("trying", || {
            tries += 1;
            bail!("E: Unable to locate package x")
        });
        assert!(result.is_err());
        assert_eq!(tries, 1);
    }
}
