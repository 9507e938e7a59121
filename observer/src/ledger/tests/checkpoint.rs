//! Checkpoints, what they anchor, and proofs.

use std::io::Cursor;

use super::*;

fn notes(place: &Place) -> Vec<u8> {
    fs::read(checkpoints_of(&place.log())).unwrap()
}

/// Through threads, as the command does it, in whatever is held against it.
fn check(place: &Place, ledger: &[u8], beside: Option<&[u8]>, anchor: Option<&[u8]>) -> Report {
    let mut check = Check::new(Verifier::new(Some(place.key().public()))).unwrap();
    if let Some(notes) = anchor {
        let notes = Box::new(Cursor::new(notes.to_vec()));
        check.hold_against(notes, "the anchor", true).unwrap();
    }
    if let Some(notes) = beside {
        check.hold_against(Box::new(Cursor::new(notes.to_vec())), "beside", false).unwrap();
    }
    check.read(None, Cursor::new(ledger), |_| {}).unwrap();
    check.finish()
}

/// A ledger in which runs begin and end one after another; the offset at which each ended.
fn runs_in_a_row(place: &Place, count: usize) -> (Vec<u8>, Vec<usize>) {
    let mut writer = place.writer();
    let mut ends = vec![];
    begin(&mut writer);
    for _ in 0..count {
        let run = RunId::generate();
        writer.admit(run, "tester", None).unwrap();
        writer.append(start(run));
        writer.append(masked(call(run, 1, vec![])));
        writer.append(end(run));
        writer.append(Entry::ObserverStop { at: at(10) });
        writer.commit().unwrap();
        ends.push(place.bytes().len());
    }
    (place.bytes(), ends)
}

#[test]
fn a_whole_ledger_is_anchored_by_its_last_checkpoint() {
    let place = Place::new();
    let (bytes, _) = runs_in_a_row(&place, 3);
    let notes = notes(&place);
    let report = check(&place, &bytes, Some(&notes), Some(&notes));
    assert!(report.holds() && report.anchored, "{report:?}");
    assert_eq!(report.anchor, Some(13));
    let report = check(&place, &bytes, Some(&notes), None);
    assert!(report.holds() && !report.anchored && report.anchor.is_none());
}

#[test]
fn a_dropped_last_run_is_seen_by_what_was_kept_elsewhere() {
    let place = Place::new();
    let (bytes, ends) = runs_in_a_row(&place, 3);
    let notes = notes(&place);
    let cut = &bytes[..ends[1]];
    // The file alone can't say it.
    assert!(check(&place, cut, None, None).holds());
    for report in [check(&place, cut, None, Some(&notes)), check(&place, cut, Some(&notes), None)] {
        assert!(!report.holds());
        assert!(report.broken.unwrap().why.contains("the end was cut off"));
    }
}

#[test]
fn a_run_after_the_last_anchor_is_unanchored() {
    let place = Place::new();
    let (bytes, _) = runs_in_a_row(&place, 2);
    let notes = notes(&place);
    let first = &notes[..notes.len() / 2];
    let report = check(&place, &bytes, None, Some(first));
    let states: Vec<_> = report.runs.iter().map(|run| run.state).collect();
    assert_eq!(states, [RunState::Closed, RunState::Unanchored]);
    assert!(!report.holds() && report.anchor == Some(5) && !report.anchored);
}

#[test]
fn checkpoints_that_are_changed_of_another_ledger_or_by_another_key_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    let (bytes, _) = runs_in_a_row(&place, 2);
    let (_, _) = runs_in_a_row(&other, 2);
    let notes_here = notes(&place);
    let report = check(&place, &bytes, None, Some(&notes(&other)));
    assert!(report.broken.unwrap().why.contains("its checkpoint is of observer/ledger/"));
    let text = String::from_utf8(notes_here.clone()).unwrap();
    for (from, to) in [("\n5\n", "\n4\n"), ("\n5\n", "\n6\n")] {
        let report = check(&place, &bytes, None, Some(text.replace(from, to).as_bytes()));
        assert!(!report.holds() && !report.anchored, "{to:?}");
    }
    for at in 0..notes_here.len() {
        let mut changed = notes_here.clone();
        changed[at] ^= 1;
        let mut check = Check::new(Verifier::new(Some(place.key().public()))).unwrap();
        // Either it is no note any more, or the ledger is refused under it.
        if check.hold_against(Box::new(Cursor::new(changed)), "changed", true).is_ok() {
            check.read(None, Cursor::new(&bytes), |_| {}).unwrap();
            assert!(!check.finish().holds(), "byte {at}");
        }
    }
}

#[test]
fn every_thousand_records_are_vouched_for() {
    let place = Place::new();
    let mut writer = place.writer();
    let run = begin_run(&mut writer);
    assert!(writer.commit().unwrap().checkpoint.is_some(), "the recorder began");
    for n in 1..=1000 {
        writer.append(masked(call(run, n, vec![])));
    }
    assert!(writer.commit().unwrap().checkpoint.unwrap().contains("\n1002\n"));
    writer.append(masked(call(run, 1001, vec![])));
    assert!(writer.commit().unwrap().checkpoint.is_none());
    writer.append(end(run));
    assert!(writer.commit().unwrap().checkpoint.unwrap().contains("\n1004\n"));
}

#[test]
fn a_record_is_proved_by_one_file_and_no_changed_one_proves() {
    let place = Place::new();
    let (bytes, _) = runs_in_a_row(&place, 3);
    let mut notes = Notes::new(Cursor::new(notes(&place)));
    let mut last = None;
    while let Some(note) = notes.next_note().unwrap() {
        last = Some(note);
    }
    let (note, log) = (last.unwrap(), place.key().log_public());
    for (index, line) in lines(&bytes).iter().enumerate() {
        let proof = Proof::make(Cursor::new(&bytes), index as u64, &note).unwrap().text();
        let proved = Proof::parse(proof.as_bytes()).unwrap().verify(log).unwrap();
        let text = String::from_utf8(proved.record).unwrap();
        assert!(String::from_utf8_lossy(line).contains(&text), "record {index}");
        let other = Place::new().key().log_public();
        assert!(Proof::parse(proof.as_bytes()).unwrap().verify(other).is_err());
    }
    let proof = Proof::make(Cursor::new(&bytes), 3, &note).unwrap().text().into_bytes();
    let (line, _) = (lines(&bytes)[3].clone(), ());
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        let Some(Ok(proved)) = Proof::parse(&changed).map(|proof| proof.verify(log)) else {
            continue;
        };
        // The record's own signature is no part of its leaf: it alone can change unseen here.
        assert!(
            String::from_utf8_lossy(&line)
                .contains(&String::from_utf8_lossy(&proved.record).into_owned()),
            "byte {at}"
        );
    }
    assert!(Proof::make(Cursor::new(&bytes), 13, &note).is_err());
    assert!(Proof::make(Cursor::new(&bytes[1..]), 3, &note).is_err());
}

#[test]
fn threads_and_one_after_another_find_the_same_first_bad_line() {
    let place = Place::new();
    let (bytes, _) = runs_in_a_row(&place, 300);
    let whole = lines(&bytes);
    for (at, find, put) in [
        (1000, "\"mono\":\"", "\"mono\":\"7"),
        (7, "\"sig\":\"", "\"sig\":\""),
        (1199, "{\"rec\"", "{\"ric\""),
    ] {
        let mut lines = whole.clone();
        let mut line = String::from_utf8(lines[at].clone()).unwrap().replace(find, put);
        if find == put {
            let at = line.len() - 20;
            let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
            line.replace_range(at..=at, other);
        }
        lines[at] = line.into_bytes();
        let changed = lines.concat();
        let (one, many) = (place.report(&changed), check(&place, &changed, None, None));
        assert_eq!(one.broken.as_ref().unwrap().line, at as u64 + 1);
        assert_eq!(one.broken, many.broken);
        assert_eq!((one.records, one.runs.len()), (many.records, many.runs.len()));
    }
}
