//! Files of a ledger that are closed, compressed, pruned, and crashed in between.

use std::time::Duration;

use super::*;
use crate::ledger::{leaves, segments};

const PRUNED: Lenience = Lenience { open: false, pruned: true };

/// Closes the file with each group.
fn eager(writer: &mut Writer) {
    writer.rotate_at(Rotation { size: 1, age: Duration::MAX });
}

/// One run over four files, the first three of them closed and compressed.
pub(super) fn four_files(place: &Place) -> Vec<PathBuf> {
    let mut writer = place.writer();
    eager(&mut writer);
    let run = begin_run(&mut writer);
    writer.commit().unwrap();
    for n in 1..3 {
        writer.append(masked(call(run, n, vec![])));
        writer.commit().unwrap();
    }
    writer.append(end(run));
    writer.append(Entry::ObserverStop { at: at(10) });
    writer.commit().unwrap();
    let mut files: Vec<PathBuf> = closed(place);
    files.push(place.log());
    files
}

/// The closed files, each compressed by now.
fn closed(place: &Place) -> Vec<PathBuf> {
    let list = || segments_of(&place.log()).unwrap();
    for file in list() {
        // A thread of the writer's may be at it: then it is there in a moment.
        while file.path.exists() && file.path.extension().is_some_and(|end| end != "zst") {
            let _ = segments::compress_one(&file.path);
            std::thread::yield_now();
        }
    }
    list().into_iter().map(|file| file.path).collect()
}

pub(super) fn check(place: &Place, files: &[PathBuf]) -> Report {
    let mut check = Check::new(Verifier::new(Some(place.key().public()))).unwrap();
    let notes = fs::read(checkpoints_of(&place.log())).unwrap();
    check.hold_against(Box::new(std::io::Cursor::new(notes)), "the anchor", true).unwrap();
    for file in files {
        let name = file.display().to_string();
        check.read(Some(name), segments::open(file).unwrap(), |_| {}).unwrap();
    }
    check.finish()
}

#[test]
fn a_run_goes_on_through_closed_files_and_all_of_them_hold() {
    let place = Place::new();
    let files = four_files(&place);
    let names: Vec<_> =
        files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(
        names,
        [
            "ledger-000000000000.jsonl.zst",
            "ledger-000000000002.jsonl.zst",
            "ledger-000000000004.jsonl.zst",
            "ledger.jsonl"
        ]
    );
    let report = check(&place, &files);
    assert!(report.holds() && report.anchored, "{report:?}");
    assert_eq!((report.records, report.runs.len()), (9, 1));
}

#[test]
fn what_is_left_after_pruning_is_held_against_the_same_checkpoints() {
    let place = Place::new();
    let files = four_files(&place);
    for gone in 1..files.len() {
        let report = check(&place, &files[gone..]);
        assert!(!report.holds() && report.holds_but_for(PRUNED) && report.anchored, "{report:?}");
        assert_eq!(report.runs[0].state, RunState::Closed);
    }
    for files in [[0, 2, 3], [0, 1, 3], [1, 0, 3], [0, 0, 3]].map(|n| n.map(|i| files[i].clone())) {
        assert!(check(&place, &files).broken.is_some(), "{files:?}");
    }
    let whole = &files[..3];
    assert!(check(&place, whole).broken.unwrap().why.contains("the end was cut off"));
}

#[test]
fn a_changed_line_of_a_closed_file_is_told_with_its_file() {
    let place = Place::new();
    let files = four_files(&place);
    let mut bytes = vec![];
    std::io::Read::read_to_end(&mut segments::open(&files[1]).unwrap(), &mut bytes).unwrap();
    let first = lines(&bytes)[0].len();
    for at in (first..bytes.len()).step_by(11) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let plain = place.dir.path().join("changed");
        fs::write(&plain, changed).unwrap();
        let files = [files[0].clone(), plain.clone(), files[2].clone(), files[3].clone()];
        let broken = check(&place, &files).broken.unwrap();
        assert_eq!((broken.line, broken.offset), (2, first as u64), "byte {at}");
        assert_eq!(broken.file, Some(plain.display().to_string()));
    }
}

#[test]
fn a_compressed_file_that_asks_for_much_or_is_spoilt_is_an_error() {
    let place = Place::new();
    let files = four_files(&place);
    let whole = fs::read(&files[0]).unwrap();
    let spoilt = place.dir.path().join("spoilt");
    for at in 4..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        fs::write(&spoilt, &changed).unwrap();
        let mut out = vec![];
        let read = std::io::Read::read_to_end(&mut segments::open(&spoilt).unwrap(), &mut out);
        let mut plain = vec![];
        std::io::Read::read_to_end(&mut segments::open(&files[0]).unwrap(), &mut plain).unwrap();
        assert!(read.is_err() || out == plain, "byte {at}");
    }
    // A frame that wants a window of 2 GiB.
    fs::write(&spoilt, [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]).unwrap();
    let mut out = vec![];
    assert!(std::io::Read::read_to_end(&mut segments::open(&spoilt).unwrap(), &mut out).is_err());
}

#[test]
fn a_crash_between_two_files_loses_nothing_and_the_chain_goes_on() {
    for left in [None, Some(&b""[..]), Some(&b"{\"rec\":{\"host"[..]), Some(&[0; 4096][..])] {
        let place = Place::new();
        three_runs(&place);
        fs::rename(place.log(), segments::closed(&place.log(), 0).unwrap()).unwrap();
        if let Some(bytes) = left {
            fs::write(place.log(), bytes).unwrap();
        }
        let mut writer = place.writer();
        begin(&mut writer);
        writer.append(Entry::ObserverStop { at: at(20) });
        writer.commit().unwrap();
        drop(writer);
        let mut files = closed(&place);
        files.push(place.log());
        let report = check(&place, &files);
        assert!(report.holds() && report.anchored, "{left:?}: {report:?}");
    }
}

#[test]
fn a_later_start_goes_on_in_the_file_and_closes_it_in_its_turn() {
    let place = Place::new();
    four_files(&place);
    for n in 0..3 {
        let mut writer = place.writer();
        eager(&mut writer);
        begin(&mut writer);
        writer.append(Entry::ObserverStop { at: at(20 + n) });
        writer.commit().unwrap();
    }
    let mut files = closed(&place);
    files.push(place.log());
    assert_eq!(files.len(), 7);
    assert!(check(&place, &files).holds());
}

#[test]
fn old_age_closes_a_file_and_a_taken_name_does_not() {
    let place = Place::new();
    let mut writer = place.writer();
    begin(&mut writer);
    writer.commit().unwrap();
    writer.rotate_at(Rotation { size: u64::MAX, age: Duration::ZERO });
    let taken = segments::closed(&place.log(), 0).unwrap();
    fs::write(&taken, "somebody's").unwrap();
    writer.append(Entry::ObserverStop { at: at(1) });
    let committed = writer.commit().unwrap();
    assert!(committed.trouble.unwrap().to_string().contains("taken") && committed.records == 1);
    assert_eq!(fs::read(&taken).unwrap(), b"somebody's");
    fs::remove_file(&taken).unwrap();
    writer.append(Entry::ObserverStop { at: at(2) });
    assert_eq!(writer.commit().unwrap().records, 2);
    let mut files = closed(&place);
    files.push(place.log());
    assert_eq!(files.len(), 2);
    assert!(check(&place, &files).holds());
}

#[test]
fn leaves_are_read_over_all_files_and_from_any_place() {
    let place = Place::new();
    let mut writer = place.writer();
    eager(&mut writer);
    begin(&mut writer);
    writer.commit().unwrap();
    // A place in a file that is plain now, and compressed later.
    let early = leaves::Leaves::first(&place.log(), 1).unwrap();
    for n in 0..3 {
        writer.append(Entry::ObserverStop { at: at(n) });
        writer.commit().unwrap();
    }
    closed(&place);
    let mut trees = vec![];
    for size in 0..=7 {
        trees.push(leaves::Leaves::first(&place.log(), size).unwrap().tree);
        assert_eq!(trees.last().unwrap().size(), size);
    }
    let mut after = leaves::Leaves::after(&place.log(), &early).unwrap();
    let mut prover = Prover::consistency_from(&early.tree, 7).unwrap();
    after.advance(7, |leaf| prover.push(leaf)).unwrap();
    let proof = prover.finish().unwrap();
    assert!(consistent((1, &trees[1].root()), (7, &trees[7].root()), &proof));
    assert!(leaves::Leaves::first(&place.log(), 8).is_err());
}
