//! Programs: the ways to execute one, and the ways in which that fails.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::sys::{self, Program};

/// Goes on as another program.
pub(super) fn exec(command: &[OsString]) -> Result<u8> {
    Err(Program::new(command)?.exec().into())
}

/// Runs a program in a child; its status is ours.
pub(super) fn spawn(command: &[OsString]) -> Result<u8> {
    Ok(Program::new(command)?.run()?)
}

/// Runs this program `count` times.
pub(super) fn exec_many(count: u64) -> Result<u8> {
    let program = Program::new(&[sys::own_file()?, "true".into()])?;
    for n in 0..count {
        let status = program.run()?;
        ensure!(status == 0, "number {n} ended with {status}");
    }
    Ok(0)
}

/// Executes what can't be executed, with the arguments `tried`, `one`, `two words`. Status 0 when
/// the kernel gave the error that `kind` names.
pub(super) fn exec_fail(kind: &str, dir: &OsStr) -> Result<u8> {
    let dir = Path::new(dir);
    let mut argv: Vec<OsString> = ["tried", "one", "two words"].map(OsString::from).into();
    let (path, wanted) = match kind {
        "ENOENT" => (dir.join("missing"), libc::ENOENT),
        "EACCES" => (file(&dir.join("not-executable"), "text\n", 0o644)?, libc::EACCES),
        "ENOEXEC" => (file(&dir.join("not-a-program"), "\u{1}\u{2}\u{3}\n", 0o755)?, libc::ENOEXEC),
        "E2BIG" => {
            // MAX_ARG_STRLEN of linux/binfmts.h is 128 KiB: one argument alone is too long.
            argv.push("x".repeat(200 * 1024).into());
            (sys::own_file()?.into(), libc::E2BIG)
        }
        other => bail!("no such failure: {other}"),
    };
    let error = Program::with_args(path.as_os_str(), &argv)?.exec();
    ensure!(error.raw_os_error() == Some(wanted), "{kind} was wanted, and this came: {error}");
    Ok(0)
}

fn file(path: &Path, content: &str, mode: u32) -> Result<std::path::PathBuf> {
    fs::write(path, content).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(path.to_owned())
}

/// Goes on as this program with arguments that fill `bytes` bytes, each with its NUL.
pub(super) fn big_argv(bytes: usize) -> Result<u8> {
    const EACH: usize = 4096;
    let own = sys::own_file()?;
    let mut argv = vec![own.clone(), "true".into()];
    let used: usize = argv.iter().map(|a| a.len() + 1).sum();
    let mut left = bytes.checked_sub(used).context("too few bytes for the first arguments")?;
    while left > 0 {
        // What is left for the next one is never a single byte less than its NUL needs.
        let here = left.min(EACH);
        argv.push("x".repeat(here - 1).into());
        left -= here;
    }
    Err(Program::with_args(&own, &argv)?.exec().into())
}

/// Copies a program into anonymous memory and goes on as that.
pub(super) fn memfd(command: &[OsString]) -> Result<u8> {
    let path = command.first().context("which program?")?;
    // SAFETY: the name is a NUL-terminated constant.
    let fd = sys::owned(unsafe { libc::memfd_create(c"sample".as_ptr(), libc::MFD_CLOEXEC) })?;
    let mut copy = File::from(fd);
    io::copy(&mut File::open(path)?, &mut copy)?;
    Err(Program::new(command)?.exec_fd(&copy).into())
}

/// Goes on as a program that only a descriptor names.
pub(super) fn execveat_empty(command: &[OsString]) -> Result<u8> {
    let path = command.first().context("which program?")?;
    let file = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    ensure!(file.as_raw_fd() >= 0, "no descriptor");
    Err(Program::new(command)?.exec_fd(&file).into())
}

/// Goes on as a program that a link of /proc names.
pub(super) fn exec_proc_fd(command: &[OsString]) -> Result<u8> {
    let path = command.first().context("which program?")?;
    let file = File::open(path)?;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    Err(Program::with_args(OsStr::new(&link), command)?.exec().into())
}

/// Goes on as `PROGRAM touch EFFECT`, with some 2 MiB of arguments before the last one.
pub(super) fn long_argv(words: &[OsString]) -> Result<u8> {
    const EACH: usize = 64 * 1024;
    let [program, effect, last] = words else { bail!("which program, effect and argument?") };
    let mut argv = vec![program.clone(), "touch".into(), effect.clone()];
    argv.extend((0..30).map(|_| OsString::from("x".repeat(EACH))));
    argv.push(last.clone());
    Err(Program::with_args(program, &argv)?.exec().into())
}

/// Goes on as a program from a thread that is not the process's first.
pub(super) fn thread_exec(command: &[OsString]) -> Result<u8> {
    let program = Program::new(command)?;
    let error = std::thread::scope(|scope| scope.spawn(|| program.exec()).join());
    match error {
        Ok(error) => Err(error.into()),
        Err(_) => bail!("the thread panicked"),
    }
}

/// Ends by a signal.
pub(super) fn kill_self(signal: i32) -> Result<u8> {
    // SAFETY: kill(2) on this process touches no memory of it.
    sys::check(unsafe { libc::kill(libc::getpid(), signal) })?;
    bail!("signal {signal} did not end this process")
}
