//! The end-to-end tests on stock kernels: a virtual machine each, all at once, since an emulated
//! processor keeps one real one busy at the most. Some cases of each kind are tried there; a filter
//! chooses among all of them.

use std::thread;

use anyhow::{Context as _, Result, bail};
use xtask::place;

use super::LIMIT;
use super::binaries::Binaries;
use super::report::{Expected, Report};
use super::tally::Tally;
use crate::setup::kernels;
use crate::vm::Machine;

/// What the cases ask of the host's own programs, with the libraries that those are linked with.
const PROGRAMS: [&str; 1] = ["openssl"];

/// Runs them, and reports each kernel as a part. Their lines come as they are written, each with
/// its kernel.
pub(super) fn run(
    report: &mut Report,
    binaries: Option<&Binaries>,
    series: &[&'static str],
    filter: &[String],
) {
    let name = |series: &str| format!("end to end on kernel {series}");
    let Some(binaries) = binaries else {
        for series in series {
            report.skip(&name(series), "the static build failed", Expected::Yes);
        }
        return;
    };
    thread::scope(|scope| {
        let machines: Vec<_> = series
            .iter()
            .map(|&series| {
                let boots = missing(series).is_none();
                let run = move || in_a_machine(binaries, series, filter);
                (series, boots.then(|| scope.spawn(run)))
            })
            .collect();
        for (series, machine) in machines {
            match machine {
                Some(machine) => report.part(&name(series), || match machine.join() {
                    Ok(tally) => tally,
                    Err(_) => bail!("the thread that watched the machine panicked"),
                }),
                None => {
                    let why = missing(series).unwrap_or("it was missing a moment ago");
                    report.skip(&name(series), why, Expected::Yes);
                }
            }
        }
    });
}

/// What a machine lacks to be booted.
fn missing(series: &str) -> Option<&'static str> {
    if place::program("qemu-system-x86_64").is_none() {
        Some("no qemu-system-x86_64: `cargo xtask setup test`")
    } else if kernels::find(series).is_none() {
        Some("the kernel is missing: `cargo xtask setup kernels`")
    } else {
        None
    }
}

fn in_a_machine(binaries: &Binaries, series: &str, filter: &[String]) -> Result<Tally> {
    let environment = std::env::var("CI").map(|ci| vec![("CI", ci)]).unwrap_or_default();
    // An emulated processor: great numbers are smaller there.
    let e2e = ["/bin/e2e", "--observer", "/bin/observer", "--agent", "/bin/agent", "--quick"];
    let mut command = e2e.map(str::to_owned).to_vec();
    if filter.is_empty() {
        command.push("--kernel".to_owned());
    }
    command.extend_from_slice(filter);
    // Where the host lacks one, its cases say so there.
    let programs = PROGRAMS.iter().filter_map(|name| place::program(name));
    let files = binaries.all().into_iter().cloned().chain(programs).map(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let there = format!("/bin/{name}");
        (file, there)
    });
    let machine = Machine { series, files: files.collect(), environment, command, limit: LIMIT };
    let mut closing = None;
    let ended = machine.boot(&mut |line| {
        println!("[{series}] {line}");
        closing = Tally::of_closing(line).or(closing);
        Ok(())
    })?;
    println!("[{series}] power-on to power-off: {:.1} s", ended.took.as_secs_f32());
    let tally = closing
        .with_context(|| format!("the tests ended without their sum (status {})", ended.exit))?;
    Ok(tally.held_against(ended.exit == 0))
}
