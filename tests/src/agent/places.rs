//! Places: children left to themselves, sessions, cgroups, files and pipes.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::sys::{self, Program};

/// Leaves a file behind: whoever finds it knows that this ran.
pub(super) fn touch(path: &OsStr) -> Result<u8> {
    fs::write(path, "here\n")?;
    Ok(0)
}

/// Writes more at a file's end.
pub(super) fn append(path: &OsStr) -> Result<u8> {
    File::options().append(true).open(path)?.write_all(b"more")?;
    Ok(0)
}

/// Goes on as a program in another directory.
pub(super) fn chdir(dir: &OsStr, command: &[OsString]) -> Result<u8> {
    std::env::set_current_dir(dir)?;
    Err(Program::new(command)?.exec().into())
}

/// Runs several commands one after the other, with `,` between them; the last failure's status.
pub(super) fn all(commands: &[OsString]) -> Result<u8> {
    let mut last = 0;
    for command in commands.split(|word| word == ",") {
        match Program::new(command)?.run()? {
            0 => {}
            status => last = status,
        }
    }
    Ok(last)
}

/// Runs a program and writes its status into a file, in decimal, all at once.
pub(super) fn report(path: &OsStr, command: &[OsString]) -> Result<u8> {
    let status = Program::new(command)?.run()?;
    let mut unfinished = path.to_owned();
    unfinished.push(".unfinished");
    fs::write(&unfinished, status.to_string())?;
    fs::rename(&unfinished, path)?;
    Ok(status)
}

/// Runs a program in a grandchild whose parent is gone, and waits until it is over.
pub(super) fn double_fork(command: &[OsString]) -> Result<u8> {
    let program = Program::new(command)?;
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    sys::check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    let (read, write) = (sys::owned(ends[0])?, sys::owned(ends[1])?);
    // The grandchild keeps the write end through its exec: its end is the end of the file.
    let child = sys::fork(|| match program.start(|| Ok(())) {
        Ok(_) => 0,
        Err(error) => sys::errno_status(&error),
    })?;
    drop(write);
    let status = sys::wait(child)?;
    File::from(read).read_to_end(&mut Vec::new())?;
    Ok(status)
}

/// Runs a program in a session of its own.
pub(super) fn setsid(command: &[OsString]) -> Result<u8> {
    let child = Program::new(command)?.start(|| {
        // SAFETY: setsid(2) touches no memory.
        sys::check(unsafe { libc::setsid() }).map(drop)
    })?;
    Ok(sys::wait(child)?)
}

/// Runs a program in a new cgroup named `name` below this process's own.
pub(super) fn child_cgroup(name: &OsStr, command: &[OsString]) -> Result<u8> {
    let dir = own_cgroup()?.join(name);
    fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let ran = Program::new(command)?.start(|| enter(&dir)).and_then(sys::wait);
    fs::remove_dir(&dir).with_context(|| dir.display().to_string())?;
    Ok(ran?)
}

/// Moves to another cgroup and goes on as a program there.
pub(super) fn escape(cgroup: &OsStr, command: &[OsString]) -> Result<u8> {
    enter(Path::new(cgroup)).context("the move")?;
    Err(Program::new(command)?.exec().into())
}

fn enter(cgroup: &Path) -> io::Result<()> {
    // "0" names the writer itself, whatever pid namespace it is in.
    fs::write(cgroup.join("cgroup.procs"), "0")
}

fn own_cgroup() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let path = text.lines().find_map(|l| l.strip_prefix("0::/"));
    let path = path.context("no cgroup v2 line in /proc/self/cgroup")?;
    Ok(crate::cgroup_mount()?.join(path))
}

/// Leaves a child that waits for the pipe `fifo` to be released, and ends at once. The child goes
/// on as `command`, if there is one.
pub(super) fn background(fifo: &OsStr, command: &[OsString]) -> Result<u8> {
    sys::fork(|| match wait_file(fifo, command) {
        Ok(status) => status,
        Err(_) => super::MISUSED,
    })?;
    Ok(0)
}

/// Waits until `path` is there to be read and at its end (for a fifo: until its last writer went),
/// then goes on as `command`, if there is one.
pub(super) fn wait_file(path: &OsStr, command: &[OsString]) -> Result<u8> {
    while !Path::new(path).exists() {
        wait_for_change(Path::new(path))?;
    }
    File::open(path)?.read_to_end(&mut Vec::new())?;
    if command.is_empty() {
        return Ok(0);
    }
    Err(Program::new(command)?.exec().into())
}

/// Waits until something appears in the directory of `path`, unless it is there by now.
fn wait_for_change(path: &Path) -> Result<()> {
    let Some(dir) = path.parent() else { bail!("{}: has no directory", path.display()) };
    let dir = std::ffi::CString::new(dir.as_os_str().as_encoded_bytes())?;
    // SAFETY: inotify_init1(2) touches no memory.
    let watch = sys::owned(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) })?;
    let wanted = libc::IN_CREATE | libc::IN_MOVED_TO;
    // SAFETY: `dir` is NUL-terminated and lives through the call.
    sys::check(unsafe { libc::inotify_add_watch(watch.as_raw_fd(), dir.as_ptr(), wanted) })?;
    if !path.exists() {
        let mut event = [0; 4096];
        let _ = File::from(watch).read(&mut event)?;
    }
    Ok(())
}

/// Puts a file over another one, in a mount namespace of its own, and runs a command there.
pub(super) fn mount_over(file: &OsStr, over: &OsStr, command: &[OsString]) -> Result<u8> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt as _;
    let (file, over) = (CString::new(file.as_bytes())?, CString::new(over.as_bytes())?);
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: paths that end with NUL; what is null is not read for these flags (mount(2)).
    unsafe {
        super::sys::check(libc::unshare(libc::CLONE_NEWNS))?;
        super::sys::check(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))?;
        let bound = libc::mount(file.as_ptr(), over.as_ptr(), none, libc::MS_BIND, none.cast());
        super::sys::check(bound)?;
    }
    Ok(Program::new(command)?.run()?)
}

/// Runs a command below another root directory, from there.
pub(super) fn chroot(root: &OsStr, command: &[OsString]) -> Result<u8> {
    std::os::unix::fs::chroot(root)?;
    std::env::set_current_dir("/")?;
    Ok(Program::new(command)?.run()?)
}
