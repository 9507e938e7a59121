//! Doors beside programs and connections: other sockets, other processes, the kernel itself. Each
//! tries one thing; the exit status is the error that it met.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Write as _};
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::ptr;

use anyhow::{Context as _, Result, ensure};

use super::UNSUPPORTED;
use super::net;
use super::sys::{self, Program};

/// Opens a socket of any family; one that this kernel was not built with is a way that it lacks.
pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> Result<u8> {
    // SAFETY: socket(2) touches no memory.
    match sys::owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }) {
        Ok(_) => Ok(0),
        Err(e) if missing(&e) => Ok(UNSUPPORTED),
        Err(error) => Err(error).context("socket"),
    }
}

fn missing(error: &io::Error) -> bool {
    let lacks = [libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ESOCKTNOSUPPORT, libc::ENOSYS];
    error.raw_os_error().is_some_and(|n| lacks.contains(&n))
}

/// Sends a datagram to a unix socket: a path, or an abstract name after an `@`.
pub(super) fn unix_send(name: &OsStr) -> Result<u8> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.send_to_addr(b"datagram", &SocketAddr::from_abstract_name(name)?)?,
        None => socket.send_to(b"datagram", name)?,
    };
    Ok(0)
}

/// Connects a datagram socket to the unix socket at a path.
pub(super) fn unix_datagram_connect(path: &OsStr) -> Result<u8> {
    UnixDatagram::unbound()?.connect(path)?;
    Ok(0)
}

/// Connects to a unix socket by a path that is relative to its directory.
pub(super) fn unix_relative(path: &OsStr) -> Result<u8> {
    let path = std::path::Path::new(path);
    std::env::set_current_dir(path.parent().context("no directory")?)?;
    UnixStream::connect(path.file_name().context("no name")?)?;
    Ok(0)
}

/// Attaches to a process, and lets it go.
pub(super) fn ptrace(pid: i32) -> Result<u8> {
    const SEIZE: i64 = 0x4206;
    // SAFETY: PTRACE_SEIZE reads and writes nothing here.
    sys::check(unsafe { libc::syscall(libc::SYS_ptrace, SEIZE, pid, 0, 0) })?;
    Ok(0)
}

/// Writes into a process, to nowhere: what may not be is refused before that is seen.
pub(super) fn vm_write(pid: i32) -> Result<u8> {
    let data = [0_u8; 8];
    let local = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let remote = libc::iovec { iov_base: 16 as *mut libc::c_void, iov_len: data.len() };
    // SAFETY: `local` is `data`, which is only read; `remote` is an address in the other process.
    let done =
        unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match sys::check(done as i64) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(0),
        other => other.map(|_| 0).context("process_vm_writev"),
    }
}

/// Opens a process's memory for writing.
pub(super) fn proc_mem(pid: i32) -> Result<u8> {
    std::fs::File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    Ok(0)
}

/// Takes a process's standard error.
pub(super) fn pidfd_getfd(pid: i32) -> Result<u8> {
    // SAFETY: neither call touches memory.
    let pidfd = sys::owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32)?;
    // SAFETY: as above.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 2, 0) };
    sys::owned(fd as i32).context("pidfd_getfd")?;
    Ok(0)
}

/// Sends a signal.
pub(super) fn signal(pid: i32, signal: i32) -> Result<u8> {
    // SAFETY: kill(2) touches no memory.
    sys::check(unsafe { libc::kill(pid, signal) })?;
    Ok(0)
}

/// Sends a signal through a descriptor of the process.
pub(super) fn pidfd_signal(pid: i32, signal: i32) -> Result<u8> {
    // SAFETY: neither call touches memory that is not there.
    let pidfd = sys::owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32)?;
    let none = ptr::null::<libc::c_void>();
    // SAFETY: no information is given along.
    sys::check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0)
    })?;
    Ok(0)
}

/// Has the kernel send a signal for a pipe that can be read.
pub(super) fn descriptor_signal(pid: i32, signal: i32) -> Result<u8> {
    /// include/uapi/asm-generic/fcntl.h.
    const F_SETSIG: i32 = 10;
    let (read, mut write) = std::io::pipe()?;
    let fd = read.as_raw_fd();
    for (command, value) in
        [(libc::F_SETOWN, pid), (F_SETSIG, signal), (libc::F_SETFL, libc::O_ASYNC)]
    {
        // SAFETY: these commands touch no memory.
        sys::check(unsafe { libc::fcntl(fd, command, value) })?;
    }
    write.write_all(b"x")?;
    // First, since the end of the other would be a second reason to send it.
    drop(read);
    Ok(0)
}

/// Takes a process's time: it would be killed within a second of work.
pub(super) fn prlimit(pid: i32) -> Result<u8> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is read, nothing is written.
    sys::check(unsafe { libc::prlimit(pid, libc::RLIMIT_CPU, &raw const none, ptr::null_mut()) })?;
    Ok(0)
}

/// Lets a process run after all others.
pub(super) fn setpriority(pid: i32) -> Result<u8> {
    let who = u32::try_from(pid).context("not a process")?;
    // SAFETY: touches no memory.
    sys::check(unsafe { libc::setpriority(libc::PRIO_PROCESS, who, 19) })?;
    Ok(0)
}

/// Lets a process wait for disks until nobody else does.
pub(super) fn ioprio(pid: i32) -> Result<u8> {
    /// include/uapi/linux/ioprio.h: IOPRIO_WHO_PROCESS, and IOPRIO_CLASS_IDLE in its place.
    const PROCESS: i32 = 1;
    const IDLE: i32 = 3 << 13;
    // SAFETY: touches no memory.
    sys::check(unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, pid, IDLE) })?;
    Ok(0)
}

/// Binds a process to the first CPU.
pub(super) fn affinity(pid: i32) -> Result<u8> {
    let first = [1_u64; 1];
    let size = mem::size_of_val(&first);
    // SAFETY: the mask is as long as said.
    sys::check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size, first.as_ptr()) })?;
    Ok(0)
}

/// Makes a map for BPF programs.
pub(super) fn bpf() -> Result<u8> {
    const MAP_CREATE: i32 = 0;
    let mut attr = [0_u32; 32];
    // An array of one word.
    [attr[0], attr[1], attr[2], attr[3]] = [2, 4, 4, 1];
    // SAFETY: `attr` is larger than what the command reads.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, attr.as_mut_ptr(), 72) };
    sys::owned(fd as i32)?;
    Ok(0)
}

/// Mounts a filesystem in a mount namespace of its own.
pub(super) fn mount(dir: &OsStr) -> Result<u8> {
    apart()?;
    let dir = CString::new(dir.as_bytes())?;
    let none = ptr::null();
    // SAFETY: texts end with NUL and live through the call.
    sys::check(unsafe { libc::mount(c"none".as_ptr(), dir.as_ptr(), c"tmpfs".as_ptr(), 0, none) })?;
    Ok(0)
}

/// Goes on as a copy of a program on a filesystem that it mounts for it.
pub(super) fn exec_mounted(dir: &OsStr, command: &[OsString]) -> Result<u8> {
    mount(dir)?;
    let program = command.first().context("which program?")?;
    let copy = Path::new(dir).join("copy");
    std::fs::copy(program, &copy)?;
    Err(Program::with_args(copy.as_os_str(), command)?.exec().into())
}

/// Makes a filesystem that hangs nowhere, and is reached by its descriptor.
pub(super) fn fsmount() -> Result<u8> {
    apart()?;
    // SAFETY: the text is a constant.
    let fs = sys::owned(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) } as i32)?;
    const CREATE: i32 = 6;
    let none = ptr::null::<libc::c_void>();
    // SAFETY: this command takes nothing.
    let made = unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), CREATE, none, none, 0) };
    sys::check(made).context("fsconfig")?;
    // SAFETY: fsmount(2) touches no memory.
    sys::owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 0, 0) } as i32)?;
    Ok(0)
}

/// A mount namespace whose changes nobody else sees.
fn apart() -> Result<()> {
    // SAFETY: unshare(2) touches no memory.
    sys::check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).context("unshare")?;
    Ok(())
}

/// Makes a user namespace, and whatever else the flags say.
pub(super) fn unshare(flags: i32) -> Result<u8> {
    // SAFETY: unshare(2) touches no memory.
    match sys::check(unsafe { libc::unshare(flags) }) {
        Ok(_) => Ok(0),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(UNSUPPORTED),
        Err(error) => Err(error.into()),
    }
}

/// Hands the kernel a module that is none: what may not be is refused before that is seen.
pub(super) fn module() -> Result<u8> {
    let image = [0_u8; 64];
    // SAFETY: `image` and the text are only read.
    let done =
        unsafe { libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), c"".as_ptr()) };
    match sys::check(done) {
        Err(e) if e.raw_os_error() == Some(libc::ENOEXEC) => Ok(0),
        Err(e) if missing(&e) => Ok(UNSUPPORTED),
        other => other.map(|_| 0).context("init_module"),
    }
}

/// Takes a socket that the server at `path` passes on, and sends through it: to where it is
/// connected, or to `to`.
pub(super) fn receive_socket(path: &OsStr, to: &str) -> Result<u8> {
    let server = UnixStream::connect(path)?;
    let Some(fd) = receive(&server)? else { return Ok(libc::EPERM as u8) };
    let data = b"passed on";
    let name = if to == "-" { None } else { Some(net::Name::new(net::address(to)?)) };
    let (at, len) = name.as_ref().map_or((ptr::null(), 0), net::Name::parts);
    // SAFETY: `data` is only read; the address is null or outlives the call.
    let sent =
        unsafe { libc::sendto(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), 0, at, len) };
    sys::check(sent as i64).context("sendto")?;
    Ok(0)
}

/// The descriptor that comes with a byte; none where the kernel kept it back.
fn receive(from: &UnixStream) -> Result<Option<OwnedFd>> {
    let mut byte = [0_u8; 1];
    let mut data = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut room = [0_u64; 8];
    // SAFETY: all zeros is an empty msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = room.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&room);
    // SAFETY: the message's parts are valid for writing through the call.
    let got = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut message, 0) };
    ensure!(sys::check(got as i64)? == 1, "the server said nothing");
    // SAFETY: the kernel filled the message in; a control message of its is read where one is.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let none = (libc::CMSG_LEN(0) as usize) + mem::size_of::<i32>();
        if header.is_null() || (*header).cmsg_len < none {
            return Ok(None);
        }
        let fd = libc::CMSG_DATA(header).cast::<i32>().read_unaligned();
        Ok(Some(OwnedFd::from_raw_fd(fd)))
    }
}
