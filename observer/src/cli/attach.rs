//! `observer attach`: what runs already.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use observer::daemon::{self, Target};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer attach --pid 4711
  observer attach --cgroup /sys/fs/cgroup/system.slice/agent.service --name agent

What runs there is covered from now on; the record says so. It ends when the cgroup is empty, or
with Ctrl-C.")]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    target: Which,
    /// The agent's name in the records
    #[arg(long, default_value = "attached")]
    name: String,
    #[command(flatten)]
    recording: super::Recording,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The directory of a cgroup
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// A process: the cgroup that it is in
    #[arg(long)]
    pid: Option<u32>,
}

pub(crate) fn run(args: AttachArgs) -> Result<ExitCode> {
    let target = match (args.target.cgroup, args.target.pid) {
        (Some(path), _) => Target::Path(path),
        (None, Some(pid)) => Target::Pid(pid),
        (None, None) => anyhow::bail!("name a --cgroup or a --pid"),
    };
    let outcome = daemon::attach(&args.recording.settings(args.name), target)?;
    Ok(super::code(outcome.code))
}
