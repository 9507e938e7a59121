//! Starting the agent: born in its cgroup, held at a gate until everything is attached, then
//! itself: its own user, terminal, signals and exit status.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::{env, fs, ptr};

use rustix::pipe::{PipeFlags, pipe_with};
use thiserror::Error;

use crate::cgroup::Cgroup;

/// include/uapi/linux/sched.h; libc's constant of this name does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Why a command could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// A NUL in an argument.
    #[error("an argument contains a NUL byte")]
    Nul,
    /// No such user.
    #[error("no user {0:?} here: give a name of /etc/passwd, or uid:gid")]
    NoUser(String),
    /// The system said no.
    #[error("cannot start the command: {0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for SpawnError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Who the command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Name and home, where /etc/passwd has them.
    entry: Option<(String, String)>,
}

impl User {
    /// A name, a uid, or `uid:gid`.
    pub fn parse(text: &str) -> Result<Self, SpawnError> {
        let no_user = || SpawnError::NoUser(text.to_owned());
        if let Some((uid, gid)) = text.split_once(':') {
            let (uid, gid) =
                (uid.parse().map_err(|_| no_user())?, gid.parse().map_err(|_| no_user())?);
            return Ok(Self { uid, gid, groups: vec![gid], entry: None });
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        match find(&passwd, &groups, text) {
            Some(user) => Ok(user),
            None => {
                let uid = text.parse().map_err(|_| no_user())?;
                Ok(Self { uid, gid: uid, groups: vec![uid], entry: None })
            }
        }
    }

    /// Whoever called sudo, if somebody did.
    pub fn behind_sudo() -> Option<Self> {
        let uid = env::var("SUDO_UID").ok()?;
        if uid == "0" { None } else { Self::parse(&uid).ok() }
    }
}

/// Looks a name or uid up in the texts of /etc/passwd and /etc/group.
fn find(passwd: &str, group: &str, wanted: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let field: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = field[..] else { return None };
        if name != wanted && uid != wanted {
            return None;
        }
        let gid = gid.parse().ok()?;
        let mut groups: Vec<u32> = vec![gid];
        groups.extend(group.lines().filter_map(|line| {
            let field: Vec<&str> = line.split(':').collect();
            let member = field.get(3)?.split(',').any(|member| member == name);
            if member { field.get(2)?.parse::<u32>().ok() } else { None }
        }));
        let entry = Some((name.to_owned(), home.to_owned()));
        Some(User { uid: uid.parse().ok()?, gid, groups, entry })
    })
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Ended {
    /// As a shell has it: the status, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// A command that was started.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: OwnedFd,
    gate: Option<OwnedFd>,
    report: Option<OwnedFd>,
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Lets it go on to its program. An error is why that could not be run.
    pub fn open_gate(&mut self) -> io::Result<Result<(), io::Error>> {
        if let Some(gate) = self.gate.take() {
            rustix::io::write(&gate, b"g")?;
        }
        let mut errno = [0; 4];
        let Some(report) = self.report.take() else { return Ok(Ok(())) };
        match fs::File::from(report).read_exact(&mut errno) {
            Ok(()) => Ok(Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))),
            // Closed by the exec: it runs.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Ok(())),
            Err(e) => Err(e),
        }
    }

    /// Waits for its end and reaps it.
    pub fn wait(&self) -> io::Result<Ended> {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the kernel fills the siginfo; a zeroed one is valid. The pidfd is our child's.
        let info = unsafe {
            let fd = self.pidfd.as_raw_fd().cast_unsigned();
            while libc::waitid(libc::P_PIDFD, fd, info.as_mut_ptr(), libc::WEXITED) < 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            info.assume_init()
        };
        // SAFETY: waitid fills si_status for a child that ended.
        let status = unsafe { info.si_status() };
        Ok(if info.si_code == libc::CLD_EXITED {
            Ended::Exited(status)
        } else {
            Ended::Signaled(status)
        })
    }

    /// Sends it a signal; one that has ended is past caring.
    pub fn signal(&self, signal: i32) {
        // SAFETY: a pidfd of our child; no siginfo is handed over.
        unsafe {
            let none: *const libc::siginfo_t = ptr::null();
            libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), signal, none, 0);
        }
    }
}

/// All that the child needs, made before it is there: between clone and exec it may call only
/// what is safe in a signal handler.
struct Plan {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    user: Option<User>,
}

/// Starts `argv` in `cgroup`, at the gate.
pub fn spawn(argv: &[OsString], user: Option<User>, cgroup: &Cgroup) -> Result<Child, SpawnError> {
    let plan = Plan {
        candidates: candidates(argv.first().map_or(OsStr::new(""), OsString::as_os_str))?,
        argv: argv.iter().map(|arg| c_string(arg)).collect::<Result<_, _>>()?,
        env: environment(user.as_ref())?,
        user,
    };
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(&plan.argv), pointers(&plan.env));
    let (gate_in, gate_out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (report_in, report_out) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain data, and all zeros is its empty form.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup.dir().as_raw_fd() as u64;
    // SAFETY: without CLONE_VM this is a fork; the child runs `child` alone, which never returns.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    if pid == 0 {
        drop(gate_out);
        drop(report_in);
        // SAFETY: this is the child, and the pointers end with null.
        unsafe { child(&plan, &argv, &env, gate_in.as_raw_fd(), report_out.as_raw_fd()) };
    }
    if pid < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel has just given it to us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = u32::try_from(pid).map_err(io::Error::other)?;
    Ok(Child { pid, pidfd, gate: Some(gate_out), report: Some(report_in) })
}

/// The child's way to its program.
///
/// # Safety
/// Only in a process that was just forked; the lists end with null.
unsafe fn child(
    plan: &Plan,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    gate: i32,
    report: i32,
) -> ! {
    // SAFETY: system calls alone, on data that was made before the fork.
    unsafe {
        let mut go = 0u8;
        let mut n = libc::read(gate, (&raw mut go).cast(), 1);
        while n < 0 && *libc::__errno_location() == libc::EINTR {
            n = libc::read(gate, (&raw mut go).cast(), 1);
        }
        if n != 1 {
            libc::_exit(125); // nobody opens it any more
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        if let Some(user) = &plan.user {
            // The bare system calls: glibc's would look for other threads.
            let bad = libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr())
                < 0
                || libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid) < 0
                || libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid) < 0;
            if bad {
                fail(report, *libc::__errno_location());
            }
        }
        // As execvp does: EACCES is remembered while a later directory may have it.
        let mut errno = libc::ENOENT;
        for path in &plan.candidates {
            libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr());
            match *libc::__errno_location() {
                libc::EACCES => errno = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR => {}
                other => {
                    errno = other;
                    break;
                }
            }
        }
        fail(report, errno)
    }
}

/// # Safety
/// Only in the child.
unsafe fn fail(report: i32, errno: i32) -> ! {
    // SAFETY: system calls alone.
    unsafe {
        let bytes = errno.to_ne_bytes();
        libc::write(report, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(if errno == libc::ENOENT { 127 } else { 126 })
    }
}

fn c_string(text: &OsStr) -> Result<CString, SpawnError> {
    CString::new(text.as_bytes()).map_err(|_| SpawnError::Nul)
}

/// Where the command may be, in order.
fn candidates(command: &OsStr) -> Result<Vec<CString>, SpawnError> {
    if command.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(command)?]);
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let all: Vec<_> = env::split_paths(&path).map(|dir| dir.join(command)).collect();
    // Where one is there, the others are not tried: our own search is no call of the agent's.
    let there: Vec<_> = all.iter().filter(|path| path.is_file()).cloned().collect();
    let tried = if there.is_empty() { all } else { there };
    tried.iter().map(|path| c_string(path.as_os_str())).collect()
}

/// The file that a command names, as the child will look for it.
pub fn resolve(command: &OsStr) -> Option<std::path::PathBuf> {
    let paths = candidates(command).ok()?;
    let mut paths =
        paths.iter().map(|path| std::path::PathBuf::from(OsStr::from_bytes(path.as_bytes())));
    paths.find(|path| path.is_file())
}

fn environment(user: Option<&User>) -> Result<Vec<CString>, SpawnError> {
    let entry = user.and_then(|user| user.entry.as_ref());
    let mut out = vec![];
    for (key, value) in env::vars_os() {
        if entry.is_some() && ["HOME", "USER", "LOGNAME"].iter().any(|name| key == *name) {
            continue;
        }
        let mut pair = key;
        pair.push("=");
        pair.push(value);
        out.push(c_string(&pair)?);
    }
    if let Some((name, home)) = entry {
        for pair in [format!("HOME={home}"), format!("USER={name}"), format!("LOGNAME={name}")] {
            out.push(c_string(OsStr::new(&pair))?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Mount;
    use crate::model::RunId;

    /// Runs a command in a cgroup of its own; none where that can't be done here.
    fn run(argv: &[&str], user: Option<User>) -> Option<(Ended, Option<i32>)> {
        let cgroup = Cgroup::create(&Mount::find().ok()?, RunId::generate()).ok()?;
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let mut child = spawn(&argv, user, &cgroup).unwrap();
        assert_eq!(cgroup.tasks(), [child.pid()], "born in its cgroup");
        let error = child.open_gate().unwrap().err().and_then(|e| e.raw_os_error());
        let ended = child.wait().unwrap();
        cgroup.remove().unwrap();
        Some((ended, error))
    }

    #[test]
    fn a_command_keeps_its_exit_status_and_its_signal() {
        let Some((ended, _)) = run(&["true"], None) else { return println!("no root: not run") };
        assert_eq!(ended, Ended::Exited(0));
        assert_eq!(run(&["sh", "-c", "exit 7"], None).unwrap().0.code(), 7);
        assert_eq!(run(&["sh", "-c", "kill -9 $$"], None).unwrap().0, Ended::Signaled(9));
    }

    #[test]
    fn what_can_not_be_run_ends_as_in_a_shell() {
        let Some(missing) = run(&["no-such-program"], None) else {
            return println!("no root: not run");
        };
        assert_eq!(missing, (Ended::Exited(127), Some(libc::ENOENT)));
        assert_eq!(run(&["/etc/passwd"], None).unwrap(), (Ended::Exited(126), Some(libc::EACCES)));
    }

    #[test]
    fn a_user_is_put_on_whole() {
        let user = User::parse("65534:65534").unwrap();
        let script = "[ $(id -u) = 65534 ] && [ $(id -G) = 65534 ]";
        let Some((ended, _)) = run(&["sh", "-c", script], Some(user)) else {
            return println!("no root: not run");
        };
        assert_eq!(ended, Ended::Exited(0));
    }

    #[test]
    fn users_are_found_by_name_and_number_with_their_groups() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1001:A:/home/ann:/bin/sh\n";
        let group = "docker:x:99:bob,ann\nwheel:x:10:bob\n";
        let ann = find(passwd, group, "ann").unwrap();
        assert_eq!((ann.uid, ann.gid, &ann.groups[..]), (1000, 1001, &[1001, 99][..]));
        assert_eq!(find(passwd, group, "1000"), Some(ann));
        assert!(find(passwd, group, "eve").is_none());
        assert!(User::parse("no such user").is_err());
    }
}
