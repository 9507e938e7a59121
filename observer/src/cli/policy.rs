//! `observer policy`: whether a policy holds, before anything depends on it.
//!
//! The one place that reads the policy's file; what it means is `policy`'s to say.

mod explain;
mod records;
mod reload;
mod replay;
mod suggest;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use observer::kernel;
use observer::policy::{Attempt, Decision, MAX_TEXT, Policy, Problem, Summary};
use serde_json::{Value, json};

use super::answer;
use super::tail::show::escaped;

/// Exit code: the policy holds.
const HOLDS: u8 = 0;
/// Exit code: it does not.
const FAILS: u8 = 1;
/// Exit code: the file can't be read.
const UNREADABLE: u8 = 2;

/// Check policies, and ask what they mean.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  observer policy check policy.toml
  observer policy explain policy.toml exec git push --force
  observer policy suggest --run 01890a5d > policy.toml
  observer policy replay --policy policy.toml
  observer policy reload")]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a policy: exit 0 when it holds, 1 with every problem when it does not, 2 when the
    /// file can't be read
    Check(CheckArgs),
    /// Say why a call would be allowed or denied: the rule, the layer, the kernel's hook
    Explain(explain::ExplainArgs),
    /// Say what a policy would have done to what was recorded
    Replay(replay::ReplayArgs),
    /// Write the smallest allow-list that covers what was recorded
    Suggest(suggest::SuggestArgs),
    /// Have recorders read their policies again: as SIGHUP does
    Reload(reload::ReloadArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The policy's file
    file: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command. An error here is one of writing the answer, a broken pipe apart.
pub(crate) fn run(args: PolicyArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Check(args) => check(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Suggest(args) => suggest::run(&args),
        Command::Reload(args) => reload::run(&args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (code, report) = answer_for(&args.file);
    let out = if args.json { report.json(&args.file) } else { report.text(&args.file) };
    answer(&out).map(|()| code)
}

/// A policy that must hold for what is asked of it.
fn load(file: &Path) -> anyhow::Result<Policy> {
    let text = read(file).map_err(anyhow::Error::msg)?;
    Policy::parse(&text).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{} does not hold:\n{}", file.display(), list.join("\n"))
    })
}

/// What records would name as having decided.
fn rule_of(policy: &Policy, decision: Decision, attempt: &Attempt) -> String {
    match (decision.rule().and_then(|rule| policy.id(rule)), attempt) {
        (Some(id), _) => id.to_owned(),
        (None, Attempt::Socket(_)) if decision.denies() => "unheld-socket".to_owned(),
        (None, _) => "default".to_owned(),
    }
}

/// What is to be said about a file, and the exit code that says it too.
fn answer_for(file: &Path) -> (ExitCode, Report) {
    let (code, report) = match read(file) {
        Err(reason) => (UNREADABLE, Report::Unreadable(reason)),
        Ok(text) => match Policy::parse(&text) {
            Err(problems) => (FAILS, Report::Fails(problems)),
            Ok(policy) => {
                let mut warnings = policy.warnings();
                warnings.extend(unresolved(&policy));
                warnings.extend(unheld(&policy));
                warnings.sort_by_key(|found| (found.line, found.column));
                (HOLDS, Report::Holds { summary: policy.summary(), warnings })
            }
        },
    };
    (ExitCode::from(code), report)
}

/// The file's text, or why there is none.
fn read(file: &Path) -> Result<String, String> {
    let told = |error: io::Error| format!("can't read {}: {error}", file.display());
    let mut bytes = Vec::new();
    // One byte more than a policy may have, for files without an end.
    let limit = MAX_TEXT as u64 + 1;
    File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(told)?;
    if bytes.len() > MAX_TEXT {
        return Err(format!("{} has more than the {MAX_TEXT} bytes of a policy", file.display()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{} is not UTF-8 text, from byte {at} on", file.display())
    })
}

/// Warns of rules that this kernel has no hooks for: a run with them is refused here.
fn unheld(policy: &Policy) -> Vec<Problem> {
    let Some(why) = kernel::lsm_missing() else { return vec![] };
    let rules = policy.doors().map(|(rule, (line, column))| Problem {
        rule: Some(rule.to_owned()),
        line,
        column,
        message: "this kernel can't hold the rule, so no run begins with this policy here"
            .to_owned(),
        help: why.clone(),
    });
    rules.collect()
}

/// Warns of paths that lead elsewhere on this host: rules are held against resolved paths.
fn unresolved(policy: &Policy) -> Vec<Problem> {
    let paths = policy.paths().filter_map(|(rule, (line, column), path)| {
        let path = Path::new(std::str::from_utf8(path).ok()?);
        let real = fs::canonicalize(path).ok()?;
        (real != path).then(|| Problem {
            rule: Some(rule.to_owned()),
            line,
            column,
            message: format!("on this host {path:?} leads to {real:?}, so it never matches here"),
            help: format!("write {real:?}"),
        })
    });
    paths.collect()
}

/// What is to be said about a file.
enum Report {
    Unreadable(String),
    Fails(Vec<Problem>),
    Holds { summary: Summary, warnings: Vec<Problem> },
}

impl Report {
    fn text(&self, file: &Path) -> String {
        let block = |sort: &str, found: &[Problem]| {
            found.iter().map(|found| format!("{sort}: {found}\n")).collect::<String>()
        };
        let name = file.display();
        match self {
            Self::Unreadable(reason) => format!("error: {reason}\n"),
            Self::Fails(problems) => {
                let count = problems.len();
                let noun = if count == 1 { "problem" } else { "problems" };
                format!("{}{name}: {count} {noun}, not usable\n", block("error", problems))
            }
            Self::Holds { summary, warnings } => {
                format!("{}{name}: ok\n{summary}\n", block("warning", warnings))
            }
        }
    }

    fn json(&self, file: &Path) -> String {
        let list = |found: &[Problem]| found.iter().map(problem).collect::<Vec<Value>>();
        let file = file.to_string_lossy();
        let value = match self {
            Self::Unreadable(reason) => json!({ "file": file, "ok": false, "error": reason }),
            Self::Fails(problems) => {
                json!({ "file": file, "ok": false, "problems": list(problems) })
            }
            Self::Holds { summary, warnings } => json!({
                "file": file,
                "ok": true,
                "warnings": list(warnings),
                "policy": {
                    "sha256": summary.sha256,
                    "default": if summary.default_deny { "deny" } else { "allow" },
                    "enforce": summary.enforce,
                    "rules": {
                        "deny": summary.deny,
                        "would": summary.would,
                        "allow": summary.allow,
                        "net": summary.net,
                        "exec": summary.exec,
                        "unix": summary.unix,
                        "system": summary.system,
                    },
                    "tables": {
                        "prefixes": summary.prefixes,
                        "names": summary.names,
                        "ports": summary.ports,
                        "programs": summary.programs,
                        "args": summary.args,
                    },
                },
            }),
        };
        format!("{}\n", escaped(&value.to_string()))
    }
}

fn problem(found: &Problem) -> Value {
    json!({
        "rule": found.rule,
        "line": found.line,
        "column": found.column,
        "message": found.message,
        "help": found.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &[u8]) -> (ExitCode, Report) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        fs::write(&file, text).unwrap();
        answer_for(&file)
    }

    #[test]
    fn each_answer_has_its_exit_code() {
        for (text, code) in [
            (&b"version = 1\ndefault = \"deny\""[..], HOLDS),
            (b"version = 1", FAILS),
            (b"\xff", UNREADABLE),
        ] {
            let (found, _) = answer(text);
            assert_eq!(format!("{found:?}"), format!("{:?}", ExitCode::from(code)), "{text:?}");
        }
        let (found, _) = answer_for(Path::new("/nonexistent/policy.toml"));
        assert_eq!(format!("{found:?}"), format!("{:?}", ExitCode::from(UNREADABLE)));
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let (_, report) = answer_for(Path::new("/dev/zero"));
        assert!(matches!(report, Report::Unreadable(reason) if reason.contains("more than")));
    }

    #[test]
    fn a_path_through_a_link_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::write(real.join("tool"), "").unwrap();
        std::os::unix::fs::symlink(real.join("tool"), real.join("link")).unwrap();
        for (name, warned) in [("tool", 0), ("link", 1)] {
            let text = format!(
                "version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"a\"\nexec = {{ program = {:?} }}",
                real.join(name)
            );
            let (_, report) = answer(text.as_bytes());
            assert!(matches!(report, Report::Holds { warnings, .. } if warnings.len() == warned));
        }
    }

    #[test]
    fn json_counts_each_sort_of_rule() {
        let text = b"version = 1\ndefault = \"allow\"\n[[deny]]\nid = \"a\"\nsystem = \"bpf\"\n\
            [[deny]]\nid = \"b\"\nunix = { path = \"x.sock\" }";
        let value: Value = serde_json::from_str(&answer(text).1.json(Path::new("p"))).unwrap();
        let rules = &value["policy"]["rules"];
        assert_eq!((&rules["unix"], &rules["system"]), (&json!(1), &json!(1)), "{value}");
    }

    #[test]
    fn json_is_one_line_in_each_case() {
        for text in [&b"version = 1\ndefault = \"deny\""[..], b"", b"\xff"] {
            let out = answer(text).1.json(Path::new("p"));
            assert_eq!(out.matches('\n').count(), 1, "{out}");
            assert!(serde_json::from_str::<Value>(&out).unwrap()["ok"].is_boolean());
        }
    }
}
