//! `observer doctor`: what this host can do, what stands in for what it can't, and what that
//! costs.

use std::cmp::Reverse;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use observer::abort;
use observer::cgroup::Mount;
use observer::exec_hold::{Answer, ExecHold, Health};
use observer::kernel::{self, ExecDenial, ExecExit, Kernel, Options, ProgramCost, RunCost, Ties};
use serde_json::json;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  observer doctor
  observer doctor --costs 10      What the runs on this host cost their agents, watched for ten seconds
  observer doctor --json

Exit 0: observer can run here. 1: it can't, and what to do stands there.")]
pub(crate) struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Each program as well, with what the kernel's verifier had to look at
    #[arg(long)]
    programs: bool,
    /// What each program of the runs on this host costs, watched for so long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    costs: Option<u64>,
}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    state: State,
    why: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Fallback,
    Uncovered,
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Fallback => "fallback",
            Self::Uncovered => "uncovered",
            Self::Bad => "missing",
        }
    }
}

pub(crate) fn run(args: DoctorArgs) -> Result<ExitCode> {
    // Before doctor loads programs of its own.
    let costs = args.costs.map(|seconds| (seconds, watch(seconds)));
    let (findings, programs) = look();
    let programs = if args.programs { programs } else { vec![] };
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    let mut out = io::stdout().lock();
    if args.json {
        let list: Vec<_> = findings
            .iter()
            .map(|f| json!({ "what": f.what, "state": f.state.word(), "why": f.why }))
            .collect();
        let mut found = json!({ "findings": list, "can_run": !bad });
        if args.programs {
            let list = programs.iter().map(|p| json!({ "name": p.name, "verified": p.verified }));
            found["programs"] = list.collect();
        }
        if let Some((seconds, costs)) = costs {
            let list = costs?;
            let list = list.iter().map(|cost| {
                json!({
                    "name": cost.name,
                    "copies": cost.copies,
                    "runs": cost.runs,
                    "ns": u64::try_from(cost.time.as_nanos()).unwrap_or(u64::MAX),
                })
            });
            found["costs"] = json!({ "seconds": seconds, "programs": list.collect::<Vec<_>>() });
        }
        writeln!(out, "{found}")?;
    } else {
        for finding in &findings {
            writeln!(out, "{:<9}  {:<22} {}", finding.state.word(), finding.what, finding.why)?;
        }
        for program in &programs {
            let (name, verified) = (&program.name, program.verified);
            writeln!(out, "program    {name:<22} {verified} instructions verified")?;
        }
        if let Some((seconds, costs)) = costs {
            write_costs(&mut out, seconds, &costs?)?;
        }
        let sum = if bad { "observer can't run here yet." } else { "observer can run here." };
        writeln!(out, "\n{sum}")?;
    }
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Watches what the programs of all runs cost.
fn watch(seconds: u64) -> Result<Vec<RunCost>> {
    if io::stderr().is_terminal() {
        eprintln!("observer: watching for {seconds} s");
    }
    Ok(kernel::run_costs(|| thread::sleep(Duration::from_secs(seconds)))?)
}

/// Writes those that ran, the dearest first.
fn write_costs(out: &mut impl Write, seconds: u64, costs: &[RunCost]) -> io::Result<()> {
    let copies = costs.iter().map(|cost| cost.copies).max().unwrap_or(0);
    if copies == 0 {
        return writeln!(out, "cost       no run is observed on this host");
    }
    let mut costs: Vec<_> = costs.iter().filter(|cost| cost.runs > 0).collect();
    costs.sort_by_key(|cost| Reverse(cost.time));
    if costs.is_empty() {
        return writeln!(out, "cost       nothing ran into a program in {seconds} s");
    }
    for cost in costs {
        let each = cost.time.as_nanos() / u128::from(cost.runs);
        let share = cost.time.as_secs_f64() / seconds as f64 * 100.0;
        let (name, runs) = (&cost.name, cost.runs);
        writeln!(
            out,
            "cost       {name:<22} {each:>6} ns each, {runs:>9} times in {seconds} s: {share:.2} % of a processor"
        )?;
    }
    Ok(())
}

/// What was found, and the programs that loaded.
fn look() -> (Vec<Finding>, Vec<ProgramCost>) {
    let mut out = vec![];
    let mut say = |what, state, why: String| out.push(Finding { what, state, why });
    let uname = rustix::system::uname();
    say("kernel", State::Good, uname.release().to_string_lossy().into_owned());
    let root = rustix::process::geteuid().is_root();
    match root {
        true => say("root", State::Good, "uid 0".into()),
        false => {
            say("root", State::Bad, "run it with sudo: programs are attached to the kernel".into())
        }
    }
    match Mount::find() {
        Ok(mount) => say("cgroup v2", State::Good, mount.path().display().to_string()),
        Err(error) => say("cgroup v2", State::Bad, error.to_string()),
    }
    if !root {
        return (out, vec![]);
    }
    let kernel = match Kernel::load(&Options {
        tables: None,
        agent: None,
        resolvers: &[],
        networks: &[],
        ring: kernel::RING,
        no_trampolines: false,
    }) {
        Ok(kernel) => kernel,
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            let first = error.lines().next().unwrap_or_default().to_owned();
            say("programs", State::Bad, first);
            return (out, vec![]);
        }
    };
    say("BTF", State::Good, "/sys/kernel/btf/vmlinux".into());
    say("exec", State::Good, "tp_btf/sched_process_exec".into());
    say(
        "connect, send, bind",
        State::Good,
        "cgroup/connect, sendmsg, bind, for IPv4 and IPv6".into(),
    );
    say("connect results", State::Good, "tp_btf/inet_sock_set_state".into());
    let found = kernel.capabilities();
    let reason = |why: &Option<String>| why.clone().unwrap_or_default();
    match found.exec_denial {
        ExecDenial::Lsm => say("exec denial", State::Good, "lsm/bprm_check_security: EPERM".into()),
        ExecDenial::Kill => say(
            "exec denial",
            State::Fallback,
            format!(
                "SIGKILL before the first instruction; a script's path is judged as it was written, and \
             a script that bears the name of a denied path is denied (no LSM: {})",
                reason(&found.no_lsm)
            ),
        ),
    }
    let place = [std::path::PathBuf::from("/")];
    match ExecHold::start(&place, &[], Health::default(), |_: &std::fs::File, _: u32| Answer::Allow)
    {
        Ok(_) => say(
            "programs by hash",
            State::Good,
            "fanotify, FAN_OPEN_EXEC_PERM: each is hashed before it runs, under a lease".into(),
        ),
        Err(error) => {
            let why = format!("a policy with `sha256` is refused: no exec can be held: {error}");
            say("programs by hash", State::Uncovered, why);
        }
    }
    if found.exec_denial == ExecDenial::Kill {
        let why =
            "no LSM hook: under rules by `sha256` a script counts as a program without a hash";
        say("scripts by hash", State::Uncovered, why.into());
    }
    match found.exec_exit {
        ExecExit::Fexit => say("exec failures", State::Good, "fexit on execve and execveat".into()),
        ExecExit::Tracepoint => say(
            "exec failures",
            State::Fallback,
            format!(
                "syscall tracepoints, while a run lasts: each syscall of the host costs some 60 ns more \
             (no fexit: {})",
                reason(&found.no_fexit)
            ),
        ),
    }
    say(
        "32-bit exec failures",
        State::Uncovered,
        "the ends of 32-bit system calls are not watched; what runs and what is denied is recorded"
            .into(),
    );
    if !found.uring_results {
        say(
            "io_uring results",
            State::Uncovered,
            "a connect through io_uring is held and recorded; one that fails at once has no result"
                .into(),
        );
    }
    match &found.ties {
        Ties::Tracepoints => say(
            "tls plaintext",
            State::Good,
            "uprobes; its socket by tp_btf/sock_send_length and sock_recv_length".into(),
        ),
        Ties::Fexit => say(
            "tls plaintext",
            State::Good,
            "uprobes; its socket by fexit on inet_sendmsg and inet_recvmsg".into(),
        ),
        Ties::None(why) => say(
            "tls plaintext",
            State::Fallback,
            format!("uprobes; not tied to its socket ({why})"),
        ),
    }
    if found.doors.hold_unix() {
        let how = "lsm/unix_stream_connect and unix_may_send, by what the server bound";
        say("unix sockets", State::Good, how.into());
    }
    let held = found.doors.held_words();
    if !held.is_empty() {
        say("system", State::Good, format!("by LSM hooks: {held}"));
    }
    for (what, why) in found.doors.gaps() {
        say(what, State::Uncovered, why);
    }
    say(
        "tcp payload",
        State::Good,
        "cgroup_skb, egress and ingress: HTTP, and TLS handshakes".into(),
    );
    match abort::try_one() {
        Ok(()) => say(
            "stopped connections",
            State::Good,
            "SOCK_DESTROY: one that was stopped for a name is ended at once".into(),
        ),
        Err(error) => {
            let why = format!(
                "what was dropped of a connection for its name can be sent again once the run has \
                 ended: {error}"
            );
            say("stopped connections", State::Uncovered, why);
        }
    }
    match abort::try_datagrams() {
        Ok(()) => {
            let ended = "SOCK_DESTROY: one that a new policy denies is ended";
            say("open datagram sockets", State::Good, ended.into());
        }
        Err(error) => {
            let why =
                format!("one that is connected goes on where a new policy denies it: {error}");
            say("open datagram sockets", State::Uncovered, why);
        }
    }
    let where_read = "cgroup_skb/egress and ingress: port 53, over UDP and TCP";
    say("dns", State::Good, where_read.into());
    let unread = "DNS over TLS, HTTPS or QUIC, and at other ports, is not read";
    say("encrypted dns", State::Uncovered, unread.into());
    say("mcp", State::Uncovered, "this version does not read it".into());
    for guard in kernel::guards() {
        say(
            "guard",
            State::Fallback,
            format!(
                "run {}: its rules are in force without a recorder ({})",
                guard.run,
                guard.path.display()
            ),
        );
    }
    let programs = kernel.programs();
    (out, programs)
}
