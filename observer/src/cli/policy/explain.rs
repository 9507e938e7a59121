//! `observer policy explain`: why a call would be allowed or denied.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use observer::model::Door;
use observer::policy::{Attempt, Decision, Judgement, Known, Policy, Program, host};
use serde_json::{Value, json};

use super::super::tail::show::{escaped, printable};
use super::replay::describe;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  observer policy explain policy.toml exec git push --force
  observer policy explain policy.toml connect 169.254.169.254:80
  observer policy explain policy.toml connect api.github.com:443
  observer policy explain policy.toml connect --name api.github.com 140.82.112.6:443
  observer policy explain policy.toml lookup api.github.com
  observer policy explain policy.toml socket icmp
  observer policy explain policy.toml unix /run/docker.sock
  observer policy explain policy.toml system ptrace

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
        command: Vec<OsString>,
    },
    /// A destination
    Connect {
        /// ADDRESS:PORT, or NAME:PORT for what the rules say of a name wherever it leads
        to: Destination,
        /// A datagram instead of a TCP connection
        #[arg(long)]
        udp: bool,
        /// A name that the address was the answer for; one for each that it has
        #[arg(long, value_parser = name)]
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
    /// A unix socket
    Unix {
        /// The path that its server bound, or @NAME for an abstract one
        name: OsString,
    },
    /// A system call that reaches past the run
    System {
        /// Which
        #[arg(value_parser = Door::ALL.map(Door::word))]
        op: String,
    },
}

/// Where a connect goes.
#[derive(Clone, Debug)]
enum Destination {
    Addr(SocketAddr),
    Host(String, u16),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse() {
            return Ok(Self::Addr(addr));
        }
        let told = || "write ADDRESS:PORT, [ADDRESS]:PORT for IPv6, or NAME:PORT".to_owned();
        let (name, port) = text.rsplit_once(':').ok_or_else(told)?;
        let port = port.parse().map_err(|_| told())?;
        if name.parse::<IpAddr>().is_ok() {
            return Err(told());
        }
        Ok(Self::Host(self::name(name)?, port))
    }
}

/// A name of a host, as rules are held against it.
fn name(text: &str) -> Result<String, String> {
    host::plain(text).map_err(|what| format!("{text:?} is no name of a host, {what}"))
}

pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let policy = super::load(&args.file)?;
    let attempt = args.call.attempt(&policy)?;
    let found = policy.judge(&attempt);
    let told = Told { policy: &policy, attempt: &attempt, found: &found };
    let out =
        if args.json { format!("{}\n", escaped(&told.json().to_string())) } else { told.text() };
    super::answer(&out)?;
    Ok(if found.denied { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Call {
    fn attempt(&self, policy: &Policy) -> Result<Attempt> {
        Ok(match self {
            Self::Exec { command } => {
                let Some(first) = command.first() else { bail!("no program is named") };
                let found = observer::spawn::resolve(first);
                let found = found.with_context(|| format!("there is no program {first:?} here"))?;
                let (path, script) = resolved(&found)?;
                let mut argv: Vec<Vec<u8>> =
                    command.iter().map(|arg| arg.as_bytes().to_vec()).collect();
                let interpreter = script.map(|script| {
                    // As binfmt_script (fs/binfmt_script.c) has it, argv[0] goes for these.
                    let words = script.words.into_iter();
                    drop(argv.splice(..1, words.chain([found.as_os_str().as_bytes().to_vec()])));
                    script.interpreter
                });
                let hash = |path: &[u8]| {
                    let file = fs::File::open(std::ffi::OsStr::from_bytes(path)).ok()?;
                    policy.reads_hashes().then(|| observer::hashes::sha256(&file).ok()).flatten()
                };
                Attempt::Exec(Program {
                    sha256: hash(&path),
                    interpreter_sha256: interpreter.as_deref().and_then(hash),
                    path,
                    invoked: found.into_os_string().into_vec(),
                    interpreter,
                    argv,
                })
            }
            Self::Connect { to, udp, name } => {
                let protocol = if *udp { 17 } else { 6 };
                match to {
                    Destination::Addr(to) => Attempt::Net {
                        addr: to.ip().to_canonical(),
                        protocol,
                        port: to.port(),
                        names: name.iter().map(Known::plain).collect(),
                    },
                    Destination::Host(..) if !name.is_empty() => {
                        bail!("--name goes with an address: connect --name NAME ADDRESS:PORT")
                    }
                    Destination::Host(name, port) => {
                        Attempt::Named { name: name.clone(), protocol, port: *port }
                    }
                }
            }
            // Whatever was asked for, name of a host or not.
            Self::Lookup { name } => {
                Attempt::Lookup(name.trim_end_matches('.').to_ascii_lowercase())
            }
            Self::Socket { protocol } => Attempt::Socket(protocol.clone()),
            Self::Unix { name } => match name.as_bytes().strip_prefix(b"@") {
                Some(name) => Attempt::UnixName(name.to_vec()),
                // Where it is there, by what it leads to; else as it is written.
                None => Attempt::UnixPath(
                    fs::canonicalize(name)
                        .map_or_else(|_| name.clone(), PathBuf::into_os_string)
                        .into_vec(),
                ),
            },
            Self::System { op } => {
                let door = Door::ALL.into_iter().find(|door| door.word() == op);
                Attempt::System(door.context("no such operation")?)
            }
        })
    }
}

/// What the first line of a script names.
struct Script {
    /// The interpreter's path, links followed.
    interpreter: Vec<u8>,
    /// The same as it is written, and the one argument that may follow.
    words: Vec<Vec<u8>>,
}

/// A program's path, links followed, and what it says of its interpreter where it is a script.
fn resolved(path: &Path) -> Result<(Vec<u8>, Option<Script>)> {
    let told = |path: &Path| format!("cannot follow {}", path.display());
    let real = fs::canonicalize(path).with_context(|| told(path))?;
    // BINPRM_BUF_SIZE (include/uapi/linux/binfmts.h): what the kernel reads of a first line.
    let mut head = vec![];
    let file = fs::File::open(&real).with_context(|| told(&real))?;
    file.take(256).read_to_end(&mut head).with_context(|| told(&real))?;
    let line = head.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next());
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let words: Vec<Vec<u8>> = line
        .map(|line| line.trim_ascii().splitn(2, blank).map(|word| word.trim_ascii().to_vec()))
        .map(|words| words.filter(|word| !word.is_empty()).collect())
        .unwrap_or_default();
    let script = words.first().map(|word| {
        let path = Path::new(std::ffi::OsStr::from_bytes(word));
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Script { interpreter: real.into_os_string().into_vec(), words: words.clone() }
    });
    Ok((real.into_os_string().into_vec(), script))
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
    fn hook(&self) -> String {
        let hook = match self.attempt {
            Attempt::Exec(program) => return self.exec_hook(program),
            Attempt::Net { protocol: 6, .. } | Attempt::Named { protocol: 6, .. } => {
                "cgroup/connect4 or connect6 (EPERM); a TLS hello's name by cgroup_skb"
            }
            Attempt::Net { .. } | Attempt::Named { .. } => {
                "cgroup/connect4,6 and sendmsg4,6 (EPERM)"
            }
            Attempt::Asked { .. } => "cgroup_skb, where the name leaves",
            Attempt::Lookup(_) => "cgroup_skb, where the question leaves",
            Attempt::Socket(_) => "cgroup/sock_create (EPERM)",
            Attempt::UnixPath(_) | Attempt::UnixName(_) => {
                "lsm/unix_stream_connect and unix_may_send (EPERM)"
            }
            Attempt::System(_) => "an LSM hook (EPERM)",
        };
        hook.to_owned()
    }

    fn exec_hook(&self, program: &Program) -> String {
        let hashed = if self.policy.reads_hashes() {
            "fanotify (FAN_OPEN_EXEC_PERM) has the file hashed, then "
        } else {
            ""
        };
        let by = match (program.runs_loader(), self.policy.reads_arguments()) {
            (false, false) => {
                "lsm/bprm_check_security (EPERM); without BPF LSM sched_process_exec (SIGKILL)"
            }
            (false, true) => {
                "lsm/bprm_check_security by the file (EPERM), then sched_process_exec by the \
                 arguments (SIGKILL); without BPF LSM sched_process_exec alone"
            }
            (true, _) => {
                "lsm/bprm_check_security by the loader's file (EPERM), then sched_process_exec by the \
                 programs among its arguments (SIGKILL); without BPF LSM sched_process_exec alone"
            }
        };
        format!("{hashed}{by}")
    }

    /// What else there is to know.
    fn note(&self) -> Option<&'static str> {
        match self.attempt {
            Attempt::Exec(program) if program.runs_loader() => Some(
                "a dynamic loader runs what it is given, and no exec tells of that: any argument can \
                 have it denied, the first alone can have it allowed, and none has a hash",
            ),
            Attempt::Named { .. } if self.policy.reads_addresses() => Some(
                "rules on addresses were not asked, and one that denies stands over this: \
                 `connect --name NAME ADDRESS:PORT` asks them too",
            ),
            _ => None,
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
        if let Some(note) = self.note() {
            let _ = writeln!(out, "  note: {note}");
        }
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
            "note": self.note(),
            "matching": matching,
        })
    }
}
