//! What the programs of all runs on this host cost those who run into them, as the kernel counts it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::Duration;

use aya::maps::loaded_maps;
use aya::programs::{ProgramInfo, loaded_programs};
use aya::sys::{Stats, enable_stats};

use super::error::{LoadError, Step};
use super::load::OBJECT;

/// What the kernel keeps of a name (BPF_OBJ_NAME_LEN, with its 0).
const NAME: usize = 15;

/// What one program cost while it was watched: all runs' copies of it together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCost {
    /// Its name in the object.
    pub name: String,
    /// How many copies are loaded.
    pub copies: u32,
    /// How often they ran.
    pub runs: u64,
    /// How long, in all. The kernel's counting takes its own time, which isn't in here.
    pub time: Duration,
}

/// What a program ran so far.
#[derive(Clone, Copy, Default)]
struct Count {
    runs: u64,
    time: Duration,
}

/// Has the kernel count while `wait` runs (BPF_ENABLE_STATS, Linux 5.8), and says what each of observer's
/// programs ran meanwhile; nothing where no run is observed on this host.
///
/// # Errors
/// When the kernel refuses to count, or to list its programs.
pub fn run_costs(wait: impl FnOnce()) -> Result<Vec<RunCost>, LoadError> {
    let ours = Ours::new()?;
    let counting = enable_stats(Stats::RunTime).step("have the kernel count")?;
    let before = ours.counts()?;
    wait();
    let after = ours.counts()?;
    drop(counting);
    let mut costs: BTreeMap<&str, RunCost> = BTreeMap::new();
    for (id, (name, now)) in after {
        // One that was loaded meanwhile has run nothing before.
        let then = before.get(&id).map_or(Count::default(), |(_, count)| *count);
        let cost = costs.entry(name).or_default();
        name.clone_into(&mut cost.name);
        cost.copies += 1;
        cost.runs += now.runs.saturating_sub(then.runs);
        cost.time += now.time.saturating_sub(then.time);
    }
    Ok(costs.into_values().collect())
}

/// How observer's programs are known among all that are loaded.
struct Ours {
    /// Names of programs, by what the kernel keeps of them.
    programs: HashMap<String, String>,
    maps: HashSet<String>,
}

impl Ours {
    fn new() -> Result<Self, LoadError> {
        let object = aya_obj::Object::parse(OBJECT).step("read the programs' names")?;
        let programs = object.programs.keys().map(|name| (kept(name).to_owned(), name.clone()));
        let maps = object.maps.keys().map(|name| kept(name).to_owned());
        Ok(Self { programs: programs.collect(), maps: maps.collect() })
    }

    /// What each of observer's programs ran so far, by the kernel's id of it.
    fn counts(&self) -> Result<HashMap<u32, (&str, Count)>, LoadError> {
        let mut maps = HashSet::new();
        for map in loaded_maps() {
            let Some(map) = there(map)? else { continue };
            if map.name_as_str().is_some_and(|name| self.maps.contains(name)) {
                maps.insert(map.id());
            }
        }
        let mut counts = HashMap::new();
        for program in loaded_programs() {
            let Some(program) = there(program)? else { continue };
            if let Some(name) = self.name(&program, &maps) {
                let count = Count { runs: program.run_count(), time: program.run_time() };
                counts.insert(program.id(), (name, count));
            }
        }
        Ok(counts)
    }

    /// The name of a program, if it is one of observer's: it has such a name, and no map but
    /// observer's.
    fn name(&self, program: &ProgramInfo, maps: &HashSet<u32>) -> Option<&str> {
        let name = self.programs.get(program.name_as_str()?)?;
        let used = program.map_ids().ok()??;
        (!used.is_empty() && used.iter().all(|id| maps.contains(id))).then_some(name)
    }
}

/// What is listed, or none where it was gone by the time it was looked at: then it is nobody's.
fn there<T, E: Error + Send + Sync + 'static>(
    listed: Result<T, E>,
) -> Result<Option<T>, LoadError> {
    let is_gone = |error: &(dyn Error + 'static)| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.raw_os_error() == Some(libc::ENOENT))
    };
    match listed {
        Ok(there) => Ok(Some(there)),
        Err(error) if successors(error.source(), |&error| error.source()).any(is_gone) => Ok(None),
        Err(error) => Err(error).step("list what is loaded"),
    }
}

/// What the kernel keeps of a name.
fn kept(name: &str) -> &str {
    name.get(..NAME).unwrap_or(name)
}
