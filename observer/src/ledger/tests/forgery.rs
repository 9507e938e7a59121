//! What somebody would do who has the host's keys, or another ledger of the host.

use super::*;

#[test]
fn records_moved_between_runs_and_whole_runs_swapped_are_refused() {
    let place = Place::new();
    let whole = lines(&three_runs(&place));
    let ids: Vec<String> = whole[1..4].iter().map(|line| id(line)).collect();
    for i in 1..whole.len() - 1 {
        let mut moved = whole.clone();
        let text = String::from_utf8(moved[i].clone()).unwrap();
        let (from, to) = (id(&moved[i]), ids.iter().find(|other| **other != id(&whole[i])));
        moved[i] = text.replace(&from, to.unwrap()).into_bytes();
        assert!(!place.report(&moved.concat()).holds(), "line {i} in another run");
    }
    // Each run's lines in another's places.
    let (mut a, mut b): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
    for (i, line) in whole.iter().enumerate() {
        if line_is_of(line, &ids[0]) {
            a.push(i);
        } else if line_is_of(line, &ids[1]) {
            b.push(i);
        }
    }
    let mut swapped = whole.clone();
    a.iter().zip(&b).for_each(|(&a, &b)| swapped.swap(a, b));
    assert!(!place.report(&swapped.concat()).holds());
    // A whole run taken out.
    let without: Vec<_> = whole.iter().filter(|line| !line_is_of(line, &ids[2])).cloned().collect();
    assert!(!place.report(&without.concat()).holds());
}

fn id(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.split("\"run\":\"").nth(1).map(|rest| rest[..36].to_owned()).unwrap_or_default()
}

fn line_is_of(line: &[u8], run: &str) -> bool {
    id(line) == run
}

#[test]
fn a_record_of_another_ledger_of_the_same_host_is_refused() {
    let place = Place::new();
    let whole = lines(&three_runs(&place));
    let other_log = place.dir.path().join("other.jsonl");
    let mut writer = Writer::open(&other_log, place.key()).unwrap().0;
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(10) });
    writer.commit().unwrap();
    let other = lines(&fs::read(&other_log).unwrap());
    for i in 0..=whole.len() {
        for line in &other {
            let mut inserted = whole.clone();
            inserted.insert(i, line.clone());
            assert!(!place.report(&inserted.concat()).holds(), "inserted at {i}");
        }
    }
}

#[test]
fn a_history_written_anew_with_the_same_keys_is_seen_by_an_old_checkpoint() {
    let place = Place::new();
    let old = three_runs(&place);
    let anchor = fs::read(checkpoints_of(&place.log())).unwrap();
    fs::remove_file(place.log()).unwrap();
    fs::remove_file(checkpoints_of(&place.log())).unwrap();
    let new = three_runs(&place);
    // Whoever has the keys can write what they like, and it holds by itself.
    assert!(place.report(&new).holds());
    let against = |ledger: &[u8]| {
        let mut check = Check::new(Verifier::new(Some(place.key().public()))).unwrap();
        let notes = Box::new(std::io::Cursor::new(anchor.clone()));
        check.hold_against(notes, "the anchor", true).unwrap();
        check.read(None, ledger, |_| {}).unwrap();
        check.finish()
    };
    assert!(against(&old).holds());
    let report = against(&new);
    assert!(!report.holds() && !report.anchored, "{report:?}");
}

#[test]
fn a_file_that_begins_in_the_middle_is_refused_with_other_peaks_or_without_its_runs() {
    let place = Place::new();
    let mut writer = place.writer();
    let run = begin_run(&mut writer);
    writer.commit().unwrap();
    fs::remove_file(place.log()).unwrap();
    writer.append(end(run));
    writer.append(Entry::ObserverStop { at: at(3) });
    assert!(matches!(writer.commit(), Err(CommitError::Removed { .. })));
    writer.commit().unwrap();
    let notes = fs::read(checkpoints_of(&place.log())).unwrap();
    let lenience = Lenience { open: false, pruned: true };
    let check = |bytes: &[u8]| {
        let mut check = Check::new(Verifier::new(Some(place.key().public()))).unwrap();
        let notes = Box::new(std::io::Cursor::new(notes.clone()));
        check.hold_against(notes, "the anchor", true).unwrap();
        check.read(None, bytes, |_| {}).unwrap();
        check.finish()
    };
    let bytes = place.bytes();
    let report = check(&bytes);
    assert!(report.holds_but_for(lenience) && report.anchored, "{report:?}");
    assert_eq!((report.from, report.runs[0].state), (2, RunState::Closed));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(!check(&changed).holds_but_for(lenience), "byte {at}");
    }
}
