//! `observer policy suggest`: the allow-list that covers what was recorded.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use observer::policy::{Policy, Recorded, Suggestion, recorded};

use super::records::Source;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  observer policy suggest --run 01890a5d > policy.toml
  observer policy check policy.toml && observer policy replay --policy policy.toml

It covers what went on, whatever came of it, and not what was denied. Read it before you use it: it allows \
what the agent did, be that right or not. What was masked stands in no rule.")]
pub(super) struct SuggestArgs {
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(args: &SuggestArgs) -> Result<ExitCode> {
    let mut suggestion = Suggestion::default();
    let seen = args.source.each(|record| match recorded(record) {
        Some(Recorded::Attempt { attempt, .. }) if record["verdict"] != "denied" => {
            suggestion.add(&attempt, resolved);
        }
        Some(Recorded::Unjudged(kind)) if record["net"]["protocol"] == "unix" => {
            suggestion.skip(&format!("{kind} to a unix socket"), "no rule here names it");
        }
        _ => {}
    })?;
    if suggestion.is_empty() {
        bail!(
            "{} holds nothing to allow ({} records): name a run that did something",
            args.source.path().display(),
            seen.records
        );
    }
    let text = suggestion.text();
    // What this says of itself is checked like anybody's.
    if let Err(problems) = Policy::parse(&text) {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bail!("what was recorded needs more than a policy can hold:\n{}", list.join("\n"));
    }
    let head = format!(
        "# Suggested by observer from {} ({} records): what went on there, and nothing else.\n",
        super::super::tail::show::printable(&args.source.path().display().to_string()),
        seen.records
    );
    super::say(&(head + &text))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether this host resolves a path to itself.
fn resolved(path: &[u8]) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    fs::canonicalize(path).is_ok_and(|real| real == path)
}
