//! A run from its beginning to its end: the only place that starts and stops things.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use ring::digest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::{Cgroup, Mount};
use crate::clock;
use crate::kernel::{self, Capabilities, ExecDenial, ExecExit, Kernel, Options};
use crate::ledger::{
    Carriers, Elsewhere, Entry, Epochs, HostKey, OpenError, Rotation, RunStart, Writer,
};
use crate::mask::Masker;
use crate::masking::Masking;
use crate::model::{Raw, RunId};
use crate::pipeline::{Ending, Hooks, Pipeline, Setup, Summary};
use crate::policy::Policy;
use crate::signals::Signals;
use crate::spawn::{self, Child, Ended, User};

/// The default ledger.
pub const LOG: &str = "/var/log/observer/ledger.jsonl";
/// The default place of the host's key.
pub const STATE: &str = "/var/lib/observer";
/// The policy that is used where none is named and this one is there.
pub const POLICY: &str = "/etc/observer/policy.toml";
/// How often escaped processes are counted while they alone keep a run open.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// What a run is to be.
pub struct Settings {
    /// The agent's name.
    pub name: String,
    /// The policy's file.
    pub policy: Option<PathBuf>,
    /// The ledger's file; none for the default, or one of the run's own where that is in use.
    pub log: Option<PathBuf>,
    /// Where the host's key is.
    pub state: PathBuf,
    /// How it is masked.
    pub masking: Masking,
    /// Where checkpoints are taken.
    pub elsewhere: Vec<Elsewhere>,
    /// When the host's key is replaced.
    pub epochs: Epochs,
    /// When the ledger's file is closed and another begun.
    pub rotation: Rotation,
    /// Whether the agent is stopped while the ledger can't be written.
    pub freeze: bool,
    /// Leave out trampolines.
    pub no_trampolines: bool,
}

/// A run that is ready to begin: all that can fail before it has been tried.
struct Prepared {
    run: RunId,
    mount: Mount,
    policy: Option<Policy>,
    kernel: Kernel,
    writer: Writer,
    masker: Masker,
    log: PathBuf,
    made: Made,
}

/// What an observed command came to.
#[derive(Debug)]
pub struct Outcome {
    /// What `observer run` returns.
    pub code: i32,
    /// What was seen and kept.
    pub summary: Summary,
}

fn as_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("observer must be root: it attaches programs to the kernel; try `sudo observer …`");
    }
    Ok(())
}

fn prepare(settings: &Settings, mount: Mount) -> Result<Prepared> {
    let policy = load_policy(settings.policy.as_deref())?;
    clear_stale(&mount);
    let tables = policy.as_ref().map(Policy::tables);
    let options = Options { tables, no_trampolines: settings.no_trampolines };
    let kernel = Kernel::load(&options)?;
    let run = RunId::generate();
    let (host, host_key) = host_key(settings)?;
    let mut made = Made { host_key, mask_key: None };
    let print = host.public().fingerprint();
    let opened = open_ledger(settings, host, run);
    let (mut writer, log) = opened.inspect_err(|_| made.forget(settings))?;
    writer.rotate_at(settings.rotation);
    writer.replace_key_at(settings.epochs);
    let masker = settings.masking.masker(&settings.state);
    let masker = masker.inspect_err(|_| made.undo(settings, &log))?;
    made.mask_key = Some(masker.key_id().to_owned());
    if made.host_key {
        eprintln!("observer: made this host's key in {}: {print}", settings.state.display());
    }
    Ok(Prepared { run, mount, policy, kernel, writer, masker, log, made })
}

/// What a start made, to be taken away again where it comes to nothing.
#[derive(Clone, Debug)]
struct Made {
    /// Whether the host's key was made for it.
    host_key: bool,
    /// The key that its values would have been masked under.
    mask_key: Option<String>,
}

impl Made {
    /// Takes an empty ledger away, and the keys for it.
    fn undo(&self, settings: &Settings, log: &Path) {
        if std::fs::metadata(log).is_ok_and(|meta| meta.len() == 0) {
            let _ = std::fs::remove_file(log);
            self.forget(settings);
        }
    }

    fn forget(&self, settings: &Settings) {
        settings.masking.forget(&settings.state, self.mask_key.as_deref(), self.host_key);
        if self.host_key {
            let _ = HostKey::forget(&settings.state);
        }
    }
}

fn load_policy(path: Option<&Path>) -> Result<Option<Policy>> {
    let path = match path {
        Some(path) => path,
        None if Path::new(POLICY).exists() => Path::new(POLICY),
        None => return Ok(None),
    };
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read the policy {}", path.display()))?;
    match Policy::parse(&text) {
        Ok(policy) => Ok(Some(policy)),
        Err(problems) => {
            let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("the policy {} does not hold:\n{}", path.display(), list.join("\n"))
        }
    }
}

/// The host's keys: those of the service manager where it has them, else the state directory's;
/// whether they were made now.
fn host_key(settings: &Settings) -> Result<(HostKey, bool)> {
    if let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY")
        && let Some(keys) = HostKey::from_credentials(Path::new(&dir), &settings.state)?
    {
        return Ok((keys, false));
    }
    Ok(HostKey::open_or_create(&settings.state)?)
}

fn open_ledger(settings: &Settings, host: HostKey, run: RunId) -> Result<(Writer, PathBuf)> {
    let path = settings.log.clone().unwrap_or_else(|| LOG.into());
    let (writer, opened) = match Writer::open(&path, host) {
        Err(OpenError::Locked(_)) if settings.log.is_none() => {
            // Another run writes the default ledger: this one gets its own beside it.
            let own = path.with_file_name(format!("ledger-{run}.jsonl"));
            eprintln!("observer: {} is in use: writing {}", path.display(), own.display());
            let (host, _) = host_key(settings)?;
            return Ok((Writer::open(&own, host)?.0, own));
        }
        opened => opened?,
    };
    if let Some(torn) = opened.torn {
        eprintln!("observer: the ledger's end was torn: moved to {}", torn.display());
    }
    for run in opened.lost {
        eprintln!("observer: run {run} has no end in the ledger: its recorder was killed");
    }
    Ok((writer, path))
}

/// Takes away what a killed observer left, where its run is over; what still guards a living
/// agent stays, and is said.
fn clear_stale(mount: &Mount) {
    let living = |id: u64| {
        let path = mount.path_of_id(id).unwrap_or_default();
        let path =
            mount.path().join(OsString::from_vec(path.get(1..).unwrap_or_default().to_vec()));
        mount.path_of_id(id).is_some() && Cgroup::open(mount, &path).is_ok_and(|c| c.populated())
    };
    let (_, failed) = kernel::remove_stale(|guard| !living(guard.cgroup_id));
    for (guard, error) in failed {
        eprintln!("observer: cannot remove {}: {error}", guard.path.display());
    }
    for guard in kernel::guards().into_iter().filter(|guard| living(guard.cgroup_id)) {
        let held = mount.path_of_id(guard.cgroup_id).unwrap_or_default();
        let held = String::from_utf8_lossy(&held).into_owned();
        eprintln!(
            "observer: run {} in {held} lives on without its recorder, under its rules",
            guard.run
        );
    }
    let ours = std::fs::read_dir(mount.path().join("observer"));
    for entry in ours.into_iter().flatten().flatten() {
        // rmdir takes an empty cgroup alone; a busy one stays as it is. A run that another
        // observer is about to begin is younger than a minute.
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if age.is_some_and(|age| age > Duration::from_secs(60)) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// What the pipeline's finds change here.
struct Reactions {
    kernel: Arc<Mutex<Kernel>>,
    mount: Mount,
    cgroup: Option<PathBuf>,
    followed: Vec<u64>,
}

impl Hooks for Reactions {
    fn follow(&mut self, cgroup: u64) -> bool {
        if self.followed.contains(&cgroup) {
            return true;
        }
        let Ok(dir) = self.mount.open_id(cgroup) else { return false };
        let Ok(mut kernel) = self.kernel.lock() else { return false };
        match kernel.attach_sockets(dir.as_fd(), &format!("-{cgroup}")) {
            Ok(()) => {
                self.followed.push(cgroup);
                true
            }
            Err(error) => {
                eprintln!("observer: a process escaped, and its sockets can't be held: {error}");
                false
            }
        }
    }

    fn ledger(&mut self, works: bool) {
        if let Some(cgroup) = &self.cgroup {
            let frozen = if works { "0" } else { "1" };
            let _ = std::fs::write(cgroup.join("cgroup.freeze"), frozen);
        }
    }
}

/// A run under way.
struct Session {
    cgroup: Cgroup,
    kernel: Arc<Mutex<Kernel>>,
    pipeline: Pipeline,
    guarded: bool,
    freezes: bool,
}

fn begin(
    prepared: Prepared,
    settings: &Settings,
    cgroup: Cgroup,
    command: Option<&[OsString]>,
) -> Result<Session> {
    let Prepared { run, mount, policy, mut kernel, mut writer, mut masker, log, .. } = prepared;
    let guarded = policy.is_some();
    kernel.add_cgroup(cgroup.id())?;
    kernel.attach(run, cgroup.dir(), cgroup.id(), guarded)?;
    if command.is_none() {
        adopt(&mut kernel, &cgroup)?;
    }
    let hash = |policy: &Policy| HEXLOWER.encode(&policy.tables().sha256);
    let sha256 = policy.as_ref().map(hash);
    writer.admit(run, &settings.name, sha256.clone())?;
    writer.append(Entry::ObserverStart {
        at: clock::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        boot_id: clock::boot_id(),
    });
    let raw = |arg: &OsString| Raw::from(arg.as_bytes());
    writer.append(Entry::RunStart(RunStart {
        run,
        at: clock::now(),
        agent: settings.name.clone(),
        started_by: started_by(),
        cgroup: cgroup.relative().to_string_lossy().into_owned(),
        command: command.map(|argv| masker.command(&argv.iter().map(raw).collect::<Vec<_>>())),
        exe_sha256: command.and_then(|argv| argv.first()).and_then(hash_of),
        policy: sha256,
        attached: command.is_none(),
        enforcement: kernel.capabilities().words(),
    }));
    coverage(run, kernel.capabilities(), &mut writer);
    // Nothing of the agent runs before its run stands in the ledger.
    let begun = writer.commit();
    let begun = begun.with_context(|| format!("cannot begin the ledger {}", log.display()))?;
    let elsewhere = Carriers::start(&log, &settings.elsewhere)?;
    if let Some(note) = &begun.checkpoint {
        elsewhere.post(note);
    }
    let rings = kernel.rings()?;
    let meters = kernel.meters()?;
    let kernel = Arc::new(Mutex::new(kernel));
    let reactions = Reactions {
        kernel: Arc::clone(&kernel),
        mount: mount.clone(),
        cgroup: settings.freeze.then(|| cgroup.path().to_owned()),
        followed: vec![],
    };
    let rules = policy.iter().flat_map(|p| p.tables().rules.iter().map(|rule| rule.id.clone()));
    let pipeline = Pipeline::start(Setup {
        run,
        rings,
        meters,
        writer,
        elsewhere,
        masker,
        mount,
        rules: rules.collect(),
        hooks: Box::new(reactions),
    })?;
    Ok(Session { cgroup, kernel, pipeline, guarded, freezes: settings.freeze })
}

/// Labels what runs in a cgroup already, and what it forks meanwhile.
fn adopt(kernel: &mut Kernel, cgroup: &Cgroup) -> Result<()> {
    for id in cgroup.descendants() {
        kernel.add_cgroup(id)?;
    }
    // A fork between the list and the label is labelled by the fork's own hook, by its cgroup.
    for pid in cgroup.tasks() {
        kernel.label(pid)?;
    }
    Ok(())
}

fn coverage(run: RunId, found: &Capabilities, writer: &mut Writer) {
    let mut say = |what: &str, covered: bool, why: String| {
        let what = what.to_owned();
        writer.append(Entry::Coverage { run, at: clock::now(), what, covered, why });
    };
    if found.exec_denial == ExecDenial::Kill {
        let why = "no LSM hook here: a denied program is killed before its first instruction, and \
                   a script's path is judged as it was written";
        say("exec.denial", true, why.to_owned());
    }
    let why = "the ends of 32-bit system calls are not watched: an exec that fails in one is not \
               seen (one that is denied is)";
    say("exec.failure.32-bit", false, why.to_owned());
    if found.exec_exit == ExecExit::Tracepoint {
        let why = "no trampolines here: a connect through io_uring or a 32-bit system call that \
                   fails before it is on its way has no result, and one to a unix socket is not seen";
        say("connect.io_uring", false, why.to_owned());
    }
    let why = "connects to them are recorded; no rule holds them, and datagrams without a connect \
               are not seen";
    say("unix sockets", false, why.to_owned());
    for what in ["packet sockets", "vsock", "netlink"] {
        say(what, false, "this version has no hook for them".to_owned());
    }
    let why = "this version reads no payload: no names, requests or messages";
    say("dns, tls, http, mcp", false, why.to_owned());
}

fn started_by() -> u32 {
    let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    sudo.unwrap_or_else(|| rustix::process::getuid().as_raw())
}

/// SHA-256 of the file that a command names.
fn hash_of(command: &OsString) -> Option<String> {
    let mut file = std::fs::File::open(spawn::resolve(command)?).ok()?;
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(HEXLOWER.encode(hash.finish().as_ref())),
            Ok(n) => hash.update(buffer.get(..n)?),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

impl Session {
    fn live(&self) -> i64 {
        self.kernel.lock().ok().and_then(|kernel| kernel.live().ok()).unwrap_or(0)
    }

    /// Ends the run. Where processes of it live on under rules, the rules stay in force.
    fn end(self, why: String, exit: Option<i32>, leave: bool) -> Summary {
        let living = self.cgroup.populated();
        if let Ok(mut kernel) = self.kernel.lock() {
            if living && leave && self.guarded {
                if let Some(guard) = kernel.leave_guard() {
                    eprintln!(
                        "observer: {} keeps its deny rules in force for what still runs there; \
                         the next observer clears them away when it is empty",
                        guard.path.display()
                    );
                }
            } else {
                kernel.detach();
            }
        }
        if living && !(leave && self.guarded) {
            eprintln!(
                "observer: detached from {}: what runs there is no longer observed or held",
                self.cgroup.path().display()
            );
        }
        let summary = self.pipeline.finish(Ending { at: clock::now(), why, exit });
        if self.freezes && !summary.written {
            // Nobody would ever let it go on.
            let _ = self.cgroup.freeze(false);
        }
        if !living {
            // Its own, not one that was attached to.
            if self.cgroup.relative().starts_with("/observer")
                && let Err(error) = self.cgroup.remove()
            {
                eprintln!("observer: {error}");
            }
        }
        if !summary.written {
            eprintln!("observer: THE LEDGER IS NOT WHOLE: its last records could not be written");
        }
        summary
    }
}

/// Runs a command as an observed agent, to its end and that of all it leaves running.
pub fn run(
    settings: &Settings,
    argv: &[OsString],
    user: Option<User>,
    kill: bool,
) -> Result<Outcome> {
    let signals = Signals::take()?;
    as_root()?;
    let prepared = prepare(settings, Mount::find()?)?;
    let (log, made) = (prepared.log.clone(), prepared.made.clone());
    let cgroup = Cgroup::create(&prepared.mount, prepared.run);
    let cgroup = cgroup.inspect_err(|_| made.undo(settings, &log))?;
    let path = cgroup.path().to_owned();
    let begun = begin(prepared, settings, cgroup, Some(argv));
    let session = begun.inspect_err(|_| {
        let _ = std::fs::remove_dir(&path);
        made.undo(settings, &log);
    })?;
    let user = user.or_else(User::behind_sudo);
    let mut child = match spawn::spawn(argv, user, &session.cgroup) {
        Ok(child) => child,
        Err(error) => {
            session.end(format!("the command could not be started: {error}"), Some(126), false);
            return Err(error.into());
        }
    };
    if let Err(error) = child.open_gate()? {
        let name = argv.first().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
        eprintln!("observer: cannot run {}: {error}", name.escape_debug());
    }
    watch(session, &signals, &child, kill)
}

fn watch(session: Session, signals: &Signals, child: &Child, kill: bool) -> Result<Outcome> {
    let ended = match wait(&session, signals, Some(child))? {
        Waited::Child => child.wait()?,
        Waited::Empty | Waited::Stopped(_) => {
            // A second signal: the agent did not heed the first.
            let summary = session.end("stopped by a signal; the agent lives on".into(), None, true);
            return Ok(Outcome { code: 130, summary });
        }
    };
    let code = ended.code();
    let why = match ended {
        Ended::Exited(code) => format!("exit {code}"),
        Ended::Signaled(signal) => format!("signal {signal}"),
    };
    if kill && session.cgroup.populated() {
        session.cgroup.kill()?;
    }
    if !kill && session.cgroup.populated() {
        let left = session.cgroup.tasks().len();
        eprintln!(
            "observer: the command has ended ({why}); {left} of its processes still run in {}: \
             observing until they end (Ctrl-C stops observing, --kill would have ended them)",
            session.cgroup.path().display()
        );
    }
    let (why, leave) = match wait(&session, signals, None)? {
        Waited::Stopped(signal) => (format!("stopped by signal {signal}; processes live on"), true),
        Waited::Child | Waited::Empty => (why, false),
    };
    let summary = session.end(why, Some(code), leave);
    Ok(Outcome { code, summary })
}

/// Observes what runs in a cgroup, from now until it is empty or a signal comes.
pub fn attach(settings: &Settings, target: Target) -> Result<Outcome> {
    let signals = Signals::take()?;
    as_root()?;
    let mount = Mount::find()?;
    // Before anything is made: what can't be attached to leaves no key and no ledger.
    let cgroup = match target {
        Target::Path(path) => Cgroup::open(&mount, &path)?,
        Target::Pid(pid) => Cgroup::of_pid(&mount, pid)?,
    };
    let prepared = prepare(settings, mount)?;
    let (file, made) = (prepared.log.clone(), prepared.made.clone());
    let place = cgroup.path().display().to_string();
    let tasks = cgroup.tasks().len();
    let log = file.display();
    let begun = begin(prepared, settings, cgroup, None);
    let session = begun.inspect_err(|_| made.undo(settings, &file))?;
    eprintln!(
        "observer: attached to {place}: {tasks} processes, covered from now on; writing {log}"
    );
    let why = match wait(&session, &signals, None)? {
        Waited::Stopped(signal) => format!("stopped by signal {signal}"),
        Waited::Child | Waited::Empty => "its cgroup is empty".to_owned(),
    };
    let summary = session.end(why, None, false);
    Ok(Outcome { code: 0, summary })
}

/// What to attach to.
pub enum Target {
    /// A cgroup's directory.
    Path(PathBuf),
    /// The cgroup that a process is in.
    Pid(u32),
}

enum Waited {
    /// The command ended.
    Child,
    /// Nothing of the run lives.
    Empty,
    /// A signal said to stop.
    Stopped(i32),
}

/// Waits for the child to end, or without one for the run to be empty.
fn wait(session: &Session, signals: &Signals, child: Option<&Child>) -> Result<Waited> {
    // None where the cgroup is gone: nothing tells of it any more, and processes that left it
    // are counted.
    let mut events = session.cgroup.events().ok();
    let mut forwarded = 0;
    loop {
        // POLLPRI comes for changes since the last read: so the state is read before each wait.
        let populated = session.cgroup.populated();
        if child.is_none() && !populated && session.live() <= 0 {
            return Ok(Waited::Empty);
        }
        let never = child.is_some() || populated;
        let limit = Timespec { tv_sec: 0, tv_nsec: COUNT_EVERY.subsec_nanos().into() };
        let pidfd: Option<&OwnedFd> = child.map(Child::pidfd);
        let mut fds = vec![PollFd::new(signals.fd(), PollFlags::IN)];
        fds.extend(pidfd.map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(events.as_ref().map(|events| PollFd::new(events, PollFlags::PRI)));
        match poll(&mut fds, if never { None } else { Some(&limit) }) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
        let ended = child.is_some() && fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        while let Some(received) = signals.next() {
            let Some(child) = child else { return Ok(Waited::Stopped(received.signal)) };
            if received.from_terminal {
                continue; // the agent has it already
            }
            forwarded += 1;
            if forwarded > 1 {
                return Ok(Waited::Stopped(received.signal));
            }
            child.signal(received.signal);
            if session.freezes && session.cgroup.frozen() {
                eprintln!(
                    "observer: signal {} was passed on, and the agent is frozen until the ledger \
                     can be written; another signal stops observing, and lets it go on",
                    received.signal
                );
            }
        }
        if ended {
            return Ok(Waited::Child);
        }
        // A read of a removed cgroup's file fails, and a wait for it would never wait.
        if events.as_ref().is_some_and(|events| events.read_at(&mut [0; 256], 0).is_err()) {
            events = None;
        }
    }
}
