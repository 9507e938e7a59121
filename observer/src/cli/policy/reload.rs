//! `observer policy reload`: recorders read their policies again.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use observer::daemon;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  observer policy check policy.toml && observer policy reload    all recorders of this host
  observer policy reload --run 01890a5d-ac96-774b-bcce-b302099a8057
  observer policy reload --pid 4711

Each recorder says and records what became of it: a policy that does not hold changes nothing. Exit 0 \
where one was asked, 1 where none runs with a policy.")]
pub(super) struct ReloadArgs {
    /// The recorder of this run alone
    #[arg(long, value_name = "ID", conflicts_with = "pid")]
    run: Option<String>,
    /// The recorder that is this process alone
    #[arg(long)]
    pid: Option<u32>,
}

pub(super) fn run(args: &ReloadArgs) -> Result<ExitCode> {
    let mut asked = 0;
    for (run, pid) in recorders()? {
        let wanted = args.run.as_ref().is_none_or(|wanted| *wanted == run)
            && args.pid.is_none_or(|wanted| wanted == pid);
        if wanted && ask(pid).with_context(|| format!("cannot ask process {pid} of run {run}"))? {
            println!("asked process {pid} of run {run}");
            asked += 1;
        }
    }
    if asked == 0 {
        eprintln!("observer: no recorder with a policy runs here that this means");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The runs that are recorded under a policy, and the processes that do it.
fn recorders() -> Result<Vec<(String, u32)>> {
    let dir = Path::new(daemon::RECORDERS);
    let mut found = vec![];
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        read => read.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        let run = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".pid"));
        let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        if let (Some(run), Some(pid)) = (run, pid) {
            found.push((run.to_owned(), pid));
        }
    }
    found.sort();
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
