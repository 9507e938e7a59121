//! How long a record takes: from the kernel's event until its line is on the disk, at a steady rate;
//! and what observer takes of a processor while nothing happens.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::process::Signal;
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde_json::{Value, json};

use super::observed::{Place, running};
use super::workload::Workloads;
use crate::harness::Ctx;

/// Connects a second: a call and its result each.
const RATE: u64 = 500;
/// How long a round takes, in seconds.
const SECONDS: u64 = 4;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// The last records are on the disk after so long, or they never will be.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures, and prints it.
pub(super) fn measure(
    ctx: &Ctx,
    place: &Place<'_>,
    them: &Workloads,
    rounds: usize,
    json: bool,
) -> Result<()> {
    let count = RATE * SECONDS;
    let paced = them.paced(ctx, count, RATE);
    let mut live = place.attach(&[])?;
    let mut times = vec![];
    for round in 0..rounds {
        eprintln!("latency: round {} of {rounds}", round + 1);
        let mut reader = Reader::new(live.log())?;
        let wanted = 2 * count as usize;
        let read = std::thread::scope(|scope| {
            let reading = scope.spawn(move || reader.read(wanted));
            place.time(&paced)?;
            reading.join().unwrap_or_else(|_| anyhow::bail!("the reader panicked"))
        });
        times.extend(read?);
    }
    eprintln!("latency: {} s of nothing", IDLE.as_secs());
    let (began, before) = (Instant::now(), running(live.pid())?);
    std::thread::sleep(IDLE);
    let ran = running(live.pid())?.saturating_sub(before);
    let idle = ran.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    live.signal(Signal::TERM)?;
    let (code, said) = live.end()?;
    ensure!(code == Some(0), "observer ended with {code:?}: {said}");

    times.sort_unstable();
    let at = |share: usize| {
        let place = (times.len().saturating_sub(1)) * share / 100;
        times.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let (p50, p99, most) = (at(50), at(99), at(100));
    if json {
        let figures = json!({
            "records": times.len(), "a_second": 2 * RATE,
            "p50_ms": p50, "p99_ms": p99, "max_ms": most, "idle_percent": idle,
        });
        println!("{figures}");
    } else {
        println!(
            "{} records, {} a second, from the kernel's event to the disk:",
            times.len(),
            2 * RATE
        );
        println!("p50 {p50:.1} ms, p99 {p99:.1} ms, most {most:.1} ms");
        println!("idle: {idle:.3} % of a processor");
    }
    Ok(())
}

/// Reads what is new in a ledger, as soon as it is there.
struct Reader {
    file: File,
    watch: rustix::fd::OwnedFd,
    /// A line that is not whole yet.
    rest: Vec<u8>,
}

impl Reader {
    fn new(ledger: &Path) -> Result<Self> {
        let mut file = File::open(ledger).with_context(|| ledger.display().to_string())?;
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("inotify")?;
        add_watch(&watch, ledger, WatchFlags::MODIFY).context("inotify")?;
        // What was there before is none of this round's.
        let mut rest = vec![];
        file.read_to_end(&mut rest)?;
        rest.drain(..rest.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1));
        Ok(Self { file, watch, rest })
    }

    /// How long so many records of connects took. What is new is synced here once more before the clock
    /// is read: it is on the disk then, whether or not observer has come that far.
    fn read(&mut self, wanted: usize) -> Result<Vec<Duration>> {
        let mut times = vec![];
        let mut told = [0; 4096];
        let mut heard = Instant::now();
        while times.len() < wanted {
            let mut fds = [PollFd::new(&self.watch, PollFlags::IN)];
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            if poll(&mut fds, Some(&second))? == 0 {
                let missing = wanted - times.len();
                ensure!(heard.elapsed() < PATIENCE, "{missing} records never came");
                continue;
            }
            while rustix::io::read(&self.watch, &mut told).is_ok_and(|n| n > 0) {}
            self.file.read_to_end(&mut self.rest)?;
            rustix::fs::fdatasync(self.file.as_fd())?;
            let now = boottime();
            heard = Instant::now();
            let whole = self.rest.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            for line in self.rest.drain(..whole).as_slice().split(|&b| b == b'\n') {
                times.extend(event(line).map(|then| now.saturating_sub(then)));
            }
        }
        Ok(times)
    }
}

/// When the event was that a line tells of, where that is a connect or its result.
fn event(line: &[u8]) -> Option<Duration> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let record = &line["rec"];
    let is_call = matches!(record["type"].as_str()?, "call" | "result");
    let ns = record["mono"].as_str()?.parse().ok()?;
    (is_call && record["kind"] == "connect").then(|| Duration::from_nanos(ns))
}

/// The kernel's clock for events.
fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_and_their_results_alone_are_timed() {
        let line = |kind: &str, of: &str| {
            format!(r#"{{"rec":{{"kind":"{kind}","mono":"1500","type":"{of}"}}}}"#)
        };
        for (kind, of, timed) in [
            ("connect", "call", true),
            ("connect", "result", true),
            ("exec", "call", false),
            ("connect", "loss", false),
        ] {
            let time = event(line(kind, of).as_bytes());
            assert_eq!(time, timed.then(|| Duration::from_nanos(1500)), "{kind} {of}");
        }
        assert_eq!(event(b""), None);
    }
}
