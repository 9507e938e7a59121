//! Running a workload in a cgroup, with observer attached to it or not.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::workload::Workload;
use crate::harness::{Cgroup, Ctx, Gate, Live, command, finished};

/// No round takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// What observer itself took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Costs {
    /// Events that the kernel side told.
    pub(super) produced: u64,
    /// Those that came.
    pub(super) kept: u64,
    /// Those that did not.
    pub(super) lost: u64,
    /// Its processor time from being attached to its end.
    cpu: Duration,
    /// Its peak resident memory.
    pub(super) peak_kib: u64,
}

impl Costs {
    pub(super) fn add(&mut self, other: &Self) {
        self.produced += other.produced;
        self.kept += other.kept;
        self.lost += other.lost;
        self.cpu += other.cpu;
        self.peak_kib = self.peak_kib.max(other.peak_kib);
    }

    /// Its processor time for each event, in microseconds; 0 where there was none.
    pub(super) fn cpu_us_each(&self) -> f64 {
        if self.produced == 0 { 0.0 } else { self.cpu.as_secs_f64() * 1e6 / self.produced as f64 }
    }
}

/// A cgroup to run workloads in, with somebody in it, so that it can be attached to.
pub(super) struct Place<'a> {
    ctx: &'a Ctx,
    // In the order of their ends: the keeper goes before the cgroup can.
    gate: Gate,
    keeper: Child,
    cgroup: Cgroup,
    cpus: usize,
}

impl<'a> Place<'a> {
    pub(super) fn new(ctx: &'a Ctx) -> Result<Self> {
        let cgroup = Cgroup::new("bench")?;
        let fifo = ctx.fifo("keeper")?;
        let mut keeper = command(&ctx.agent);
        keeper.args(["escape", cgroup.path()?, ctx.agent()?, "wait-file", &fifo]);
        let keeper = keeper.spawn().context("the keeper")?;
        let gate = Gate::of(&fifo)?;
        let cpus = std::thread::available_parallelism()?.get();
        // Whoever is reached, and observer, keep off the workload's processor.
        pin(None, cpus - 1)?;
        Ok(Self { ctx, cgroup, keeper, gate, cpus })
    }

    /// Runs it as it is.
    pub(super) fn time(&self, workload: &Workload) -> Result<Duration> {
        let mut command = command(&self.ctx.agent);
        if workload.inside {
            command.args(["escape", self.cgroup.path()?]).arg(&self.ctx.agent);
        }
        command.args(&workload.args);
        let began = Instant::now();
        let mut child = command.spawn().context(workload.name)?;
        if self.cpus > 1 {
            pin(Some(Pid::from_child(&child)), 0)?;
        }
        let status = finished(&mut child, workload.name, PATIENCE)?;
        let took = began.elapsed();
        ensure!(status.success(), "{} ended with {status}", workload.name);
        Ok(took)
    }

    /// Runs it with observer attached.
    pub(super) fn observed(&self, workload: &Workload) -> Result<(Duration, Costs)> {
        let mut live = Live::attach_to(self.ctx, &["--cgroup", self.cgroup.path()?])?;
        live.until_said("attached to")?;
        let before = running(live.pid())?;
        let took = self.time(workload)?;
        let peak_kib = peak(live.pid())?;
        let others = children()?;
        live.signal(Signal::TERM)?;
        let (code, said) = live.end()?;
        ensure!(code == Some(0), "observer ended with {code:?}: {said}");
        let cpu = children()?.saturating_sub(others).saturating_sub(before);
        let ledger = live.ledger()?;
        let ends = ledger.of_type("run.end");
        let end = ends.last().context("no run.end")?;
        let count = |what: &str| end["end"]["events"][what].as_u64().unwrap_or(0);
        let (produced, kept, lost) = (count("produced"), count("kept"), count("lost"));
        live.forget()?;
        Ok((took, Costs { produced, kept, lost, cpu, peak_kib }))
    }

    pub(super) fn close(mut self) -> Result<()> {
        self.gate.open();
        finished(&mut self.keeper, "the keeper", PATIENCE)?;
        Ok(())
    }
}

/// Keeps a process, or this one's thread and what it starts, on one processor.
fn pin(pid: Option<Pid>, cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(pid, &cpus).context("sched_setaffinity")
}

/// The time that a process's threads have run (Documentation/scheduler/sched-stats.rst).
fn running(pid: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

/// The time that children which were waited for have run.
fn children() -> Result<Duration> {
    // SAFETY: a rusage is integers alone, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        ensure!(libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) == 0, "getrusage");
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

/// Its peak resident memory, in KiB (proc(5), VmHWM).
fn peak(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM")?;
    Ok(kib.trim().parse()?)
}
