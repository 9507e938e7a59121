//! What the running kernel can do for us: which first choices load, and what stands in for those
//! that don't.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use aya::programs::ProgramFd;

use super::doors::Doors;
use super::uprobes::Ties;

/// How an exec is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecDenial {
    /// `lsm/bprm_check_security`: the call fails with EPERM.
    Lsm,
    /// SIGKILL from `sched_process_exec`: the new program runs no instruction.
    Kill,
}

/// How an exec that fails is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecExit {
    /// `fexit` on the syscalls.
    Fexit,
    /// `syscalls/sys_exit_execve{,at}` tracepoints: every syscall of the host pays for them.
    Tracepoint,
}

/// What was found when the programs were loaded.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// How an exec is denied.
    pub exec_denial: ExecDenial,
    /// Why not through LSM, where that is so.
    pub no_lsm: Option<String>,
    /// How an exec that fails is seen.
    pub exec_exit: ExecExit,
    /// Why not through fexit, where that is so.
    pub no_fexit: Option<String>,
    /// Whether io_uring's connect has its failures told, as connect(2) has.
    pub uring_results: bool,
    /// What is held at the doors beside programs and the internet.
    pub doors: Doors,
    /// How TLS plaintext is tied to its socket.
    pub ties: Ties,
}

impl Capabilities {
    /// What a record of the run's start says of enforcement.
    pub fn words(&self) -> Vec<String> {
        let doors = if self.doors.hold_unix() { "doors:lsm" } else { "doors:none" };
        vec![format!("{}", self.exec_denial), format!("{}", self.exec_exit), doors.to_owned()]
    }
}

impl fmt::Display for ExecDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lsm => "exec-denial:lsm",
            Self::Kill => "exec-denial:kill",
        })
    }
}

impl fmt::Display for ExecExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fexit => "exec-failure:fexit",
            Self::Tracepoint => "exec-failure:tracepoint",
        })
    }
}

/// Why no LSM program can work here, where that shows before one is loaded.
pub fn lsm_missing() -> Option<String> {
    const LSM: &str = "/sys/kernel/security/lsm";
    let list = std::fs::read_to_string(LSM).ok()?;
    let there = list.trim().split(',').any(|name| name == "bpf");
    (!there).then(|| format!("`bpf` is not in {LSM} ({}): boot with lsm=…,bpf", list.trim()))
}

/// The sum of the programs' `recursion_misses` (struct bpf_prog_info, Linux 5.12): runs that the
/// kernel left out since the program was running on that CPU already.
pub(super) fn missed<'a>(programs: impl Iterator<Item = &'a ProgramFd>) -> u64 {
    programs.filter_map(|fd| misses(fd.as_fd().as_raw_fd())).sum()
}

/// bpf_prog_show_fdinfo (kernel/bpf/syscall.c) prints the count as a line of its own.
fn misses(fd: i32) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let value = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    value.trim().parse().ok()
}
