//! cargo-deny, where it is installed: what observer depends on, in both workspaces.

use std::process::Command;

use anyhow::Result;
use xtask::place;

use super::report::{Expected, Report};
use super::tally::Tally;
use crate::run::{capture, cargo, run};

/// The kernel side has a lock file of its own, and dependencies of its own.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "observer-ebpf/Cargo.toml"];

/// Licences, sources and bans need nothing but cargo; advisories need their database, which is
/// fetched, and a machine without a way to it can't check them.
pub(super) fn check(report: &mut Report) {
    const DEPENDENCIES: &str = "licences and sources";
    const ADVISORIES: &str = "advisories";
    if place::program("cargo-deny").is_none() {
        let why = "cargo-deny is not installed: `cargo install --locked cargo-deny`";
        report.skip(DEPENDENCIES, why, Expected::No);
        report.skip(ADVISORIES, why, Expected::No);
        return;
    }
    report.part(DEPENDENCIES, || {
        for manifest in MANIFESTS {
            run(deny(manifest).args(["licenses", "bans", "sources"]))?;
        }
        Ok(Tally::PASSED)
    });
    let advisories = || -> Result<Tally> {
        for manifest in MANIFESTS {
            capture(deny(manifest).arg("advisories"))?;
        }
        Ok(Tally::PASSED)
    };
    match advisories() {
        Err(error) if error.to_string().contains("failed to fetch advisory database") => {
            report.skip(ADVISORIES, "their database can't be fetched from here", Expected::No);
        }
        result => report.part(ADVISORIES, || result),
    }
}

fn deny(manifest: &str) -> Command {
    let root = place::workspace();
    let mut command = cargo();
    command
        .args(["deny", "--workspace", "--manifest-path"])
        .arg(root.join(manifest))
        .args(["--log-level", "error", "--config"])
        .arg(root.join("deny.toml"))
        .args(["check", "--hide-inclusion-graph"]);
    command
}
