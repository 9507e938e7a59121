//! What the cases share: a place of their own, runs under observer, servers to reach, waiting.

mod cgroup;
mod https;
mod ledger;
mod mount;
mod node;
mod outside;
mod pty;
mod resolver;
mod run;
mod server;
mod talk;
mod web;

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

pub use cgroup::{Cgroup, clear_abandoned, clear_leftovers, leftovers, pins, state_of};
pub use https::{Https, in_path, modules, python, tool};
pub use ledger::{Ledger, at};
pub use mount::{Change, Tmpfs, apart, limited, names, sparse};
pub use node::{Kind, Node};
pub use outside::{Bystander, Passer};
pub use pty::Pty;
pub use resolver::{Resolver, Zone};
pub use run::{Live, Recorded, Run, command, finished, verify};
pub use server::{Mute, Tcp, Udp, closed_port};
pub use talk::Talk;
pub use web::Web;

/// How long anything may take that is no burst.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a case is given.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The recorder's binary.
    pub observer: PathBuf,
    /// The acting sample's binary.
    pub agent: PathBuf,
    /// Fewer of everything that comes in great numbers.
    pub quick: bool,
    /// The case's name.
    pub name: &'static str,
    /// The case's own directory, made and empty.
    pub dir: PathBuf,
}

impl Ctx {
    /// The sample's path as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn agent(&self) -> Result<&str> {
        self.agent.to_str().context("the agent's path is not UTF-8")
    }

    /// A path in the case's directory, as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn path(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        path.to_str().map(str::to_owned).context("the directory's path is not UTF-8")
    }

    /// A copy of the sample under another name in the case's directory: its path.
    ///
    /// # Errors
    /// When it can't be copied.
    pub fn copy_of_agent(&self, name: &str) -> Result<String> {
        let path = self.path(name)?;
        std::fs::copy(&self.agent, &path).with_context(|| path.clone())?;
        Ok(path)
    }

    /// A named pipe in the case's directory: its path.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn fifo(&self, name: &str) -> Result<String> {
        let path = self.path(name)?;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .with_context(|| path.clone())?;
        Ok(path)
    }
}

/// The end of a pipe that somebody waits at; they go on when this is dropped.
#[must_use]
pub struct Gate(std::fs::File);

impl Gate {
    /// Waits until somebody waits at the pipe.
    ///
    /// # Errors
    /// When nobody comes.
    pub fn of(fifo: &str) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let open = || {
            // Without a reader this is ENXIO at once.
            let mut how = std::fs::File::options();
            Ok(how.write(true).custom_flags(libc::O_NONBLOCK).open(fifo).ok())
        };
        until(&format!("somebody waiting at {fifo}"), PATIENCE, open).map(Self)
    }

    /// Lets them go on.
    pub fn open(self) {}

    /// Lets them go on once they have read this.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn say(mut self, what: &[u8]) -> Result<()> {
        use std::io::Write as _;
        Ok(self.0.write_all(what)?)
    }
}

/// A case that can't run here, and why.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Says that the case can't run here.
///
/// # Errors
/// Always: that is how a case says it.
pub fn skip<T>(why: &str) -> Result<T> {
    Err(Skip(why.to_owned()).into())
}

/// Looks until there is something, and says what was wanted when the time is up. The one place
/// where the cases wait.
///
/// # Errors
/// When the time is up, or looking fails.
pub fn until<T>(
    wanted: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(began.elapsed() < patience, "not within {patience:?}: {wanted}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// That two values are one, or what was seen.
///
/// # Errors
/// When they are not.
pub fn same<A: PartialEq<B> + Debug, B: Debug>(what: &str, seen: A, wanted: B) -> Result<()> {
    ensure!(seen == wanted, "{what}: wanted {wanted:?}, saw {seen:?}");
    Ok(())
}

/// That nothing stands at a path: what would have made it never ran.
///
/// # Errors
/// When something does.
pub fn never_ran(path: &str) -> Result<()> {
    if Path::new(path).exists() {
        bail!("{path} is there: what makes it was to be stopped, and ran");
    }
    Ok(())
}
