//! `observer policy reload`: recorders read their policies again.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use observer::daemon;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cli::tail::show::printable;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  observer policy check policy.toml && observer policy reload    all recorders of this host
  observer policy reload --run 01890a5d-ac96-774b-bcce-b302099a8057
  observer policy reload --pid 4711

Each recorder says and records what became of it: a policy that does not hold changes nothing. Exit 0 \
where each was asked, 1 where none runs with a policy, 2 where one could not be asked; the others are.")]
pub(super) struct ReloadArgs {
    /// The recorder of this run alone
    #[arg(long, value_name = "ID", conflicts_with = "pid")]
    run: Option<String>,
    /// The recorder that is this process alone
    #[arg(long)]
    pid: Option<u32>,
}

pub(super) fn run(args: &ReloadArgs) -> Result<ExitCode> {
    let said = ask_all(args, recorders(Path::new(daemon::RECORDERS))?, ask);
    for failure in &said.failures {
        eprintln!("observer: {failure}");
    }
    super::answer(&said.asked)?;
    if !said.failures.is_empty() {
        bail!("not every recorder could be asked; what is said above is left as it was");
    }
    if said.asked.is_empty() {
        eprintln!("observer: no recorder with a policy runs here that this means");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A run that is recorded under a policy, and the process that does it, or why that is not known.
type Recorder = (String, Result<u32>);

/// What came of asking.
#[derive(Debug, Default)]
struct Said {
    /// A line for each that was asked.
    asked: String,
    /// Each that could not be.
    failures: Vec<String>,
}

/// Asks each that is meant: one that can't be asked keeps no other from it.
fn ask_all(args: &ReloadArgs, recorders: Vec<Recorder>, ask: impl Fn(u32) -> Result<bool>) -> Said {
    let mut said = Said::default();
    for (run, pid) in recorders {
        let run = printable(&run);
        let wanted = args.run.as_ref().is_none_or(|wanted| *wanted == run)
            && pid.as_ref().map_or(true, |pid| args.pid.is_none_or(|wanted| wanted == *pid));
        if !wanted {
            continue;
        }
        let asked = pid.and_then(|pid| {
            let asked = ask(pid).with_context(|| format!("cannot ask process {pid}"))?;
            Ok(asked.then_some(pid))
        });
        match asked {
            Ok(Some(pid)) => {
                let _ = writeln!(said.asked, "asked process {pid} of run {run}");
            }
            Ok(None) => {}
            Err(error) => said.failures.push(format!("run {run}: {error:#}")),
        }
    }
    said
}

/// The runs that are recorded under a policy, and the processes that do it.
fn recorders(dir: &Path) -> Result<Vec<Recorder>> {
    let mut found = vec![];
    let told = || format!("cannot read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        read => read.with_context(told)?,
    };
    for entry in entries {
        let path = entry.with_context(told)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(run) = name.and_then(|name| name.strip_suffix(".pid")) else { continue };
        let pid = match fs::read_to_string(&path) {
            // Its run has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => Err(error.into()),
            Ok(text) => text.trim().parse().context("it names no process"),
        };
        let pid = pid.with_context(|| format!("cannot read {}", path.display()));
        found.push((run.to_owned(), pid));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Asks one. False where it is gone, and its file was left behind.
fn ask(pid: u32) -> Result<bool> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(number) = number else { bail!("{pid} is no process id") };
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        opened => opened?,
    };
    // Held by the descriptor: what is looked at now is what is asked, whoever has its id later.
    let own = fs::read_link("/proc/self/exe")?;
    let same = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own)
        || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "observer\n");
    if same {
        pidfd_send_signal(&process, Signal::HUP)?;
    }
    Ok(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_be_asked_keeps_no_other_from_it() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("a.pid", "no number"), ("b.pid", "11\n"), ("c.pid", "12\n"), ("d", "13")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::create_dir(dir.path().join("e.pid")).unwrap();
        let args = ReloadArgs { run: None, pid: None };
        let said = ask_all(&args, recorders(dir.path()).unwrap(), |pid| match pid {
            11 => bail!("not permitted"),
            _ => Ok(true),
        });
        assert_eq!(said.asked, "asked process 12 of run c\n");
        assert_eq!(said.failures.len(), 3, "{said:?}");
        assert!(said.failures[1].contains("process 11: not permitted"), "{said:?}");
    }

    #[test]
    fn where_nobody_records_nobody_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(recorders(&dir.path().join("none")).unwrap().is_empty());
    }
}
