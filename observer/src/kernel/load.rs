//! Loading: the object of programs and its maps, for one run.

use std::net::IpAddr;
use std::sync::Arc;

use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::links::FdLink;
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use observer_common::{Counters, FileKey, Label, NetKey};

use super::banks::Banks;
use super::btf::Types;
use super::doors;
use super::error::{LoadError, Step};
use super::meters::Meters;
use super::pin::Guard;
use super::probe::{Capabilities, ExecDenial};
use super::programs::{VMLINUX, load_programs, offsets};
use super::ring::Rings;
use super::tables;
use crate::model::Answered;
use crate::policy::Tables;

pub(super) static OBJECT: &[u8] =
    include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-ebpf.o"));

/// Bytes of a ring where nothing else is said.
pub const RING: u32 = 16 << 20;
/// The least that a ring may have: the largest event has a place in it, and others beside it.
const RING_LEAST: u32 = 1 << 20;

/// What to load for.
pub struct Options<'a> {
    /// The policy's tables; none allows all.
    pub tables: Option<&'a Tables>,
    /// A process whose mount namespace is the agent's, where that runs already.
    pub agent: Option<u32>,
    /// The resolvers whose answers bind names.
    pub resolvers: &'a [IpAddr],
    /// The network namespaces, by cookie, in which those addresses are theirs.
    pub networks: &'a [u64],
    /// Bytes of the rings of calls and of payload, each: a power of two, a page at least. The control
    /// ring has a quarter of it.
    pub ring: u32,
    /// Leave out trampolines (LSM, fexit), so that what stands in for them can be tried.
    pub no_trampolines: bool,
}

/// A loaded program.
#[derive(Clone, Debug)]
pub struct ProgramCost {
    /// Its name in the object.
    pub name: String,
    /// Instructions that the verifier looked at, of the million that it would
    /// (BPF_COMPLEXITY_LIMIT_INSNS); 0 where the kernel doesn't tell (before 5.16).
    pub verified: u32,
}

/// The programs of one run, loaded and attached.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) capabilities: Capabilities,
    labels: HashMap<MapData, u32, Label>,
    cgroups: HashMap<MapData, u64, u32>,
    counters: Option<PerCpuArray<MapData, Counters>>,
    live: PerCpuArray<MapData, i64>,
    resolvers: HashMap<MapData, NetKey, u32>,
    files: HashMap<MapData, FileKey, [u32; 8]>,
    banks: Banks,
    pub(super) guard: Option<Guard>,
    pub(super) links: Vec<FdLink>,
    /// The doors' hooks that are attached; none before any are.
    pub(super) doors_held: Option<Vec<&'static str>>,
    /// Whether a policy of this run denied writing to cgroups.
    pub(super) cgroups_denied: bool,
    /// Processes that user space labelled: they ran before the hooks did.
    adopted: i64,
}

impl Kernel {
    /// Loads the programs and writes the policy's tables. Nothing is attached yet.
    pub fn load(options: &Options<'_>) -> Result<Self, LoadError> {
        let blob = std::fs::read(VMLINUX).map_err(LoadError::NoBtf)?;
        let types = Types::parse(&blob)?;
        let offsets = offsets(&types)?;
        let cpus = aya::util::nr_cpus().map_err(|(path, e)| (path.to_owned(), e));
        let cpus = cpus.map_err(|(path, e)| std::io::Error::new(e.kind(), format!("{path}: {e}")));
        let cpus = cpus.step("count the CPUs")? as u32;
        let networks = u32::try_from(options.networks.len()).unwrap_or(u32::MAX);
        let control = (options.ring / 4).max(RING_LEAST);
        let marks = [u64::from(options.ring / 4), u64::from(control / 4)];
        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", &offsets, true)
            .override_global("RING_MARKS", &marks, true)
            .map_max_entries("EVENTS", options.ring)
            .map_max_entries("PAYLOAD", options.ring)
            .map_max_entries("CONTROL", control)
            .map_max_entries("SCRATCH", cpus)
            .map_max_entries("DNS", 2 * cpus)
            .map_max_entries("NETWORKS", networks.max(1))
            .load(OBJECT)
            .step("create the maps")?;
        let btf = Btf::from_sys_fs().step("read the kernel's BTF")?;
        let mounts = [mounts_of(None)?, mounts_of(options.agent)?];
        let capabilities = load_programs(&mut ebpf, &btf, &types, options.no_trampolines)?;
        let lsm = capabilities.exec_denial == ExecDenial::Lsm;
        let mut kernel = Self {
            labels: take(&mut ebpf, "LABELS")?,
            cgroups: take(&mut ebpf, "CGROUPS")?,
            counters: Some(take(&mut ebpf, "COUNTERS")?),
            live: take(&mut ebpf, "LIVE")?,
            resolvers: take(&mut ebpf, "RESOLVERS")?,
            files: take(&mut ebpf, "FILES")?,
            banks: Banks::new(&mut ebpf, OBJECT, lsm, mounts)?,
            ebpf,
            capabilities,
            guard: None,
            links: vec![],
            doors_held: None,
            cgroups_denied: false,
            adopted: 0,
        };
        let mut networks: HashMap<MapData, u64, u32> = take(&mut kernel.ebpf, "NETWORKS")?;
        for cookie in options.networks {
            networks.insert(cookie, 1, 0).step("name the run's network")?;
        }
        kernel.trust(options.resolvers)?;
        kernel.install(options.tables, &[])?;
        Ok(kernel)
    }

    /// Lets a policy decide from now on, with the resolvers that it trusts: both or neither. It
    /// knows of the `answers` that came before, the oldest first. Returns its generation.
    pub fn replace(
        &mut self,
        policy: &Tables,
        resolvers: &[IpAddr],
        answers: &[Arc<Answered>],
    ) -> Result<u32, LoadError> {
        // What can't be held is known before anything is changed.
        self.capabilities.doors.held(policy)?;
        let known: Vec<(NetKey, u32)> = self.resolvers.iter().filter_map(Result::ok).collect();
        let taken = self.trust(resolvers).and_then(|()| {
            let trusted = |answered: &Arc<Answered>| self.is_believed(answered);
            let answers: Vec<_> = answers.iter().map(|a| (&**a, trusted(a))).collect();
            self.install(Some(policy), &answers)
        });
        if taken.is_err() {
            self.trust_again(&known)?;
        }
        taken
    }

    /// Binds an answer that came before the policy which decides did.
    pub fn bind(&mut self, answered: &Answered) -> Result<(), LoadError> {
        self.banks.bind(answered, self.is_believed(answered))
    }

    /// Whether an answer's resolver was believed as it came, and is.
    fn is_believed(&self, answered: &Answered) -> bool {
        let server = tables::net_key(answered.server);
        answered.trusted && self.resolvers.get(&server, 0).is_ok_and(|trust| trust != 0)
    }

    /// Believes whom it believed before.
    fn trust_again(&mut self, known: &[(NetKey, u32)]) -> Result<(), LoadError> {
        let what = "put back whose answers bind names";
        let there: Vec<NetKey> = self.resolvers.keys().filter_map(Result::ok).collect();
        for new in there.iter().filter(|key| known.iter().all(|(before, _)| before != *key)) {
            self.resolvers.remove(new).step(what)?;
        }
        // One that lost its trust comes back without it; of those that stayed nothing is written.
        for (gone, value) in known.iter().filter(|(key, _)| !there.contains(key)) {
            self.resolvers.insert(gone, value, 0).step(what)?;
        }
        Ok(())
    }

    /// Believes these resolvers about names from now on, and no others. One that a process of the
    /// run has answered for stays without trust.
    fn trust(&mut self, resolvers: &[IpAddr]) -> Result<(), LoadError> {
        const BPF_NOEXIST: u64 = 1;
        let what = "write whose answers bind names";
        let wanted: Vec<NetKey> = resolvers.iter().map(|addr| tables::net_key(*addr)).collect();
        let known: Vec<NetKey> = self.resolvers.keys().collect::<Result<_, _>>().step(what)?;
        for gone in known.iter().filter(|key| !wanted.contains(key)) {
            // One that the run itself has answered for is remembered: it may be wanted again.
            if self.resolvers.get(gone, 0).step(what)? != 0 {
                self.resolvers.remove(gone).step(what)?;
            }
        }
        for new in wanted.iter().filter(|key| !known.contains(key)) {
            self.resolvers.insert(new, 1, BPF_NOEXIST).step(what)?;
        }
        Ok(())
    }

    /// Lets a policy decide from now on; none allows all. Returns its generation, from 1. Where
    /// this fails, the one before goes on deciding.
    fn install(
        &mut self,
        policy: Option<&Tables>,
        answers: &[(&Answered, bool)],
    ) -> Result<u32, LoadError> {
        if let Some(policy) = policy {
            self.capabilities.doors.held(policy)?;
            self.cgroups_denied |= doors::cgroups_denied(policy);
            // A hook that nothing asked for so far, before what asks for it decides.
            if self.doors_held.is_some() {
                self.attach_doors()?;
            }
        }
        self.banks.install(policy, answers)
    }

    /// The generation of the policy that decides.
    pub fn generation(&self) -> u32 {
        self.banks.generation()
    }

    /// What the kernel could do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Each loaded program, and what the verifier had to look at before it let it in.
    pub fn programs(&self) -> Vec<ProgramCost> {
        let mut costs: Vec<_> = self
            .ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                let verified = info.verified_instruction_count().unwrap_or(0);
                Some(ProgramCost { name: name.to_owned(), verified })
            })
            .collect();
        costs.sort_by(|a, b| a.name.cmp(&b.name));
        costs
    }

    /// The rings, once.
    pub fn rings(&mut self) -> Result<Rings, LoadError> {
        let events: RingBuf<MapData> = take(&mut self.ebpf, "EVENTS")?;
        let control: RingBuf<MapData> = take(&mut self.ebpf, "CONTROL")?;
        let payload: RingBuf<MapData> = take(&mut self.ebpf, "PAYLOAD")?;
        let idle: Array<MapData, u32> = take(&mut self.ebpf, "IDLE")?;
        Ok(Rings::new(events, control, payload, idle))
    }

    /// Names a cgroup as the run's.
    pub fn add_cgroup(&mut self, id: u64) -> Result<(), LoadError> {
        self.cgroups.insert(id, 1, 0).step("name the run's cgroup")
    }

    /// Labels a process that runs already.
    pub fn label(&mut self, pid: u32) -> Result<(), LoadError> {
        const BPF_NOEXIST: u64 = 1;
        // One that is there already was labelled by a hook, and is counted as alive.
        match self.labels.insert(pid, Label::default(), BPF_NOEXIST) {
            Ok(()) => {
                // Apart from the kernel's counts: user space must not write into their slots.
                self.adopted += 1;
                Ok(())
            }
            Err(_) if self.labels.get(&pid, 0).is_ok() => Ok(()),
            Err(e) => Err(e).step(format!("label process {pid}")),
        }
    }

    /// Whether a process belongs to the run.
    pub fn is_labelled(&self, pid: u32) -> bool {
        self.labels.get(&pid, 0).is_ok()
    }

    /// Names a file's hash.
    pub fn hashed(&mut self, file: &FileKey, sha256: [u8; 32]) -> Result<(), LoadError> {
        let (words, _) = sha256.as_chunks::<4>();
        let mut value = [0; 8];
        value.iter_mut().zip(words).for_each(|(to, word)| *to = u32::from_ne_bytes(*word));
        self.files.insert(file, value, 0).step("name a program's hash")
    }

    /// Forgets a file's hash.
    pub fn unhashed(&mut self, file: &FileKey) {
        // One that is not there is forgotten.
        let _ = self.files.remove(file);
    }

    /// How many labelled processes live.
    pub fn live(&self) -> Result<i64, LoadError> {
        let slots = self.live.get(&0, 0).step("read the count of processes")?;
        Ok(slots.iter().sum::<i64>() + self.adopted)
    }

    /// The counts of what was told and what was lost, once.
    pub fn meters(&mut self) -> Result<Meters, LoadError> {
        let missing = || std::io::Error::other("it was taken");
        let counters = self.counters.take().ok_or_else(missing).step("use map COUNTERS")?;
        let fds = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        let programs: Result<Vec<_>, _> = fds.map(|fd| fd.try_clone()).collect();
        Ok(Meters { counters, programs: programs.step("hold the programs")? })
    }
}

/// The number of a process's mount namespace; without one, of this process's.
fn mounts_of(pid: Option<u32>) -> Result<u32, LoadError> {
    use std::os::unix::fs::MetadataExt;
    let path = match pid {
        Some(pid) => format!("/proc/{pid}/ns/mnt"),
        None => "/proc/self/ns/mnt".to_owned(),
    };
    let found = std::fs::metadata(&path).step(format!("tell the mount namespace at {path}"))?;
    // Numbers of namespaces are 32 bits (include/linux/ns_common.h).
    Ok(u32::try_from(found.ino()).unwrap_or(0))
}

pub(super) fn take<M>(ebpf: &mut Ebpf, name: &str) -> Result<M, LoadError>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let missing = || std::io::Error::other("the object lacks it, or it was taken");
    let map = ebpf.take_map(name).ok_or_else(missing).step(format!("find map {name}"))?;
    map.try_into().step(format!("use map {name}"))
}
