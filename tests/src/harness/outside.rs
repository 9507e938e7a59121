//! What stands outside of a run: processes that it may not touch, servers that pass sockets on.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{Ctx, command};

/// A process that is no run's, and waits.
#[derive(Debug)]
pub struct Bystander(Child);

impl Bystander {
    /// One that waits for what never comes.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn new(ctx: &Ctx) -> Result<Self> {
        let mut command = command(&ctx.agent);
        command.arg("wait-file").arg(ctx.path("never")?).stdout(Stdio::null());
        let fd: OwnedFd = File::open("/dev/null")?.into();
        Ok(Self(command.stderr(Stdio::from(fd)).spawn()?))
    }

    /// Its process id, as text.
    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When that can't be known.
    pub fn lives(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server at a unix socket that passes a descriptor on to the first who comes.
#[derive(Debug)]
pub struct Passer(Option<JoinHandle<Result<()>>>);

impl Passer {
    /// Passes `fd` on at `path`.
    ///
    /// # Errors
    /// When it can't listen there.
    pub fn new(path: &str, fd: OwnedFd) -> Result<Self> {
        let listener = UnixListener::bind(path).context("bind")?;
        Ok(Self(Some(std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut room);
            let fds = [fd.as_fd()];
            if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
                bail!("no room for a descriptor");
            }
            sendmsg(&stream, &[IoSlice::new(b"!")], &mut control, SendFlags::empty())?;
            Ok(())
        }))))
    }

    /// Waits until it was passed on.
    ///
    /// # Errors
    /// When it was not.
    pub fn passed(mut self) -> Result<()> {
        match self.0.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            _ => bail!("the server panicked"),
        }
    }
}
