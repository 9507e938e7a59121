//! Loading: the object of programs, its maps, and its attachments, for one run.

use std::os::fd::BorrowedFd;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSock, CgroupSockAddr, FExit, Lsm, ProgramError,
    ProgramFd, TracePoint,
};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use observer_common::{
    ArgKey, Config, Counters, Decision, Group, Label, Offsets, PortKey, ProgramKey, ProgramValue,
};
use thiserror::Error;

use super::btf::{BtfError, Types};
use super::pin::Guard;
use super::probe::{Capabilities, ExecDenial, ExecExit};
use super::ring::Rings;
use super::tables;
use crate::model::RunId;
use crate::policy::Tables;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-ebpf.o"));

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Members that a kernel may lack, with what is then not told.
const OPTIONAL: &[&str] = &["linux_binprm.fdpath"];

const TRACEPOINTS: [(&str, &str); 7] = [
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
    ("cgroup_attach", "cgroup_attach_task"),
    ("cgroup_made", "cgroup_mkdir"),
    ("cgroup_removed", "cgroup_rmdir"),
    ("sock_state", "inet_sock_set_state"),
];
const ADDRESS_HOOKS: [&str; 6] = ["connect4", "connect6", "sendmsg4", "sendmsg6", "bind4", "bind6"];
const FEXITS: [(&str, &str); 3] = [
    ("execve_exit", "__x64_sys_execve"),
    ("execveat_exit", "__x64_sys_execveat"),
    ("connect_exit", "__sys_connect_file"),
];
const SYSCALL_EXITS: [&str; 3] = ["sys_exit_execve", "sys_exit_execveat", "sys_exit_connect"];

/// Why the kernel side could not be put in place.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No BTF.
    #[error(
        "no BTF at {VMLINUX} ({0}): observer needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, \
         as the stock kernels of Debian, Ubuntu, Fedora and Arch are"
    )]
    NoBtf(#[source] std::io::Error),
    /// BTF that can't be read.
    #[error("{VMLINUX}: {0}")]
    Btf(#[from] BtfError),
    /// A member that is needed and not there.
    #[error("this kernel has no {0}, which observer needs: please report the kernel's version")]
    Member(String),
    /// A step that failed.
    #[error("cannot {step}{}", hint(source.as_ref()))]
    Step {
        /// What was tried.
        step: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn hint(source: &(dyn std::error::Error + Send + Sync + 'static)) -> &'static str {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.raw_os_error() == Some(libc::EPERM)
        {
            return " (root is needed, or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN)";
        }
        next = error.source();
    }
    ""
}

trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, LoadError>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, LoadError> {
        self.map_err(|e| LoadError::Step { step: step.into(), source: e.into() })
    }
}

/// What to load for.
pub struct Options<'a> {
    /// The policy's tables; none allows all.
    pub tables: Option<&'a Tables>,
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
    ebpf: Ebpf,
    capabilities: Capabilities,
    labels: HashMap<MapData, u32, Label>,
    cgroups: HashMap<MapData, u64, u32>,
    counters: Option<PerCpuArray<MapData, Counters>>,
    live: PerCpuArray<MapData, i64>,
    guard: Option<Guard>,
    links: Vec<FdLink>,
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
        let size = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
        let empty = Tables::default();
        let t = options.tables.unwrap_or(&empty);
        let programs = tables::programs(t);
        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", &offsets, true)
            .map_max_entries("SCRATCH", cpus)
            .map_max_entries("PREFIXES", size(t.prefixes.len()))
            .map_max_entries("PORTS", size(t.ports.len()))
            .map_max_entries("PROGRAMS", size(programs.len()))
            .map_max_entries("ARGS", size(t.args.len()))
            .map_max_entries("GROUPS", size(t.groups.len()))
            .load(OBJECT)
            .step("create the maps")?;
        let btf = Btf::from_sys_fs().step("read the kernel's BTF")?;
        let capabilities = load_programs(&mut ebpf, &btf, &types, options.no_trampolines)?;
        let lsm = capabilities.exec_denial == ExecDenial::Lsm;
        let config = tables::config(options.tables, lsm, true);
        let mut kernel = Self {
            labels: take(&mut ebpf, "LABELS")?,
            cgroups: take(&mut ebpf, "CGROUPS")?,
            counters: Some(take(&mut ebpf, "COUNTERS")?),
            live: take(&mut ebpf, "LIVE")?,
            ebpf,
            capabilities,
            guard: None,
            links: vec![],
            adopted: 0,
        };
        kernel.write_tables(t, &programs)?;
        let mut map: Array<MapData, Config> = take(&mut kernel.ebpf, "CONFIG")?;
        map.set(0, config, 0).step("write the run's configuration")?;
        Ok(kernel)
    }

    fn write_tables(&mut self, t: &Tables, programs: &[tables::Program]) -> Result<(), LoadError> {
        let what = "write the policy's tables";
        let mut prefixes: LpmTrie<MapData, [u8; 16], u32> = take(&mut self.ebpf, "PREFIXES")?;
        for p in &t.prefixes {
            prefixes.insert(&Key::new(u32::from(p.len), p.addr), p.set, 0).step(what)?;
        }
        let mut ports: HashMap<MapData, PortKey, Decision> = take(&mut self.ebpf, "PORTS")?;
        for (key, value) in tables::ports(t) {
            ports.insert(key, value, 0).step(what)?;
        }
        let mut map: HashMap<MapData, ProgramKey, ProgramValue> = take(&mut self.ebpf, "PROGRAMS")?;
        for (key, value) in programs {
            map.insert(key, value, 0).step(what)?;
        }
        let mut args: HashMap<MapData, ArgKey, u32> = take(&mut self.ebpf, "ARGS")?;
        for (key, bit) in tables::args(t) {
            args.insert(key, bit, 0).step(what)?;
        }
        let mut groups: HashMap<MapData, u32, Group> = take(&mut self.ebpf, "GROUPS")?;
        for (id, group) in tables::groups(t) {
            groups.insert(id, group, 0).step(what)?;
        }
        Ok(())
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
        let idle: Array<MapData, u32> = take(&mut self.ebpf, "IDLE")?;
        Ok(Rings::new(events, control, idle))
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

    /// Attaches everything, the socket hooks to `cgroup`, pinned under the run's name where
    /// `pinned`, so that the rules outlive this process.
    pub fn attach(
        &mut self,
        run: RunId,
        cgroup: BorrowedFd<'_>,
        cgroup_id: u64,
        pinned: bool,
    ) -> Result<(), LoadError> {
        if pinned {
            let guard =
                Guard::create(run, cgroup_id).step("make a place for pins under /sys/fs/bpf")?;
            self.guard = Some(guard);
        }
        let attached = self.attach_all(cgroup);
        if attached.is_err() {
            self.detach();
        }
        attached
    }

    fn attach_all(&mut self, cgroup: BorrowedFd<'_>) -> Result<(), LoadError> {
        for (name, function) in TRACEPOINTS {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
            let id = program.attach().step(format!("attach to {function}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            self.hold(name, link.into())?;
        }
        self.attach_exits()?;
        self.attach_sockets(cgroup, "")
    }

    fn attach_exits(&mut self) -> Result<(), LoadError> {
        if self.capabilities.exec_denial == ExecDenial::Lsm {
            let program: &mut Lsm = program(&mut self.ebpf, "bprm_check")?;
            let id = program.attach().step("attach to lsm/bprm_check_security")?;
            let link = program.take_link(id).step("hold the link of bprm_check")?;
            self.hold("bprm_check", link.into())?;
        }
        if self.capabilities.exec_exit == ExecExit::Fexit {
            for (name, function) in FEXITS {
                let program: &mut FExit = program(&mut self.ebpf, name)?;
                let id = program.attach().step(format!("attach to the end of {function}"))?;
                let link = program.take_link(id).step(format!("hold the link of {name}"))?;
                self.hold(name, link.into())?;
            }
            return Ok(());
        }
        mount_tracefs().step("mount tracefs at /sys/kernel/tracing")?;
        for name in SYSCALL_EXITS {
            let program: &mut TracePoint = program(&mut self.ebpf, name)?;
            let id = program
                .attach("syscalls", name)
                .step(format!("attach to tracepoint syscalls/{name}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            let link = FdLink::try_from(link).step(format!("hold the link of {name}"))?;
            self.hold(name, link)?;
        }
        Ok(())
    }

    /// Attaches the socket hooks to a cgroup: the run's own, or one that a process escaped to,
    /// where they act on labelled processes alone.
    pub fn attach_sockets(
        &mut self,
        cgroup: BorrowedFd<'_>,
        suffix: &str,
    ) -> Result<(), LoadError> {
        let mode = CgroupAttachMode::Single;
        for name in ADDRESS_HOOKS {
            let program: &mut CgroupSockAddr = program(&mut self.ebpf, name)?;
            let id = program.attach(cgroup, mode).step(format!("attach cgroup/{name}"))?;
            let link = program.take_link(id).step(format!("hold the link of {name}"))?;
            let link = FdLink::try_from(link).step(format!("hold the link of {name}"))?;
            self.hold(&format!("{name}{suffix}"), link)?;
        }
        let program: &mut CgroupSock = program(&mut self.ebpf, "sock_create")?;
        let id = program.attach(cgroup, mode).step("attach cgroup/sock_create")?;
        let link = program.take_link(id).step("hold the link of sock_create")?;
        let link = FdLink::try_from(link).step("hold the link of sock_create")?;
        self.hold(&format!("sock_create{suffix}"), link)
    }

    /// Keeps a link: pinned where this run has a place for pins, and in any case in this process.
    fn hold(&mut self, name: &str, link: FdLink) -> Result<(), LoadError> {
        match &self.guard {
            Some(guard) => {
                let path = guard.path.join(name);
                let pinned = link.pin(&path).step(format!("pin {}", path.display()))?;
                self.links.push(FdLink::from(pinned));
            }
            None => self.links.push(link),
        }
        Ok(())
    }

    /// Leaves the pins, and with them the rules in force, when this process ends.
    pub fn leave_guard(&mut self) -> Option<Guard> {
        self.links.clear();
        self.guard.take()
    }

    /// Detaches everything and removes the pins.
    pub fn detach(&mut self) {
        if let Some(guard) = self.guard.take()
            && let Err(error) = guard.remove()
        {
            eprintln!("observer: cannot remove the pins at {}: {error}", guard.path.display());
        }
        self.links.clear();
    }
}

/// What was told, and what was lost, as the kernel side counts it.
pub struct Meters {
    counters: PerCpuArray<MapData, Counters>,
    programs: Vec<ProgramFd>,
}

impl Meters {
    /// The sums over all CPUs.
    pub fn counters(&self) -> Result<Counters, LoadError> {
        let slots = self.counters.get(&0, 0).step("read the counts of events")?;
        Ok(slots.iter().fold(Counters::default(), |sum, one| Counters {
            events: sum.events + one.events,
            control: sum.control + one.control,
            events_lost: sum.events_lost + one.events_lost,
            control_lost: sum.control_lost + one.control_lost,
            labels_lost: sum.labels_lost + one.labels_lost,
            scratch_busy: sum.scratch_busy + one.scratch_busy,
            flows_lost: sum.flows_lost + one.flows_lost,
            ids: sum.ids + one.ids,
        }))
    }

    /// Runs that the kernel left out since the program was running on that CPU already.
    pub fn missed(&self) -> u64 {
        super::probe::missed(self.programs.iter())
    }
}

fn offsets(types: &Types) -> Result<Offsets, LoadError> {
    let mut offsets = Offsets::missing();
    let mut missing = None;
    offsets.each(|structure, member, slot| match types.offset(structure, member) {
        Some(offset) => *slot = offset,
        None => {
            let name = format!("{structure}.{member}");
            if !OPTIONAL.contains(&name.as_str()) {
                missing = missing.take().or(Some(name));
            }
        }
    });
    missing.map_or(Ok(offsets), |name| Err(LoadError::Member(name)))
}

/// Loads each program, first choices first.
fn load_programs(
    ebpf: &mut Ebpf,
    btf: &Btf,
    types: &Types,
    no_trampolines: bool,
) -> Result<Capabilities, LoadError> {
    for (name, function) in TRACEPOINTS {
        let program: &mut BtfTracePoint = program(ebpf, name)?;
        program.load(function, btf).step(format!("load {name} (tp_btf/{function})"))?;
    }
    for name in ADDRESS_HOOKS {
        let program: &mut CgroupSockAddr = program(ebpf, name)?;
        program.load().step(format!("load cgroup/{name}"))?;
    }
    let sock_create: &mut CgroupSock = program(ebpf, "sock_create")?;
    sock_create.load().step("load cgroup/sock_create")?;

    let no_lsm = if no_trampolines {
        Some("left out on request".to_owned())
    } else {
        super::probe::lsm_missing().or_else(|| {
            let lsm: &mut Lsm = program(ebpf, "bprm_check").ok()?;
            // Attached once for a trial: some kernels load what they can't attach.
            let tried = lsm.load("bprm_check_security", btf).and_then(|()| lsm.attach());
            tried.and_then(|id| lsm.detach(id)).err().map(|e| chain(&e))
        })
    };
    let no_fexit = if no_trampolines {
        Some("left out on request".to_owned())
    } else {
        try_fexits(ebpf, btf, types).err().map(|e| chain(&e))
    };
    if no_fexit.is_some() {
        for name in SYSCALL_EXITS {
            let program: &mut TracePoint = program(ebpf, name)?;
            program.load().step(format!("load tracepoint/{name}"))?;
        }
    }
    Ok(Capabilities {
        exec_denial: if no_lsm.is_none() { ExecDenial::Lsm } else { ExecDenial::Kill },
        uring_results: no_fexit.is_none(),
        exec_exit: if no_fexit.is_none() { ExecExit::Fexit } else { ExecExit::Tracepoint },
        no_lsm,
        no_fexit,
    })
}

fn try_fexits(ebpf: &mut Ebpf, btf: &Btf, types: &Types) -> Result<(), LoadError> {
    for (name, function) in FEXITS {
        if !types.has_function(function) {
            return Err(LoadError::Member(format!("function {function}")));
        }
        let program: &mut FExit = program(ebpf, name)?;
        program.load(function, btf).step(format!("load fexit/{function}"))?;
        let id = program.attach().step(format!("attach fexit/{function}"))?;
        program.detach(id).step(format!("detach fexit/{function}"))?;
    }
    Ok(())
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = error.source();
    }
    let first = out.lines().next().unwrap_or_default();
    first.trim_end().trim_end_matches("Verifier output:").trim_end_matches(['.', ' ']).to_owned()
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let missing = || std::io::Error::other("the object lacks it");
    let program = ebpf.program_mut(name).ok_or_else(missing).step(format!("find {name}"))?;
    program.try_into().step(format!("use program {name}"))
}

fn take<M>(ebpf: &mut Ebpf, name: &str) -> Result<M, LoadError>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let missing = || std::io::Error::other("the object lacks it, or it was taken");
    let map = ebpf.take_map(name).ok_or_else(missing).step(format!("find map {name}"))?;
    map.try_into().step(format!("use map {name}"))
}

/// Mounts tracefs where it is missing: the syscall tracepoints' ids are read there.
fn mount_tracefs() -> std::io::Result<()> {
    const TRACING: &str = "/sys/kernel/tracing";
    if std::path::Path::new(TRACING).join("events").is_dir() {
        return Ok(());
    }
    let flags = rustix::mount::MountFlags::NOSUID
        | rustix::mount::MountFlags::NODEV
        | rustix::mount::MountFlags::NOEXEC;
    Ok(rustix::mount::mount("tracefs", TRACING, "tracefs", flags, None)?)
}

impl Drop for Kernel {
    /// An orderly end takes the pins away; a kill leaves them.
    fn drop(&mut self) {
        self.detach();
    }
}
