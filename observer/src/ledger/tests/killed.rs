//! kill -9 of a recorder under load, at any moment: what it said was kept is there.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

const DIR: &str = "OBSERVER_TEST_LEDGER_DIR";
const KILLS: u32 = 200;

/// The recorder: this program once more, told by the environment where to write. After each
/// group that is synced it says how many records there are.
#[test]
#[ignore = "the other half of a_recorder_that_is_killed_under_load_keeps_what_it_acknowledged"]
fn recorder() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let key = HostKey::open_or_create(&dir.join("state")).unwrap().0;
    let (mut writer, opened) = Writer::open(&dir.join("ledger.jsonl"), key).unwrap();
    begin(&mut writer);
    let mut records = opened.records;
    let mut n = 0;
    loop {
        let run = RunId::generate();
        writer.admit(run, "tester", None).unwrap();
        writer.append(start(run));
        for group in 1..20u64 {
            // Small groups, where each line is signed, and large ones.
            for _ in 0..group * 13 % 150 {
                n += 1;
                writer.append(masked(call(run, n, vec![Raw::from("x")])));
            }
            if group == 19 {
                writer.append(end(run));
            }
            records += writer.commit().unwrap().records as u64;
            println!("kept {records}");
        }
    }
}

#[test]
fn a_recorder_that_is_killed_under_load_keeps_what_it_acknowledged() {
    let place = Place::new();
    place.key();
    let mut torn = 0;
    let mut random = 7u64;
    for kill in 0..KILLS {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "ledger::tests::killed::recorder", "--ignored", "--nocapture"]);
        command.env(DIR, place.dir.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        // It begins with its first word; the moment after that is anybody's.
        let mut line = String::new();
        while !line.contains("kept ") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "kill {kill}: it ended by itself");
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = line;
        said.read_to_string(&mut rest).unwrap();
        let whole = rest.lines().filter(|line| rest.contains(&format!("{line}\n")));
        let kept = whole.filter_map(|line| line.split("kept ").nth(1)?.parse::<u64>().ok()).max();

        let (mut writer, opened) = Writer::open(&place.log(), place.key()).unwrap();
        assert!(opened.records >= kept.unwrap(), "kill {kill}: {kept:?} were acknowledged");
        torn += u32::from(opened.torn.is_some());
        writer.append(Entry::ObserverStop { at: at(99) });
        writer.commit().unwrap();
        drop(writer);
        if kill % 20 == 19 {
            let report = place.report(&place.bytes());
            assert!(report.broken.is_none(), "kill {kill}: {:?}", report.broken);
            let open = report.runs.iter().filter(|run| run.state == RunState::Open).count();
            assert_eq!(open, 0, "kill {kill}: a run that was killed is called open");
            // For the next ones a new ledger, so that this stays short.
            fs::remove_file(place.log()).unwrap();
            fs::remove_file(checkpoints_of(&place.log())).unwrap();
        }
    }
    eprintln!("{KILLS} kills, {torn} of them inside a write");
}
