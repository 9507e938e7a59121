//! `observer run`: a command as an observed agent.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use observer::daemon;
use observer::spawn::User;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer run -- ./agent.sh
  observer run --name coder --policy policy.toml -- claude -p 'fix the tests'
  observer run --user nobody --log /srv/audit/a.jsonl -- python3 agent.py

The command keeps its terminal, its signals and its exit code. It runs as the user who called
sudo, where somebody did. What it leaves running in the background stays observed: observer waits
for it.")]
pub(crate) struct RunArgs {
    /// The agent's name in the records [default: the command's]
    #[arg(long)]
    name: Option<String>,
    /// Who runs it: a name, a uid, or uid:gid
    #[arg(long)]
    user: Option<String>,
    /// End what the command leaves running when it has ended
    #[arg(long)]
    kill: bool,
    #[command(flatten)]
    recording: super::Recording,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: RunArgs) -> Result<ExitCode> {
    let own = args.command.first().map(Path::new).and_then(Path::file_name);
    let own = own.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let user = args.user.as_deref().map(User::parse).transpose()?;
    let settings = args.recording.settings(args.name.unwrap_or(own));
    let outcome = daemon::run(&settings, &args.command, user, args.kill)?;
    Ok(super::code(outcome.code))
}
