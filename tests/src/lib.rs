//! End to end, on real kernels: a sample that acts as an agent does, and the cases that hold what
//! observer recorded against what the sample did.
//!
//! The binary `agent` is the sample, the binary `e2e` runs the cases. Both are plain programs, so
//! that they can be linked statically and run where there is nothing but a kernel and a shell.

pub mod agent;
pub mod bench;
pub mod cases;
pub mod dns;
pub mod harness;
pub mod hello;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Where the cgroup v2 hierarchy is mounted.
///
/// # Errors
/// When there is none.
pub fn cgroup_mount() -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let found = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup2 ").then(|| left.split(' ').nth(4)).flatten()
    });
    found.map(PathBuf::from).context("no cgroup v2 mount in /proc/self/mountinfo")
}
