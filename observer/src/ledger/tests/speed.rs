//! How fast a ledger is verified. A measurement, not a test: run it alone, with optimization.

use std::time::Instant;

use super::*;

/// A long ledger, written in groups of this many records.
fn long(place: &Place, records: u64, group: u64) -> u64 {
    let mut writer = place.writer();
    begin(&mut writer);
    let run = RunId::generate();
    writer.admit(run, "tester", None).unwrap();
    writer.append(start(run));
    let argv: Vec<Raw> =
        ["git", "-C", "/home/agent/work", "commit", "-m", "a message of some length"]
            .iter()
            .map(|arg| Raw::from(*arg))
            .collect();
    for n in 1..=records {
        writer.append(masked(call(run, n, argv.clone())));
        if n % group == 0 {
            writer.commit().unwrap();
        }
    }
    writer.append(end(run));
    writer.append(Entry::ObserverStop { at: at(10) });
    writer.commit().unwrap();
    fs::metadata(place.log()).unwrap().len()
}

#[test]
#[ignore = "a measurement: cargo test --release -p observer --lib verify_speed -- --ignored --nocapture"]
fn verify_speed() {
    for (records, group) in [(300_000, 2000), (300_000, 500), (60_000, 64)] {
        let place = Place::new();
        let bytes = long(&place, records, group);
        let key = Some(place.key().public());
        let open =
            || std::io::BufReader::with_capacity(1 << 20, fs::File::open(place.log()).unwrap());
        let began = Instant::now();
        let mut check = Check::new(Verifier::new(key)).unwrap();
        check.read(None, open(), |_| {}).unwrap();
        let report = check.finish();
        let took = began.elapsed().as_secs_f64();
        assert!(report.holds());
        let rate = report.records as f64 / took;
        println!(
            "groups of {group}: {} records, {} bytes each, {rate:.0} records/s",
            report.records,
            bytes / report.records
        );
    }
}
