//! `observer policy explain`: why a call would be allowed or denied.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use observer::policy::{Attempt, Decision, Judgement, Policy, Program};
use serde_json::{Value, json};

use super::super::tail::show::{escaped, printable};
use super::replay::describe;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  observer policy explain policy.toml exec git push --force
  observer policy explain policy.toml connect 169.254.169.254:80
  observer policy explain policy.toml connect --name api.github.com 140.82.112.6:443
  observer policy explain policy.toml lookup api.github.com
  observer policy explain policy.toml socket icmp

Programs are looked for as a shell does, and links followed, on this host. Exit 0: it goes on; 1: it is \
denied; 2: the policy can't be read or the call not understood.")]
pub(super) struct ExplainArgs {
    /// The policy's file
    file: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, Subcommand)]
enum Call {
    /// A program and its arguments
    Exec {
        /// The program, a name or a path, and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// A destination
    Connect {
        /// ADDRESS:PORT
        to: SocketAddr,
        /// A datagram instead of a TCP connection
        #[arg(long)]
        udp: bool,
        /// A name that the address was the answer for
        #[arg(long)]
        name: Vec<String>,
    },
    /// A question for a name
    Lookup {
        /// The name
        name: String,
    },
    /// A socket that destination rules can't hold: raw, icmp, sctp …
    Socket {
        /// Its protocol, in a word
        #[arg(default_value = "raw")]
        protocol: String,
    },
}

pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let policy = super::load(&args.file)?;
    let attempt = args.call.attempt()?;
    let found = policy.judge(&attempt);
    let told = Told { policy: &policy, attempt: &attempt, found: &found };
    let out =
        if args.json { format!("{}\n", escaped(&told.json().to_string())) } else { told.text() };
    super::answer(&out)?;
    Ok(if found.denied { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Call {
    fn attempt(&self) -> Result<Attempt> {
        let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        Ok(match self {
            Self::Exec { command } => {
                let Some(first) = command.first() else { bail!("no program is named") };
                let found = observer::spawn::resolve(first);
                let found = found.with_context(|| format!("there is no program {first:?} here"))?;
                let (path, interpreter) = resolved(&found)?;
                let argv = command.iter().map(|arg| arg.as_bytes().to_vec()).collect();
                Attempt::Exec(Program {
                    path,
                    invoked: found.into_os_string().into_vec(),
                    interpreter,
                    argv,
                })
            }
            Self::Connect { to, udp, name } => Attempt::Net {
                addr: IpAddr::to_canonical(&to.ip()),
                protocol: if *udp { 17 } else { 6 },
                port: to.port(),
                names: name.iter().map(|name| plain(name)).collect(),
            },
            Self::Lookup { name } => Attempt::Lookup(plain(name)),
            Self::Socket { protocol } => Attempt::Socket(protocol.clone()),
        })
    }
}

/// A program's path, links followed, and its interpreter's where it is a script.
fn resolved(path: &Path) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let told = |path: &Path| format!("cannot follow {}", path.display());
    let real = fs::canonicalize(path).with_context(|| told(path))?;
    // BINPRM_BUF_SIZE (include/uapi/linux/binfmts.h): what the kernel reads of a first line.
    let mut head = vec![];
    let file = fs::File::open(&real).with_context(|| told(&real))?;
    file.take(256).read_to_end(&mut head).with_context(|| told(&real))?;
    let line = head.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next());
    let word = line.and_then(|line| line.trim_ascii().split(|b| *b == b' ' || *b == b'\t').next());
    let interpreter = word.filter(|word| !word.is_empty()).map(|word| {
        let path = Path::new(std::ffi::OsStr::from_bytes(word));
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string().into_vec()
    });
    Ok((real.into_os_string().into_vec(), interpreter))
}

struct Told<'a> {
    policy: &'a Policy,
    attempt: &'a Attempt,
    found: &'a Judgement,
}

impl Told<'_> {
    fn verdict(&self) -> &'static str {
        match (self.found.denied, self.found.would) {
            (true, _) => "denied",
            (false, true) => "would_deny",
            (false, false) => "allowed",
        }
    }

    /// What decided: a rule, the default, or that nothing could hold such a socket.
    fn layer(&self) -> &'static str {
        match (self.found.decision, self.attempt) {
            (Decision::Deny(_), _) => "a rule that denies",
            (Decision::Would { .. }, _) => "a rule that denies and is not enforced",
            (Decision::Allow(_), _) => "a rule that allows, and none that denies",
            (Decision::DefaultDeny, Attempt::Socket(_)) => {
                "no rule allows a socket that destination rules can't hold"
            }
            (Decision::DefaultDeny | Decision::DefaultAllow, _) => "the default: no rule matches",
        }
    }

    /// Where the kernel decides it.
    fn hook(&self) -> &'static str {
        match self.attempt {
            Attempt::Exec(_) if self.policy.reads_arguments() => {
                "lsm/bprm_check_security by the file (EPERM), then sched_process_exec by the \
                 arguments (SIGKILL); without BPF LSM sched_process_exec alone"
            }
            Attempt::Exec(_) => {
                "lsm/bprm_check_security (EPERM); without BPF LSM sched_process_exec (SIGKILL)"
            }
            Attempt::Net { protocol: 6, .. } => "cgroup/connect4 or connect6 (EPERM)",
            Attempt::Net { .. } => "cgroup/connect4,6 and sendmsg4,6 (EPERM)",
            Attempt::Lookup(_) => "cgroup_skb, where the question leaves",
            Attempt::Socket(_) => "cgroup/sock_create (EPERM)",
            Attempt::UnixPath(_) | Attempt::UnixName(_) => {
                "lsm/unix_stream_connect and unix_may_send (EPERM)"
            }
            Attempt::System(_) => "an LSM hook (EPERM)",
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let what = printable(&describe(self.attempt));
        let rule = super::rule_of(self.policy, self.found.decision, self.attempt);
        let _ = writeln!(out, "{}: {what}\n  by: {rule} ({})", self.verdict(), self.layer());
        if let Attempt::Exec(Program { interpreter: Some(interpreter), .. }) = self.attempt {
            let interpreter = printable(&String::from_utf8_lossy(interpreter));
            let _ = writeln!(out, "  its interpreter: {interpreter} (can have it denied)");
        }
        for index in &self.found.matching {
            let (Some(id), Some((line, why, class))) =
                (self.policy.id(*index), self.policy.rule(*index))
            else {
                continue;
            };
            let why = why.map(|why| format!(": {}", printable(why))).unwrap_or_default();
            let _ = writeln!(out, "  matches: {id} at line {line} ({class}){why}");
        }
        let _ = writeln!(out, "  where: {}", self.hook());
        out
    }

    fn json(&self) -> Value {
        let matching: Vec<Value> = self
            .found
            .matching
            .iter()
            .filter_map(|index| {
                let (line, why, class) = self.policy.rule(*index)?;
                let id = self.policy.id(*index)?;
                Some(json!({ "rule": id, "line": line, "why": why, "does": class }))
            })
            .collect();
        json!({
            "call": describe(self.attempt),
            "verdict": self.verdict(),
            "rule": super::rule_of(self.policy, self.found.decision, self.attempt),
            "layer": self.layer(),
            "hook": self.hook(),
            "matching": matching,
        })
    }
}
