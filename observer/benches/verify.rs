//! How many records a second are verified: of ledgers in large commit groups, where the last line
//! of a run is signed, and in small ones, where every line is.

mod common;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;

use common::begin;
use observer::clock;
use observer::ledger::{Check, Entry, Events, HostKey, Verifier, Writer};
use observer::mask::{MaskKey, Masker};
use observer::model::{
    Action, Call, CallId, Exec, Image, Process, ProcessId, Raw, RunId, Stamp, Verdict,
};

/// Times that each ledger is verified.
const ROUNDS: usize = 5;

fn main() {
    println!(
        "commit groups of     records     bytes each     records a second     processor, µs each"
    );
    for (records, group) in [(300_000, 2_000), (300_000, 500), (60_000, 64)] {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("ledger.jsonl");
        let (host, _) = HostKey::open_or_create(dir.path()).expect("a key");
        let key = host.public();
        write(&log, host, records, group);
        let (mut rates, mut costs) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            let file = File::open(&log).expect("the ledger");
            let (began, before) = (Instant::now(), processor());
            let mut check = Check::new(Verifier::new(Some(key))).expect("threads");
            check.read(None, BufReader::with_capacity(1 << 20, file), |_| {}).expect("the ledger");
            let report = check.finish();
            rates.push(report.records as f64 / began.elapsed().as_secs_f64());
            costs.push((processor() - before) / report.records as f64);
            assert!(report.holds(), "{report:?}");
        }
        rates.sort_by(f64::total_cmp);
        costs.sort_by(f64::total_cmp);
        let (median, cost) = (rates[ROUNDS / 2], costs[ROUNDS / 2]);
        let size = std::fs::metadata(&log).map_or(0, |m| m.len());
        println!("{group:>16} {records:>11} {:>14} {median:>20.0} {cost:>23.1}", size / records);
    }
}

/// Microseconds of processor time that this process has had, in all its threads.
fn processor() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

/// A run of this many calls, in groups of so many.
fn write(log: &Path, host: HostKey, records: u64, group: u64) {
    let (mut writer, _) = Writer::open(log, host).expect("a ledger");
    let run = RunId::generate();
    begin(&mut writer, run);
    let at = clock::now();
    let mut masker = Masker::new(MaskKey::generate().expect("randomness"));
    for n in 1..=records {
        writer.append(Entry::Call(Box::new(masker.call(call(run, n, at)))));
        if n % group == 0 {
            writer.commit().expect("a commit");
        }
    }
    let (why, events) = ("exit 0".to_owned(), Events::default());
    writer.append(Entry::RunEnd { run, at, why, exit: Some(0), events });
    writer.append(Entry::ObserverStop { at });
    writer.commit().expect("a commit");
}

fn call(run: RunId, n: u64, at: Stamp) -> Call {
    let argv = ["git", "-C", "/home/agent/work", "commit", "-m", "a message of some length"];
    Call {
        id: CallId { run, n },
        at,
        parent: None,
        verdict: Verdict::Allowed { rule: None },
        process: Process {
            id: ProcessId([7; 16]),
            pid: 4242,
            ppid: 4200,
            uid: 1000,
            exe: Raw::from("/usr/bin/git"),
            comm: Raw::from("git"),
            cgroup: Raw::from("/observer/bench"),
            container: None,
        },
        action: Action::Exec(Exec {
            path: Raw::from("/usr/bin/git"),
            filename: Raw::from("/usr/bin/git"),
            interpreter: None,
            argv: argv.map(Raw::from).into(),
            cwd: Raw::from("/home/agent/work"),
            image: Image::File,
        }),
        outcome: None,
        cuts: vec![],
    }
}
