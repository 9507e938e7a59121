//! Running a workload in a cgroup, with observer attached to it or not.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::peer::Peer;
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
    /// Its processor time from being attached until nothing is left to do.
    cpu: Duration,
    /// The same of its end: what was last, and the programs' way out of the kernel.
    end: Duration,
    /// Its peak resident memory.
    pub(super) peak_kib: u64,
}

impl Costs {
    pub(super) fn add(&mut self, other: &Self) {
        self.produced += other.produced;
        self.kept += other.kept;
        self.lost += other.lost;
        self.cpu += other.cpu;
        self.end += other.end;
        self.peak_kib = self.peak_kib.max(other.peak_kib);
    }

    /// Its processor time for each event, in microseconds; 0 where there was none.
    pub(super) fn cpu_us_each(&self) -> f64 {
        if self.produced == 0 { 0.0 } else { self.cpu.as_secs_f64() * 1e6 / self.produced as f64 }
    }

    /// Its processor time for the end of one of so many runs, in milliseconds.
    pub(super) fn end_ms_each(&self, runs: usize) -> f64 {
        self.end.as_secs_f64() * 1e3 / runs.max(1) as f64
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
        let mut last = CpuSet::new();
        last.set(cpus - 1);
        sched_setaffinity(None, &last).context("sched_setaffinity")?;
        Ok(Self { ctx, cgroup, keeper, gate, cpus })
    }

    /// Runs it as it is.
    pub(super) fn time(&self, workload: &Workload) -> Result<Duration> {
        self.timed(workload, &[], None)
    }

    /// Runs it with a peer: how long it took, and how many calls the peer told.
    pub(super) fn with_peer(
        &self,
        workload: &Workload,
        peer: &Peer,
    ) -> Result<(Duration, Option<u64>)> {
        let at_work = peer.start(&self.ctx.dir)?;
        let (before, port) = peer.changes();
        let took = self.timed(workload, before, port)?;
        Ok((took, at_work.end(&peer.name, workload.kind)?))
    }

    /// `before` stands in front of its command line; `port` takes the place of the one it goes to.
    fn timed(
        &self,
        workload: &Workload,
        before: &[OsString],
        port: Option<u16>,
    ) -> Result<Duration> {
        let agent = self.ctx.agent.clone().into_os_string();
        let mut words = before.to_vec();
        let processors = if workload.spread { self.cpus } else { 1 };
        words.extend([agent.clone(), "pinned".into(), "0".into(), processors.to_string().into()]);
        if workload.inside {
            words.extend([agent, "escape".into(), self.cgroup.path()?.into()]);
        }
        let mut own = workload.command.clone();
        if let (Some(at), Some(port)) = (workload.port, port)
            && let Some(place) = own.get_mut(at)
        {
            *place = port.to_string().into();
        }
        words.extend(own);
        let (program, rest) = words.split_first().context("no command")?;
        let mut command = command(Path::new(program));
        command.args(rest).stdout(Stdio::null());
        let began = Instant::now();
        let mut child = command.spawn().context(workload.name)?;
        let status = finished(&mut child, workload.name, PATIENCE)?;
        let took = began.elapsed();
        ensure!(status.success(), "{} ended with {status}", workload.name);
        Ok(took)
    }

    /// Attaches observer.
    pub(super) fn attach(&self, options: &[&str]) -> Result<Live> {
        let target = [&["--cgroup", self.cgroup.path()?], options].concat();
        let mut live = Live::attach_to(self.ctx, &target)?;
        live.until_said("attached to")?;
        Ok(live)
    }

    /// Runs it with observer attached.
    pub(super) fn observed(&self, workload: &Workload) -> Result<(Duration, Costs)> {
        let (took, costs, _) = self.observed_under(workload, &[])?;
        Ok((took, costs))
    }

    /// The same with more of observer's options; also how long it took to be attached.
    pub(super) fn observed_under(
        &self,
        workload: &Workload,
        options: &[&str],
    ) -> Result<(Duration, Costs, Duration)> {
        let began = Instant::now();
        let mut live = self.attach(options)?;
        let attached = began.elapsed();
        let before = running(live.pid())?;
        let took = self.time(workload)?;
        let idle = idle(live.pid())?;
        let peak_kib = peak(live.pid())?;
        let others = children()?;
        live.signal(Signal::TERM)?;
        let (code, said) = live.end()?;
        ensure!(code == Some(0), "observer ended with {code:?}: {said}");
        let cpu = idle.saturating_sub(before);
        let end = children()?.saturating_sub(others).saturating_sub(idle);
        let ledger = live.ledger()?;
        let ends = ledger.of_type("run.end");
        let last = ends.last().context("no run.end")?;
        let count = |what: &str| last["end"]["events"][what].as_u64().unwrap_or(0);
        let (produced, kept, lost) = (count("produced"), count("kept"), count("lost"));
        live.forget()?;
        Ok((took, Costs { produced, kept, lost, cpu, end, peak_kib }, attached))
    }

    pub(super) fn close(mut self) -> Result<()> {
        self.gate.open();
        finished(&mut self.keeper, "the keeper", PATIENCE)?;
        Ok(())
    }
}

/// The time that a process's threads have run (Documentation/scheduler/sched-stats.rst).
pub(super) fn running(pid: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

/// The same once it has nothing to do any more: in a twentieth of a second next to nothing.
fn idle(pid: u32) -> Result<Duration> {
    const LOOK: Duration = Duration::from_millis(50);
    const NOTHING: Duration = Duration::from_micros(500);
    let began = Instant::now();
    let mut before = running(pid)?;
    loop {
        std::thread::sleep(LOOK);
        let now = running(pid)?;
        if now.saturating_sub(before) < NOTHING {
            return Ok(now);
        }
        ensure!(began.elapsed() < PATIENCE, "observer is still at work");
        before = now;
    }
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
