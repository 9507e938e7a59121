//! Before a run: its policy, its keys, its ledger, its programs. All that can fail is tried here,
//! and what it made is taken away again where it comes to nothing.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{LOG, POLICY, Settings};
use crate::cgroup::{Cgroup, Mount};
use crate::kernel::{self, Kernel, Options};
use crate::ledger::{HostKey, OpenError, Writer};
use crate::mask::Masker;
use crate::model::RunId;
use crate::network;
use crate::policy::Policy;

/// A run that is ready to begin: all that can fail before it has been tried.
pub(super) struct Prepared {
    pub(super) run: RunId,
    pub(super) mount: Mount,
    pub(super) policy: Option<Policy>,
    pub(super) kernel: Kernel,
    pub(super) writer: Writer,
    pub(super) masker: Masker,
    pub(super) log: PathBuf,
    pub(super) made: Made,
}

pub(super) fn as_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("observer must be root: it attaches programs to the kernel; try `sudo observer …`");
    }
    Ok(())
}

/// `agent` is a process that runs already, of the cgroup that is attached to.
pub(super) fn prepare(settings: &Settings, mount: Mount, agent: Option<u32>) -> Result<Prepared> {
    let policy = load_policy(settings.policy.as_deref())?;
    clear_stale(&mount);
    let tables = policy.as_ref().map(Policy::tables);
    let networks = networks(agent);
    let options = Options {
        tables,
        agent,
        resolvers: &resolvers(policy.as_ref()),
        networks: &networks,
        ring: settings.ring,
        no_trampolines: settings.no_trampolines,
    };
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

/// Whose answers bind names: the host's resolvers and the policy's.
pub(super) fn resolvers(policy: Option<&Policy>) -> Vec<IpAddr> {
    let mut resolvers = network::resolvers();
    resolvers.extend(policy.iter().flat_map(|policy| policy.resolvers()));
    resolvers.sort_unstable();
    resolvers.dedup();
    resolvers
}

/// Where they are who they are: the network that the run begins in.
fn networks(member: Option<u32>) -> Vec<u64> {
    let cookie = network::cookie(member);
    let cookie = cookie.inspect_err(|error| {
        eprintln!("observer: no answer can bind a name: no cookie of the network: {error}");
    });
    cookie.into_iter().collect()
}

/// What a start made, to be taken away again where it comes to nothing.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// Whether the host's key was made for it.
    host_key: bool,
    /// The key that its values would have been masked under.
    mask_key: Option<String>,
}

impl Made {
    /// Takes an empty ledger away, and the keys for it.
    pub(super) fn undo(&self, settings: &Settings, log: &Path) {
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
    match path {
        Some(path) => read_policy(path).map(Some),
        None if Path::new(POLICY).exists() => read_policy(Path::new(POLICY)).map(Some),
        None => Ok(None),
    }
}

/// Reads a policy's file, or says what is wrong with it.
pub(super) fn read_policy(path: &Path) -> Result<Policy> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read the policy {}", path.display()))?;
    match Policy::parse(&text) {
        Ok(policy) => Ok(policy),
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
        let is_used = |cgroup: Cgroup| cgroup.populated() || cgroup.is_claimed();
        mount.path_of_id(id).is_some() && Cgroup::open(mount, &path).is_ok_and(is_used)
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
        // rmdir takes an empty cgroup alone; a busy one stays as it is. One that another observer
        // is just making is not claimed yet: it is younger than a minute.
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        let is_old = age.is_some_and(|age| age > Duration::from_secs(60));
        if is_old && Cgroup::open(mount, &entry.path()).is_ok_and(|cgroup| !cgroup.is_claimed()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
