//! What other runs cost: a connect and an exec, in no run and in one of their own, while more and more
//! runs are recorded beside them.

use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::observed::Place;
use super::workload::{Workload, Workloads};
use crate::harness::{Cgroup, Ctx, Gate, Live, PATIENCE, command, finished};

/// How many others there are. A tracepoint takes 64 programs (BPF_TRACE_MAX_PROGS), and where no
/// trampoline loads each run has one.
const RUNS: [usize; 4] = [0, 1, 10, 50];
/// The smallest rings: nobody acts there.
const OPTIONS: [&str; 2] = ["--ring-size", "1"];

/// A run in which nothing happens: somebody waits there. Its cgroup goes last.
struct Other {
    live: Live,
    gate: Gate,
    keeper: Child,
    _cgroup: Cgroup,
}

impl Other {
    fn start(ctx: &Ctx, n: usize) -> Result<Self> {
        let cgroup = Cgroup::new(&format!("scale-{n}"))?;
        let dir = ctx.dir.join(format!("other-{n}"));
        fs::create_dir_all(&dir)?;
        let (observer, agent) = (ctx.observer.clone(), ctx.agent.clone());
        let ctx = Ctx { observer, agent, quick: ctx.quick, name: ctx.name, dir };
        let fifo = ctx.fifo("keeper")?;
        let mut keeper = command(&ctx.agent);
        keeper.args(["escape", cgroup.path()?, ctx.agent()?, "wait-file", &fifo]);
        let keeper = keeper.spawn().context("the keeper")?;
        let gate = Gate::of(&fifo)?;
        let target = [&["--cgroup", cgroup.path()?][..], &OPTIONS].concat();
        let mut live = Live::attach_to(&ctx, &target)?;
        live.until_said("attached to")?;
        Ok(Self { live, gate, keeper, _cgroup: cgroup })
    }

    fn end(mut self) -> Result<()> {
        ensure!(self.live.runs()?, "a run ended before it was to: {}", self.live.stderr());
        self.live.signal(Signal::TERM)?;
        let (code, said) = self.live.end()?;
        ensure!(code == Some(0), "observer ended with {code:?}: {said}");
        self.gate.open();
        finished(&mut self.keeper, "the keeper", PATIENCE)?;
        Ok(())
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// What `rounds` of a workload take, in no run and in one, each the median in seconds.
fn both(place: &Place<'_>, workload: &Workload, rounds: usize) -> Result<[f64; 2]> {
    let (mut outside, mut inside) = (vec![], vec![]);
    for _ in 0..rounds {
        outside.push(place.time(workload)?);
        inside.push(place.observed(workload)?.0);
    }
    Ok([median(outside), median(inside)])
}

/// Measures, and prints a line each.
pub(super) fn measure(ctx: &Ctx, place: &Place<'_>, them: &Workloads, rounds: usize) -> Result<()> {
    let mut others = vec![];
    let mut first: Vec<[f64; 2]> = vec![];
    println!(
        "{:>6} {:<10} {:>10} {:>10}   as a multiple of none",
        "runs", "", "outside", "in a run"
    );
    for runs in RUNS {
        while others.len() < runs {
            eprintln!("run {} of {runs}", others.len() + 1);
            others.push(Other::start(ctx, others.len())?);
        }
        for (n, name) in ["connect", "exec"].into_iter().enumerate() {
            let workload = them.all.iter().find(|one| one.name == name).context("a workload")?;
            let took = both(place, workload, rounds)?;
            if runs == 0 {
                first.push(took);
            }
            let of = first.get(n).copied().unwrap_or(took);
            let each = took[0] / workload.count as f64 * 1e6;
            println!(
                "{runs:>6} {name:<10} {:>10.2} {:>10.2}   ({each:.1} µs outside)",
                took[0] / of[0],
                took[1] / of[1],
            );
        }
    }
    others.into_iter().try_for_each(Other::end)
}
