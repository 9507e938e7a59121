//! The acting sample: what an agent may do, one subcommand each, in direct system calls.
//!
//! It knows nothing of observer. Exit status: 0 when the deed was done, the error number when the
//! kernel refused it, 77 when this kernel can't do it at all, 125 when it was called wrongly.

mod dodge;
mod doors;
mod evade;
mod keep;
mod many;
mod names;
mod net;
mod places;
mod programs;
mod say;
mod signals;
mod sys;
mod uring;

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

/// The exit status that says: this kernel can't do that.
pub const UNSUPPORTED: u8 = 77;
/// The exit status that says: called wrongly, or something else went wrong than the deed.
pub const MISUSED: u8 = 125;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match act(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("agent: {error:#}");
            let errno = error.root_cause().downcast_ref::<io::Error>();
            let errno = errno.and_then(io::Error::raw_os_error);
            ExitCode::from(errno.and_then(|n| u8::try_from(n).ok()).unwrap_or(MISUSED))
        }
    }
}

/// Does one thing. The status is what the process exits with.
fn act(args: &[OsString]) -> Result<u8> {
    let (deed, rest) = args.split_first().context("what to do?")?;
    let deed = deed.to_str().context("a deed is plain text")?;
    match deed {
        "true" => Ok(0),
        "exit" => number(rest, 0).map(|n: u8| n),
        "touch" => places::touch(at(rest, 0)?),
        "append" => places::append(at(rest, 0)?),
        "exec" => programs::exec(rest),
        "spawn" => programs::spawn(rest),
        "spawn-many" => many::spawn(number(rest, 0)?, at(rest, 1)?),
        "udp-many" => many::udp(number(rest, 0)?),
        "syscall-many" => many::syscall(number(rest, 0)?),
        "parallel" => many::parallel(number(rest, 0)?, tail(rest)?),
        "pinned" => many::pinned(number(rest, 0)?..number(rest, 1)?, rest.get(2..).unwrap_or(&[])),
        "exec-many" => programs::exec_many(number(rest, 0)?),
        "exec-fail" => programs::exec_fail(&text(rest, 0)?, at(rest, 1)?),
        "big-argv" => programs::big_argv(number(rest, 0)?),
        "memfd" => programs::memfd(rest),
        "exec-proc-fd" => programs::exec_proc_fd(rest),
        "long-argv" => programs::long_argv(rest),
        "execveat-empty" => programs::execveat_empty(rest),
        "thread-exec" => programs::thread_exec(rest),
        "count-signals" => signals::count(at(rest, 0)?),
        "kill-self" => programs::kill_self(number(rest, 0)?),
        "connect" => net::connect(&text(rest, 0)?, &flags(rest)),
        "connect-many" => net::connect_many(number(rest, 0)?, &text(rest, 1)?),
        "connect-paced" => net::connect_paced(number(rest, 0)?, number(rest, 1)?, &text(rest, 2)?),
        "thread-connect" => net::thread_connect(&text(rest, 0)?),
        "say" => say::say(&text(rest, 0)?, &text(rest, 1)?, &flags(rest)),
        "keep" => keep::keep(&text(rest, 0)?, &flags(rest)),
        "listen-echo" => net::listen_echo(),
        "udp" => net::udp(&text(rest, 0)?, number(rest, 1)?, &flags(rest)),
        "bind" => net::bind(&text(rest, 0)?),
        "listen" => net::listen(&text(rest, 0)?),
        "raw" => net::raw(),
        "unix-connect" => net::unix_connect(at(rest, 0)?),
        "dodge" => dodge::dodge(&text(rest, 0)?, &text(rest, 1)?),
        "race" => dodge::race(&text(rest, 0)?, tail(rest)?),
        "unix-send" => doors::unix_send(at(rest, 0)?),
        "unix-datagram-connect" => doors::unix_datagram_connect(at(rest, 0)?),
        "unix-relative" => doors::unix_relative(at(rest, 0)?),
        "socket" => doors::socket(number(rest, 0)?, number(rest, 1)?, number(rest, 2)?),
        "ptrace" => doors::ptrace(number(rest, 0)?),
        "vm-write" => doors::vm_write(number(rest, 0)?),
        "proc-mem" => doors::proc_mem(number(rest, 0)?),
        "pidfd-getfd" => doors::pidfd_getfd(number(rest, 0)?),
        "signal" => doors::signal(number(rest, 0)?, number(rest, 1)?),
        "descriptor-signal" => doors::descriptor_signal(number(rest, 0)?, number(rest, 1)?),
        "prlimit" => doors::prlimit(number(rest, 0)?),
        "setpriority" => doors::setpriority(number(rest, 0)?),
        "ioprio" => doors::ioprio(number(rest, 0)?),
        "affinity" => doors::affinity(number(rest, 0)?),
        "pidfd-signal" => doors::pidfd_signal(number(rest, 0)?, number(rest, 1)?),
        "bpf" => doors::bpf(),
        "mount" => doors::mount(at(rest, 0)?),
        "exec-mounted" => doors::exec_mounted(at(rest, 0)?, tail(rest)?),
        "fsmount" => doors::fsmount(),
        "unshare" => doors::unshare(number(rest, 0)?),
        "module" => doors::module(),
        "receive-socket" => doors::receive_socket(at(rest, 0)?, &text(rest, 1)?),
        "mptcp" => net::mptcp(&text(rest, 0)?),
        "fastopen" => net::fastopen(&text(rest, 0)?),
        "lookup" => names::lookup(&text(rest, 0)?, &text(rest, 1)?, &flags(rest)),
        "reach" => names::reach(&text(rest, 0)?, &text(rest, 1)?, number(rest, 2)?, &flags(rest)),
        "dns-send" => names::send_hex(&text(rest, 0)?, &text(rest, 1)?, &flags(rest)),
        "fake-resolver" => {
            names::fake(&text(rest, 0)?, &text(rest, 1)?, &text(rest, 2)?, &flags(rest))
        }
        "resolv-conf" => names::with_resolv_conf(at(rest, 0)?, tail(rest)?),
        "uring-connect" => uring::connect(&text(rest, 0)?),
        "born-elsewhere" => evade::born_elsewhere(at(rest, 0)?, tail(rest)?),
        "fail-then-leave" => evade::fail_then_leave(at(rest, 0)?, &text(rest, 1)?),
        "int80-exec" => evade::exec_by_int80(rest),
        "double-fork" => places::double_fork(rest),
        "setsid" => places::setsid(rest),
        "child-cgroup" => places::child_cgroup(at(rest, 0)?, tail(rest)?),
        "escape" => places::escape(at(rest, 0)?, tail(rest)?),
        "background" => places::background(at(rest, 0)?, tail(rest)?),
        "wait-file" => places::wait_file(at(rest, 0)?, tail(rest)?),
        "report" => places::report(at(rest, 0)?, tail(rest)?),
        "mount-over" => {
            places::mount_over(at(rest, 0)?, at(rest, 1)?, rest.get(2..).unwrap_or_default())
        }
        "chroot" => places::chroot(at(rest, 0)?, tail(rest)?),
        "chdir" => places::chdir(at(rest, 0)?, tail(rest)?),
        "all" => places::all(rest),
        other => bail!("no such deed: {other}"),
    }
}

fn at(args: &[OsString], i: usize) -> Result<&OsStr> {
    args.get(i).map(OsString::as_os_str).with_context(|| format!("argument {} is missing", i + 1))
}

/// What follows the first argument.
fn tail(args: &[OsString]) -> Result<&[OsString]> {
    args.get(1..).context("argument 1 is missing")
}

fn text(args: &[OsString], i: usize) -> Result<String> {
    Ok(at(args, i)?.to_str().context("an argument here is plain text")?.to_owned())
}

fn number<N: std::str::FromStr>(args: &[OsString], i: usize) -> Result<N> {
    let text = text(args, i)?;
    text.parse().ok().with_context(|| format!("{text}: not a number here"))
}

fn flags(args: &[OsString]) -> Vec<String> {
    let flags = args.iter().filter_map(|a| a.to_str());
    flags.filter(|a| a.starts_with("--")).map(str::to_owned).collect()
}
