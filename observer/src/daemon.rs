//! A run from its beginning to its end: the only place that starts and stops things.

mod coverage;
mod hashes;
mod libraries;
mod prepare;
mod reactions;
mod reload;
mod wait;

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;

use crate::assemble::http::Capture;
use crate::cgroup::{Cgroup, Mount};
use crate::clock;
use crate::exec_hold::{ExecHold, Health};
use crate::hashes::sha256;
use crate::kernel::Kernel;
use crate::ledger::{Carriers, Elsewhere, Entry, Epochs, Rotation, RunStart};
use crate::masking::Masking;
use crate::model::{Raw, RunId};
use crate::pipeline::{Bindings, Ending, Held, Pipeline, Policies, Ruled, Setup, Summary};
use crate::policy::Policy;
use crate::signals::Signals;
use crate::spawn::{self, Child, Ended, User};
use libraries::Libraries;
use prepare::{Prepared, as_root, prepare, resolvers};
use reactions::Reactions;
use wait::{Waited, wait};

/// The default ledger.
pub const LOG: &str = "/var/log/observer/ledger.jsonl";
/// The default place of the host's key.
pub const STATE: &str = "/var/lib/observer";
/// Where each recorder with a policy says which process it is: `<run>.pid`.
pub const RECORDERS: &str = "/run/observer";
/// The policy that is used where none is named and this one is there.
pub const POLICY: &str = "/etc/observer/policy.toml";

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
    /// Which contents of HTTP messages are kept.
    pub capture: Capture,
    /// Where checkpoints are taken.
    pub elsewhere: Vec<Elsewhere>,
    /// When the host's key is replaced.
    pub epochs: Epochs,
    /// When the ledger's file is closed and another begun.
    pub rotation: Rotation,
    /// Whether the agent is stopped while the ledger can't be written.
    pub freeze: bool,
    /// Bytes of each ring that the kernel side tells in.
    pub ring: u32,
    /// Leave out trampolines.
    pub no_trampolines: bool,
}

/// What an observed command came to.
#[derive(Debug)]
pub struct Outcome {
    /// What `observer run` returns.
    pub code: i32,
    /// What was seen and kept.
    pub summary: Summary,
}

/// A run under way.
struct Session {
    run: RunId,
    cgroup: Cgroup,
    kernel: Arc<Mutex<Kernel>>,
    pipeline: Pipeline,
    policy: Option<reload::Source>,
    libraries: Libraries,
    /// In force while the policy has rules on hashes.
    hashes: RefCell<Option<ExecHold>>,
    healths: hashes::Healths,
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
    cgroup.claim()?;
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
    let by_hash = policy.as_ref().is_some_and(Policy::reads_hashes);
    coverage::say(run, kernel.capabilities(), by_hash, &mut writer);
    let rings = kernel.rings()?;
    let meters = kernel.meters()?;
    let kernel = Arc::new(Mutex::new(kernel));
    let (looked, healths) = (Health::default(), hashes::Healths::default());
    let (libraries, found, unheld) = libraries::watch(&kernel, looked.clone())?;
    for (place, why) in unheld.0 {
        let why = format!(
            "executables on the filesystem at {} are looked into as their process connects, not \
             before they run: {why}",
            place.display()
        );
        let what = "tls plaintext before a connect".to_owned();
        writer.append(Entry::Coverage { run, at: clock::now(), what, covered: false, why });
    }
    let (hashes, unheld) = hashes::hold(policy.as_ref(), &kernel, &healths)?;
    for (place, error) in unheld {
        let (why, what) = (hashes::without(&place, &error), "programs by hash".to_owned());
        writer.append(Entry::Coverage { run, at: clock::now(), what, covered: false, why });
    }
    if command.is_none() {
        cgroup.tasks().into_iter().for_each(|pid| libraries.asker().look(pid));
    }
    // Nothing of the agent runs before its run stands in the ledger.
    let begun = writer.commit();
    let begun = begun.with_context(|| format!("cannot begin the ledger {}", log.display()))?;
    if let Some(error) = &begun.trouble {
        eprintln!("observer: trouble beside the ledger: {error}");
    }
    let elsewhere = Carriers::start(&log, &settings.elsewhere)?;
    if let Some(note) = &begun.checkpoint {
        elsewhere.post(note);
    }
    let path = cgroup.path().to_owned();
    let reactions = Reactions::new(Arc::clone(&kernel), mount.clone(), path, settings.freeze);
    let scan = libraries.asker();
    let policies = Policies::default();
    let bindings = policy.as_ref().map(|_| Bindings::default());
    policies.add(
        1,
        policy.as_ref().map(hash),
        policy.as_ref().map(Policy::ids).unwrap_or_default(),
    );
    give_back();
    let setup = Setup {
        run,
        meters,
        writer,
        elsewhere,
        masker,
        mount,
        policies: policies.clone(),
        bindings: bindings.clone(),
        capture: settings.capture.clone(),
        hooks: Box::new(reactions),
        libraries: found,
        held: held(looked, &healths),
    };
    let pipeline = Pipeline::start(rings, Box::new(move |pid| scan.look(pid)), setup)?;
    if let (None, Some(policy)) = (command, policy) {
        let resolvers = resolvers(Some(&policy));
        pipeline.hold(Ruled { policy, resolvers, generation: 1 });
    }
    let policy = bindings.map(|bindings| reload::Source::new(run, settings, policies, bindings));
    let freezes = settings.freeze;
    let hashes = RefCell::new(hashes);
    Ok(Session {
        run,
        cgroup,
        kernel,
        pipeline,
        libraries,
        hashes,
        healths,
        policy,
        guarded,
        freezes,
    })
}

/// How it is told that execs which wait can't be looked into.
fn held(looked: Health, hashes: &hashes::Healths) -> Vec<Held> {
    let refused = "the kernel refuses execs of this host, since it can't hand their files over";
    let unhashed = "executables of the run have no hash, and are judged as unhashed-program";
    let told = |what, why, health| Held { what, why, health };
    vec![
        told("tls plaintext before a connect", refused, looked),
        told("execs held for their hash", refused, hashes.hold.clone()),
        told("programs by hash", unhashed, hashes.hashes.clone()),
    ]
}

/// Gives the memory back that start-up alone needed: the kernel's type information, above all.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and what is in use stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
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

fn started_by() -> u32 {
    let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    sudo.unwrap_or_else(|| rustix::process::getuid().as_raw())
}

/// SHA-256 of the file that a command names.
fn hash_of(command: &OsString) -> Option<String> {
    let file = std::fs::File::open(spawn::resolve(command)?).ok()?;
    sha256(&file).ok().map(|hash| HEXLOWER.encode(&hash))
}

impl Session {
    fn live(&self) -> i64 {
        self.kernel.lock().ok().and_then(|kernel| kernel.live().ok()).unwrap_or(0)
    }

    /// Ends the run. Where processes of it live on under rules, the rules stay in force.
    fn end(self, why: String, exit: Option<i32>, leave: bool) -> Summary {
        let living = self.cgroup.populated();
        self.libraries.end();
        drop(self.hashes.take());
        // While the hooks hold what is in their sockets.
        self.pipeline.over();
        if let Ok(mut kernel) = self.kernel.lock() {
            if living && leave && self.guarded {
                if let Some(guard) = kernel.leave_guard() {
                    eprintln!(
                        "observer: {} keeps its deny rules in force for what still runs there; \
                         the next observer clears them away when it is empty",
                        guard.path.display()
                    );
                }
            } else if living {
                kernel.detach();
            } else {
                kernel.let_go(self.run, self.cgroup.id());
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
    let prepared = prepare(settings, Mount::find()?, None)?;
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
    let prepared = prepare(settings, mount, cgroup.tasks().first().copied())?;
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
