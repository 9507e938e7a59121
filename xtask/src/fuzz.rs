//! `cargo xtask fuzz [TARGET] [--seconds N]`: bytes that nobody wrote, at the doors where bytes
//! come in. The targets and their seeds are in `fuzz/`, a crate of its own.
//!
//! The seeds stay as they are: what the fuzzer keeps goes to `target/fuzz/`, and what breaks
//! something to `fuzz/artifacts/`, from where it belongs among the seeds once it is mended.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use xtask::place;

use crate::run::{self, run};

/// The doors, each a binary of `fuzz/` with a directory of seeds.
pub(crate) const TARGETS: [&str; 8] =
    ["decode", "verify", "policy", "http1", "http2", "websocket", "elf", "bodies"];
/// The longest input that is tried: beyond that only the same comes again.
const LONGEST: u32 = 32 * 1024;

#[derive(Debug, PartialEq, Eq)]
struct Options {
    targets: Vec<&'static str>,
    seconds: u32,
}

/// `fuzz [TARGET] [--seconds N]`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if let Some(missing) = missing() {
        bail!("can't fuzz: {missing}");
    }
    for target in options.targets {
        one(target, options.seconds, Start::Anywhere)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { targets: TARGETS.to_vec(), seconds: 60 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--seconds" {
                let number = arguments.next().and_then(|number| number.parse().ok());
                options.seconds = number.filter(|&n| n > 0).context("--seconds: how many?")?;
                continue;
            }
            let known = TARGETS.into_iter().find(|target| target == argument);
            let known = known
                .with_context(|| format!("fuzz: {argument:?} is none of {}", TARGETS.join(", ")))?;
            options.targets = vec![known];
        }
        Ok(options)
    }
}

/// What fuzzing lacks here, and the way out.
pub(crate) fn missing() -> Option<&'static str> {
    let nightly = || {
        let mut rustc = Command::new("rustup");
        rustc.args(["run", "nightly", "rustc", "--version"]);
        let status = rustc.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if place::program("cargo-fuzz").is_none() {
        return Some("cargo-fuzz is not installed: `cargo install --locked cargo-fuzz`");
    }
    if place::program("c++").is_none() {
        return Some("no C++ compiler for the fuzzer's library: `apt-get install g++`");
    }
    if !nightly() {
        return Some("no nightly toolchain: `rustup toolchain install nightly`");
    }
    None
}

/// Where the fuzzer begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At a number of its own choice, with what it kept before: each time it sees something else.
    Anywhere,
    /// At the seeds alone and a fixed number: what it tries is the same wherever this tree is
    /// tested, as far as the time goes.
    Seeds,
}

/// Fuzzes one target for so long.
///
/// # Errors
/// When it found something, or could not begin.
pub(crate) fn one(target: &str, seconds: u32, start: Start) -> Result<()> {
    let kept = match start {
        Start::Anywhere => "fuzz",
        Start::Seeds => "fuzz-from-seeds",
    };
    let kept = place::target().join(kept).join(target);
    if start == Start::Seeds && kept.exists() {
        fs::remove_dir_all(&kept).with_context(|| kept.display().to_string())?;
    }
    fs::create_dir_all(&kept).with_context(|| kept.display().to_string())?;
    let mut fuzz = Command::new("rustup");
    fuzz.current_dir(place::workspace())
        // Its own code is safe Rust, in which an address sanitizer has nothing to find.
        .args(["run", "nightly", "cargo", "fuzz", "run", "--sanitizer", "none", target])
        .arg(&kept)
        .arg(seeds(target))
        .args(["--", &format!("-max_total_time={seconds}"), &format!("-max_len={LONGEST}")])
        .args([
            "-rss_limit_mb=2048",
            "-timeout=10",
            "-verbosity=0",
            "-print_funcs=0",
            "-print_final_stats=1",
        ]);
    if start == Start::Seeds {
        fuzz.arg("-seed=1");
    }
    run(&mut fuzz).with_context(|| {
        format!(
            "{target} broke: the input is in fuzz/artifacts/{target}/, and belongs into {}, \
                 where `cargo xtask test` tries it each time",
            seeds(target).display()
        )
    })
}

fn seeds(target: &str) -> PathBuf {
    place::workspace().join("fuzz/corpus").join(target)
}

/// A cargo command for `fuzz/` on a stable toolchain: the functions behind the targets, and the
/// tests that give them every seed.
pub(crate) fn stable(command: &str) -> Command {
    let mut cargo = run::cargo();
    cargo
        .args([command, "--manifest-path", "fuzz/Cargo.toml", "--no-default-features"])
        // Its dependencies are the workspace's, built already.
        .arg("--target-dir")
        .arg(place::target());
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn a_target_and_a_time_may_be_named() {
        assert_eq!(parse("").unwrap(), Options { targets: TARGETS.to_vec(), seconds: 60 });
        let options = parse("verify --seconds 5").unwrap();
        assert_eq!(options, Options { targets: vec!["verify"], seconds: 5 });
        for line in ["nothing", "--seconds", "--seconds 0", "--seconds soon", "--fast"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_target_has_its_binary_and_its_seeds() {
        for target in TARGETS {
            let binary = place::workspace().join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(binary.is_file(), "{}", binary.display());
            assert!(seeds(target).is_dir(), "{}", seeds(target).display());
        }
        let binaries = fs::read_dir(place::workspace().join("fuzz/fuzz_targets")).unwrap();
        assert_eq!(binaries.count(), TARGETS.len());
    }
}
