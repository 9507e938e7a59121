//! `cargo xtask test`: everything that says whether observer holds, in one command, and the same in
//! CI. Each part has a heading and its time; the last line is `N passed, N failed, N skipped`.
//!
//! A part without tests of its own (formatting, a build) counts as one. What can't run here is
//! said and counted as skipped; under `CI=true` what was expected to run counts as failed instead.

pub(crate) mod binaries;
mod deny;
mod machines;
mod report;
mod tally;

use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use xtask::{ebpf, place};

use crate::demo;
use crate::fuzz;
use crate::run::{self, cargo, run, stream};
use crate::setup::{self, Group, kernels};
use binaries::Binaries;
use report::{Expected, Report};
use tally::Tally;

/// No build and no test suite takes longer; a hang does.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// What to leave out, and what to pass on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    fast: bool,
    vm_only: bool,
    kernel: Option<String>,
    filter: Vec<String>,
}

/// `test [--fast] [--vm-only] [--kernel SERIES] [FILTER…]`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let mut report = Report::new(in_ci);
    report.part("setup", || setup::ensure(&[Group::Build]).map(|()| Tally::PASSED));
    if let Err(error) = setup::ensure(&[Group::Test, Group::Kernels]) {
        // Not the end: what needs them says so where it would have run.
        println!("{error:#}");
    }
    if !options.vm_only {
        sources(&mut report);
    }
    end_to_end(&mut report, &options);
    Ok(report.close())
}

/// `evasions [--vm-only] [--kernel SERIES]`: each row of docs/EVASIONS.md, on this kernel and in the
/// machines. `test` tries there what stands for each kind.
pub(crate) fn evasions(arguments: &[String]) -> Result<ExitCode> {
    let mut options = Options::parse(arguments)?;
    ensure!(options.filter.is_empty(), "evasions: takes no filter; `test` does");
    options.filter.push("--evasions".to_owned());
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let mut report = Report::new(in_ci);
    setup::ensure(&[Group::Build, Group::Test, Group::Kernels])?;
    end_to_end(&mut report, &options);
    Ok(report.close())
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--fast" => options.fast = true,
                "--vm-only" => options.vm_only = true,
                "--kernel" => {
                    let series = arguments.next().context("--kernel: which one?")?;
                    if !kernels::SERIES.contains(&series.as_str()) {
                        bail!("--kernel: {series:?} is none of {}", kernels::SERIES.join(", "));
                    }
                    options.kernel = Some(series.clone());
                }
                other if other.starts_with('-') => bail!("test: no option {other:?}"),
                filter => options.filter.push(filter.to_owned()),
            }
        }
        if options.fast && (options.vm_only || options.kernel.is_some()) {
            bail!("test: --fast leaves out the machines that --vm-only and --kernel ask for");
        }
        Ok(options)
    }
}

/// What needs no root and no kernel.
fn sources(report: &mut Report) {
    report.part("formatting", || {
        let manifests = ["Cargo.toml", "fuzz/Cargo.toml", "observer-ebpf/Cargo.toml"];
        for manifest in manifests {
            run(cargo().args(["fmt", "--all", "--check", "--manifest-path", manifest]))
                .context("`cargo fmt` puts it right")?;
        }
        Ok(Tally::PASSED)
    });
    report.part("clippy", || {
        let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run(cargo().args(lint))?;
        run(fuzz::stable("clippy").args(["--all-targets", "--", "-D", "warnings"]))?;
        Ok(Tally::PASSED)
    });
    report.part("unit and property tests", || {
        let mut command = cargo();
        command.args(["test", "--workspace", "--exclude", "observer-tests", "--no-fail-fast"]);
        libtest(&mut command)
    });
    report.part("the end-to-end tests' own library", || {
        libtest(cargo().args(["test", "-p", "observer-tests", "--lib"]))
    });
    report.part("fuzz corpus", || libtest(&mut fuzz::stable("test")));
    fuzzing(report);
    deny::check(report);
    report.part("eBPF build", || {
        println!("{}", ebpf::build(&place::target())?.display());
        Ok(Tally::PASSED)
    });
}

/// A short while for each target: what a change broke at a door shows soon.
fn fuzzing(report: &mut Report) {
    const SECONDS: u32 = 20;
    let missing = fuzz::missing();
    for target in fuzz::TARGETS {
        let name = format!("fuzzing {target} for {SECONDS} s");
        match missing {
            Some(why) => report.skip(&name, why, Expected::No),
            None => report.part(&name, || {
                fuzz::one(target, SECONDS, fuzz::Start::Seeds).map(|()| Tally::PASSED)
            }),
        }
    }
}

/// On this kernel, and on those in virtual machines: the same files each time.
fn end_to_end(report: &mut Report, options: &Options) {
    let binaries = report.value("static build", Binaries::build);
    if !options.vm_only {
        let name = "end to end on this kernel";
        match (&binaries, run::is_root()) {
            (None, _) => report.skip(name, "the static build failed", Expected::Yes),
            (_, false) => report.skip(name, "it needs root", Expected::Yes),
            (Some(binaries), true) => {
                report.part(name, || on_this_kernel(binaries, &options.filter));
            }
        }
        if options.filter.is_empty() {
            demonstration(report, binaries.as_ref());
        }
    }
    if options.fast {
        println!("\nThe virtual machines are left out, as --fast says.");
        return;
    }
    let chosen = |series: &&str| options.kernel.as_deref().is_none_or(|kernel| kernel == *series);
    let series: Vec<&'static str> = kernels::SERIES.into_iter().filter(chosen).collect();
    machines::run(report, binaries.as_ref(), &series, &options.filter);
}

fn libtest(command: &mut Command) -> Result<Tally> {
    let mut tally = Tally::default();
    let status = stream(command, LIMIT, &mut |line| {
        println!("{line}");
        tally += Tally::of_libtest(line).unwrap_or_default();
        Ok(())
    })?;
    Ok(tally.held_against(status.success()))
}

/// The README's first command: what it claims is so.
fn demonstration(report: &mut Report, binaries: Option<&Binaries>) {
    const NAME: &str = "the demonstration";
    let Some(binaries) = binaries else {
        return report.skip(NAME, "the static build failed", Expected::Yes);
    };
    if !run::is_root() {
        return report.skip(NAME, "it needs root", Expected::Yes);
    }
    report.part(NAME, || {
        ensure!(demo::holds(|| Ok(binaries.observer.clone()))?, "a claim does not hold");
        Ok(Tally::PASSED)
    });
}

fn on_this_kernel(binaries: &Binaries, filter: &[String]) -> Result<Tally> {
    let mut command = Command::new(&binaries.e2e);
    command.arg("--observer").arg(&binaries.observer).arg("--agent").arg(&binaries.agent);
    command.args(filter).current_dir(place::workspace());
    // What was set up for the tests alone is not in it.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([setup::bun::directory()]);
    command.env("PATH", std::env::join_paths(dirs)?).envs(setup::clients::environment());
    let mut closing = None;
    let status: ExitStatus = stream(&mut command, LIMIT, &mut |line| {
        println!("{line}");
        closing = Tally::of_closing(line).or(closing);
        Ok(())
    })?;
    let tally = closing.with_context(|| format!("the tests ended without their sum ({status})"))?;
    Ok(tally.held_against(status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_and_filters_are_told_apart() {
        let options = parse("--vm-only --kernel 6.1 escape loss").unwrap();
        assert!(options.vm_only && !options.fast);
        assert_eq!(options.kernel.as_deref(), Some("6.1"));
        assert_eq!(options.filter, ["escape", "loss"]);
        assert_eq!(parse("").unwrap(), Options::default());
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for line in
            ["--kernel", "--kernel 5.4", "--slow", "--fast --vm-only", "--fast --kernel 6.1"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
