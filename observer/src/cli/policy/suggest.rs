//! `observer policy suggest`: the allow-list that covers what was recorded.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use observer::policy::{Answers, Attempt, Policy, Recorded, Suggestion, host, recorded};
use serde_json::Value;

use super::records::Source;
use crate::cli::tail::show::printable;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  observer policy suggest --run 01890a5d > policy.toml
  observer policy check policy.toml && observer policy replay --policy policy.toml

It covers what went on, whatever came of it, and not what was denied. Where three or more hosts below one name \
were reached, `*.name` stands for them, unless others may have names there too (github.io, amazonaws.com). \
Read it before you use it: it allows what the agent did, be that right or not. What was masked stands in no rule.")]
pub(super) struct SuggestArgs {
    #[command(flatten)]
    source: Source,
    /// Name each host, also where several share a suffix
    #[arg(long)]
    exact: bool,
}

pub(super) fn run(args: &SuggestArgs) -> Result<ExitCode> {
    let mut suggestion = Suggestion::default();
    if args.exact {
        suggestion.name_each();
    }
    let mut answers = Answers::default();
    let seen = args.source.each(|record| {
        answers.take(record);
        match recorded(record) {
            Some(Recorded::Attempt { mut attempt, .. }) => {
                answers.complete(record["run"].as_str().unwrap_or_default(), &mut attempt);
                if record["verdict"] == "denied" {
                    suggestion.refuse(&attempt);
                } else {
                    suggestion.add(&attempt, resolved);
                }
            }
            Some(Recorded::Unjudged(_)) if record["verdict"] == "denied" => {
                stopped_for(record).into_iter().for_each(|it| suggestion.refuse(&it));
            }
            Some(Recorded::Unjudged(kind)) if is_ruled(&kind, record) => {
                let unix = record["net"]["protocol"] == "unix";
                let what = if unix { " to a unix socket" } else { "" };
                suggestion.skip(&format!("{kind}{what}"), "what it was about can't be read");
            }
            _ => {}
        }
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
    let mut head = format!(
        "# Suggested by observer from {} ({} records): what went on there, and nothing else.\n",
        printable(&args.source.path().display().to_string()),
        seen.records
    );
    if seen.broken > 0 {
        let _ = writeln!(
            head,
            "# not covered: {} lines that are no records; `observer verify` says more",
            seen.broken
        );
    }
    super::answer(&(head + &text))?;
    Ok(ExitCode::SUCCESS)
}

/// The name that a connection was stopped for: its hello's, or its request's.
fn stopped_for(record: &Value) -> Option<Attempt> {
    let url = record["http"]["url"].as_str().and_then(|url| url.split_once("://"));
    let host = url.and_then(|(_, rest)| rest.split(['/', ':', '?']).next());
    let name = record["tls"]["sni"].as_str().or(host)?;
    host::plain(name).ok().map(Attempt::Lookup)
}

/// Whether rules are held against such calls, although this one can't be judged.
fn is_ruled(kind: &str, record: &Value) -> bool {
    match kind {
        "connect" | "socket" | "system" => true,
        "dns" => record["dns"]["op"] != "answer",
        _ => false,
    }
}

/// Whether this host resolves a path to itself.
fn resolved(path: &[u8]) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    fs::canonicalize(path).is_ok_and(|real| real == path)
}
