//! Runs of the sample under observer.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{Ctx, Ledger, PATIENCE, until};

/// A run to be made.
#[derive(Debug)]
pub struct Run<'a> {
    ctx: &'a Ctx,
    label: &'static str,
    policy: Option<String>,
    args: Vec<OsString>,
    options: Vec<OsString>,
    log: Option<PathBuf>,
    patience: Duration,
}

impl<'a> Run<'a> {
    /// A run without a policy, of no command yet.
    pub fn new(ctx: &'a Ctx) -> Self {
        let (label, patience) = ("run", PATIENCE);
        let (args, options) = (Vec::new(), Vec::new());
        Self { ctx, label, policy: None, args, options, log: None, patience }
    }

    /// A name for one of several runs in a case; each has files of its own.
    pub fn label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    /// The policy: what follows `version` and `default = "allow"`; a text that sets a `default`
    /// of its own stands as it is.
    pub fn policy(mut self, rules: &str) -> Self {
        let default = if rules.contains("default =") { "" } else { "default = \"allow\"\n" };
        self.policy = Some(format!("version = 1\n{default}{rules}"));
        self
    }

    /// A policy file's whole text.
    pub fn policy_text(mut self, text: &str) -> Self {
        self.policy = Some(text.to_owned());
        self
    }

    /// What the sample is to do.
    pub fn agent<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// More of `observer run`'s own options.
    pub fn options<A: Into<OsString>>(mut self, options: impl IntoIterator<Item = A>) -> Self {
        self.options = options.into_iter().map(Into::into).collect();
        self
    }

    /// Another place for the ledger.
    pub fn log(mut self, path: PathBuf) -> Self {
        self.log = Some(path);
        self
    }

    /// More patience than usual.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end, reads the ledger, and has observer verify it.
    ///
    /// # Errors
    /// When it can't be started, does not end, or its ledger does not hold.
    pub fn go(self) -> Result<Recorded> {
        self.start()?.finish()
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(self) -> Result<Live> {
        self.start_as(|_| Ok(()))
    }

    /// Starts it, once `prepare` has seen to the process that is to be observer.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_as(self, prepare: impl FnOnce(&mut Command) -> Result<()>) -> Result<Live> {
        let paths = Paths::make(self.ctx, self.label, self.log.clone())?;
        let mut command = command(&self.ctx.observer);
        command.args(["run", "--name", self.ctx.name]).args(&self.options);
        paths.arguments(&mut command);
        if let Some(policy) = &self.policy {
            let file = paths.dir.join("policy.toml");
            fs::write(&file, policy)?;
            command.arg("--policy").arg(file);
        }
        command.arg("--").arg(&self.ctx.agent).args(&self.args);
        Live::spawn(self.ctx, paths, &mut command, self.patience, prepare)
    }
}

/// Where a run's files are.
#[derive(Debug)]
struct Paths {
    dir: PathBuf,
    log: PathBuf,
    state: PathBuf,
}

impl Paths {
    fn make(ctx: &Ctx, label: &str, log: Option<PathBuf>) -> Result<Self> {
        let dir = ctx.dir.join(label);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let log = log.unwrap_or_else(|| dir.join("log.jsonl"));
        Ok(Self { log, state: dir.join("state"), dir })
    }

    fn arguments(&self, command: &mut Command) {
        command.arg("--log").arg(&self.log).arg("--state-dir").arg(&self.state);
    }
}

/// A command with nothing on its standard input, and nobody named who called sudo.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for name in ["SUDO_USER", "SUDO_UID", "SUDO_GID"] {
        command.env_remove(name);
    }
    command
}

/// A process of observer that is under way.
#[derive(Debug)]
pub struct Live {
    child: Child,
    observer: PathBuf,
    paths: Paths,
    patience: Duration,
}

impl Live {
    /// Starts `observer attach` to the cgroup of a process.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn attach(ctx: &Ctx, pid: u32) -> Result<Self> {
        Self::attach_to(ctx, &["--pid", &pid.to_string()])
    }

    /// Starts `observer attach` to what these arguments name.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn attach_to(ctx: &Ctx, target: &[&str]) -> Result<Self> {
        let paths = Paths::make(ctx, "attach", None)?;
        let mut command = command(&ctx.observer);
        command.arg("attach").args(target);
        paths.arguments(&mut command);
        Self::spawn(ctx, paths, &mut command, PATIENCE, |_| Ok(()))
    }

    fn spawn(
        ctx: &Ctx,
        paths: Paths,
        command: &mut Command,
        patience: Duration,
        prepare: impl FnOnce(&mut Command) -> Result<()>,
    ) -> Result<Self> {
        // Files and no pipes: whoever outlives the run holds nobody up.
        command.stdout(File::create(paths.dir.join("stdout"))?);
        command.stderr(File::create(paths.dir.join("stderr"))?);
        prepare(command)?;
        let child = command.spawn().with_context(|| ctx.observer.display().to_string())?;
        Ok(Self { child, observer: ctx.observer.clone(), paths, patience })
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When its state can't be read.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).context("a signal to observer")
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// When there is nothing to end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Waits until the ledger has a record like this.
    ///
    /// # Errors
    /// When none comes.
    pub fn until_recorded(&mut self, what: &str, like: impl Fn(&Value) -> bool) -> Result<()> {
        until(what, self.patience, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("observer ended ({status}) before {what}: {}", self.stderr());
            }
            let ledger = Ledger::read(&self.paths.log)?;
            Ok(ledger.records.iter().any(&like).then_some(()))
        })
    }

    /// Waits until it has said this on standard error.
    ///
    /// # Errors
    /// When it does not.
    pub fn until_said(&mut self, words: &str) -> Result<()> {
        let looked = until(&format!("observer saying {words:?}"), self.patience, || {
            if self.stderr().contains(words) {
                return Ok(Some(()));
            }
            match self.child.try_wait()? {
                // What it said last may have come since.
                Some(_) if self.stderr().contains(words) => Ok(Some(())),
                Some(status) => bail!("observer ended ({status}) and did not say {words:?}"),
                None => Ok(None),
            }
        });
        looked.with_context(|| format!("it said: {}", self.stderr()))
    }

    /// Removes its ledger, and what vouches for that.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn forget(&self) -> Result<()> {
        fs::remove_file(&self.paths.log)?;
        Ok(fs::remove_file(self.paths.log.with_extension("jsonl.checkpoints"))?)
    }

    /// What is recorded by now.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn ledger(&self) -> Result<Ledger> {
        Ledger::read(&self.paths.log)
    }

    /// The ledger's file.
    pub fn log(&self) -> &Path {
        &self.paths.log
    }

    /// Where the host's key is.
    pub fn state(&self) -> &Path {
        &self.paths.state
    }

    /// The directory of the cgroup that the run's start names.
    ///
    /// # Errors
    /// When the ledger does not say it.
    pub fn cgroup(&self) -> Result<PathBuf> {
        let ledger = self.ledger()?;
        let start = *ledger.of_type("run.start").last().context("no run.start")?;
        let path = start.pointer("/start/cgroup").and_then(Value::as_str);
        let path = path.context("run.start names no cgroup")?;
        Ok(crate::cgroup_mount()?.join(path.trim_start_matches('/')))
    }

    /// What it has said on standard error.
    pub fn stderr(&self) -> String {
        let bytes = fs::read(self.paths.dir.join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for its end: its exit status and what it said on standard error.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(&mut self) -> Result<(Option<i32>, String)> {
        let status = finished(&mut self.child, "observer", self.patience);
        let status = status.with_context(|| self.stderr())?;
        Ok((status.code(), self.stderr()))
    }

    /// Waits for its end, reads the ledger, and has observer verify it.
    ///
    /// # Errors
    /// When it does not end, or its ledger does not hold.
    pub fn finish(mut self) -> Result<Recorded> {
        let (code, stderr) = self.end()?;
        ensure!(self.paths.log.exists(), "no ledger; exit status {code:?}, and it said: {stderr}");
        let recorded = Recorded {
            code,
            stderr,
            ledger: Ledger::read(&self.paths.log)?,
            log: self.paths.log.clone(),
            key: self.paths.state.join("host.pub"),
            observer: self.observer.clone(),
        };
        recorded.verify()?;
        Ok(recorded)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A case that failed half way leaves nobody running.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.kill());
        }
    }
}

/// Waits for a child's end, and ends it when the time is up.
///
/// # Errors
/// When it did not end by itself.
pub fn finished(child: &mut Child, what: &str, patience: Duration) -> Result<ExitStatus> {
    let ended = until(&format!("the end of {what}"), patience, || Ok(child.try_wait()?));
    if ended.is_err() {
        drop(child.kill());
        drop(child.wait());
    }
    ended
}

/// A run that is over.
#[derive(Debug)]
pub struct Recorded {
    /// Its exit status; none where a signal ended it.
    pub code: Option<i32>,
    /// What came on standard error.
    pub stderr: String,
    /// What was recorded.
    pub ledger: Ledger,
    /// The ledger's file.
    pub log: PathBuf,
    /// The host's public key.
    pub key: PathBuf,
    observer: PathBuf,
}

impl Recorded {
    /// That it ended with this exit status.
    ///
    /// # Errors
    /// When it ended otherwise.
    pub fn exited(&self, code: i32) -> Result<()> {
        let (seen, said) = (self.code, self.stderr.trim_end());
        ensure!(seen == Some(code), "exit status: wanted {code}, saw {seen:?}; stderr: {said:?}");
        Ok(())
    }

    /// Has observer verify the ledger.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(&self) -> Result<()> {
        let (code, said) = self.verify_file(&self.log)?;
        ensure!(code == Some(0), "verify exited with {code:?}, wanted 0, and said: {said}");
        Ok(())
    }

    /// Has observer verify a file under this run's host key: exit status and what it said.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn verify_file(&self, log: &Path) -> Result<(Option<i32>, String)> {
        verify(&self.observer, log, &self.key, &[])
    }
}

/// Has observer verify a file under a host's key: exit status and what it said.
///
/// # Errors
/// When it can't be started.
pub fn verify(
    observer: &Path,
    log: &Path,
    key: &Path,
    options: &[&str],
) -> Result<(Option<i32>, String)> {
    let mut command = command(observer);
    let output = command.arg("verify").arg(log).arg("--key").arg(key).args(options).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}
