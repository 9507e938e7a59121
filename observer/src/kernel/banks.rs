//! The policy in the kernel: two banks of tables, of which one is in use.
//!
//! A policy is written whole into the bank that is not, and then named as the one that decides:
//! the beginning of a run and a reload are the same. A program reads once which bank it asks, so
//! that the old policy or the new one decides a call, never none and never a mix of both.

use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, ArrayOfMaps, HashMap, MapData};
use aya::{Ebpf, Pod};
use observer_common::{
    ArgKey, BOUND_MAX, Bound, Config, Decision, Group, NameKey, NameValue, NetKey, PortKey,
    ProgramKey, ProgramValue, UnixPrefix,
};

use super::bound;
use super::doors;
use super::error::{LoadError, Step};
use super::load::take;
use super::shapes::Shapes;
use super::tables;
use crate::model::Answered;
use crate::policy::Tables;

/// Far more than a program runs for: the kernel bounds its instructions.
const LONG: Duration = Duration::from_millis(200);
const WHAT: &str = "write the policy's tables";

type Prefixes<K, V> = LpmTrie<MapData, K, V>;
type Keys<K, V> = HashMap<MapData, K, V>;
type Bank<M> = ArrayOfMaps<MapData, M>;

/// What decides: the banks, and the word that names one.
pub(super) struct Banks {
    active: Array<MapData, u32>,
    config: Array<MapData, Config>,
    prefixes: Bank<Prefixes<NetKey, u32>>,
    names: Bank<Prefixes<NameKey, NameValue>>,
    bound: Bank<Keys<NetKey, Bound>>,
    ports: Bank<Keys<PortKey, Decision>>,
    programs: Bank<Keys<ProgramKey, ProgramValue>>,
    args: Bank<Keys<ArgKey, u32>>,
    groups: Bank<Keys<u32, Group>>,
    system: Bank<Keys<u32, Decision>>,
    unix: Bank<Keys<ProgramKey, Decision>>,
    unix_prefixes: Bank<Prefixes<UnixPrefix, Decision>>,
    generation: u32,
    /// The names of the policy that decides.
    named: Option<bound::Names>,
    lsm: bool,
    mounts: [u32; 2],
    shapes: Shapes,
}

impl Banks {
    /// Takes the maps. Nothing decides yet.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        object: &[u8],
        lsm: bool,
        mounts: [u32; 2],
    ) -> Result<Self, LoadError> {
        let shapes = Shapes::new(object, ebpf)?;
        Ok(Self {
            active: take(ebpf, "ACTIVE")?,
            config: take(ebpf, "CONFIG")?,
            prefixes: take(ebpf, "PREFIXES")?,
            names: take(ebpf, "NAMES")?,
            bound: take(ebpf, "BOUND")?,
            ports: take(ebpf, "PORTS")?,
            programs: take(ebpf, "PROGRAMS")?,
            args: take(ebpf, "ARGS")?,
            groups: take(ebpf, "GROUPS")?,
            system: take(ebpf, "SYSTEM")?,
            unix: take(ebpf, "UNIX")?,
            unix_prefixes: take(ebpf, "UNIX_PREFIXES")?,
            generation: 0,
            named: None,
            lsm,
            mounts,
            shapes,
        })
    }

    /// The generation of the policy that decides.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Lets a policy decide from now on; none allows all. `answers` are those that came before, the
    /// oldest first, each with whether its resolver is believed. Returns its generation, from 1.
    /// Where this fails, the one before goes on deciding.
    pub(super) fn install(
        &mut self,
        policy: Option<&Tables>,
        answers: &[(&Answered, bool)],
    ) -> Result<u32, LoadError> {
        let generation = self.generation + 1;
        let mounts = self.mounts;
        let config = Config { generation, mounts, ..tables::config(policy, self.lsm) };
        let bank = config.bank();
        let empty = Tables::default();
        let t = policy.unwrap_or(&empty);
        let shapes = &self.shapes;
        let mut map: Prefixes<NetKey, u32> = shapes.make("PREFIXES", t.prefixes.len())?;
        for p in &t.prefixes {
            map.insert(&Key::new(u32::from(p.len), p.addr), p.set, 0).step(WHAT)?;
        }
        self.prefixes.set(bank, &map, 0).step(WHAT)?;
        let mut map: Prefixes<NameKey, NameValue> = shapes.make("NAMES", t.names.len())?;
        for (bits, key, value) in tables::names(t) {
            map.insert(&Key::new(bits, key), value, 0).step(WHAT)?;
        }
        self.names.set(bank, &map, 0).step(WHAT)?;
        let mut named = bound::Names::new(config, map, shapes.make("BOUND", BOUND_MAX)?);
        named.fill(answers)?;
        self.bound.set(bank, named.bound(), 0).step(WHAT)?;
        let ports = shapes.make("PORTS", t.ports.len())?;
        fill(&mut self.ports, bank, ports, tables::ports(t))?;
        let programs = tables::programs(t);
        let map = shapes.make("PROGRAMS", programs.len())?;
        fill(&mut self.programs, bank, map, programs.into_iter())?;
        let args = shapes.make("ARGS", t.args.len())?;
        fill(&mut self.args, bank, args, tables::args(t))?;
        let groups = shapes.make("GROUPS", t.groups.len())?;
        fill(&mut self.groups, bank, groups, tables::groups(t))?;
        self.install_doors(bank, t)?;
        self.config.set(bank, config, 0).step("write the run's configuration")?;
        self.active.set(0, generation, 0).step("let the policy decide")?;
        self.generation = generation;
        self.named = Some(named);
        // Whoever asks the other bank still must be through before that is written again.
        grace();
        Ok(generation)
    }
}

impl Banks {
    /// Binds an answer that came before the policy which decides did.
    pub(super) fn bind(&mut self, answered: &Answered, trusted: bool) -> Result<(), LoadError> {
        self.named.as_mut().map_or(Ok(()), |named| named.bind(answered, trusted))
    }

    fn install_doors(&mut self, bank: u32, t: &Tables) -> Result<(), LoadError> {
        let system = self.shapes.make("SYSTEM", t.system.len())?;
        fill(&mut self.system, bank, system, doors::system(t))?;
        let names = doors::names(t);
        let map = self.shapes.make("UNIX", names.len())?;
        fill(&mut self.unix, bank, map, names.into_iter())?;
        let starts = doors::starts(t);
        let mut map: Prefixes<UnixPrefix, Decision> =
            self.shapes.make("UNIX_PREFIXES", starts.len())?;
        for (bits, key, decision) in starts {
            map.insert(&Key::new(bits, key), decision, 0).step(WHAT)?;
        }
        self.unix_prefixes.set(bank, &map, 0).step(WHAT)
    }
}

/// Writes a table and puts it in a bank.
fn fill<K: Pod, V: Pod>(
    banks: &mut Bank<Keys<K, V>>,
    bank: u32,
    mut map: Keys<K, V>,
    entries: impl Iterator<Item = (K, V)>,
) -> Result<(), LoadError> {
    for (key, value) in entries {
        map.insert(key, value, 0).step(WHAT)?;
    }
    banks.set(bank, &map, 0).step(WHAT)
}

/// Waits until each program that runs now has ended: MEMBARRIER_CMD_GLOBAL is an RCU grace period
/// (kernel/sched/membarrier.c), and programs run inside of its readers. Kernels with `nohz_full`
/// have none: there a time passes that no program takes.
fn grace() {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: takes integers alone.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        std::thread::sleep(LONG);
    }
}
