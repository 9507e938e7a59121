//! A crash at any byte: what was acknowledged is there, and what was not is said.

use super::*;

const LENIENT: Lenience = Lenience { open: true, pruned: false };

/// A ledger in groups, and how long it was when each was acknowledged; the checkpoints then.
fn groups(place: &Place, large: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut writer = place.writer();
    begin(&mut writer);
    let runs: Vec<RunId> = (0..2).map(|_| RunId::generate()).collect();
    for &run in &runs {
        writer.admit(run, "tester", None).unwrap();
        writer.append(start(run));
    }
    let mut states = vec![];
    let mut keep = |writer: &mut Writer| {
        writer.commit().unwrap();
        let notes = fs::read(checkpoints_of(&place.log())).unwrap_or_default();
        states.push((place.bytes(), notes));
    };
    keep(&mut writer);
    let count = if large { 40 } else { 2 };
    for group in 0..2 {
        for n in 0..count {
            for &run in &runs {
                writer.append(masked(call(run, group * count + n + 1, vec![])));
            }
        }
        keep(&mut writer);
    }
    states
}

/// What a start after a crash makes of a file.
fn recovered(bytes: &[u8], notes: &[u8], keys: &Place) -> Result<(Vec<u8>, Report), OpenError> {
    let place = Place::new();
    fs::write(place.log(), bytes).unwrap();
    fs::write(checkpoints_of(&place.log()), notes).unwrap();
    let (mut writer, _) = Writer::open(&place.log(), keys.key())?;
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(99) });
    writer.commit().unwrap();
    let bytes = place.bytes();
    let report = keys.report(&bytes);
    Ok((bytes, report))
}

fn each_cut(large: bool, step: usize) {
    let place = Place::new();
    let states = groups(&place, large);
    for (before, after) in states.iter().zip(&states[1..]) {
        let (acknowledged, notes) = before;
        for cut in (acknowledged.len()..=after.0.len()).step_by(step) {
            let (bytes, report) = recovered(&after.0[..cut], notes, &place).unwrap();
            assert!(bytes.starts_with(acknowledged), "cut at {cut}: acknowledged records are gone");
            assert!(report.broken.is_none(), "cut at {cut}: {:?}", report.broken);
            let torn = report.runs.iter().filter(|run| run.state == RunState::Torn).count();
            assert_eq!(torn, 2, "cut at {cut}: both recorders were killed");
            assert!(!report.holds_but_for(LENIENT), "cut at {cut}: something is missing");
        }
    }
}

#[test]
fn a_cut_at_each_byte_of_a_group_loses_nothing_that_was_acknowledged() {
    each_cut(false, 1);
}

#[test]
fn a_cut_inside_a_group_that_one_signature_covers_takes_all_of_it_aside() {
    each_cut(true, 97);
}

#[test]
fn a_cut_in_the_first_group_leaves_a_ledger_that_can_begin() {
    let place = Place::new();
    let first = groups(&place, false).remove(0).0;
    for cut in 0..first.len() {
        let (_, report) = recovered(&first[..cut], b"", &place).unwrap();
        assert!(report.broken.is_none(), "cut at {cut}: {:?}", report.broken);
    }
    // And with pages that were never written.
    for page in (0..first.len()).step_by(512) {
        let mut bytes = first.clone();
        bytes[page..].fill(0);
        let (_, report) = recovered(&bytes, b"", &place).unwrap();
        assert!(report.broken.is_none(), "page {page}: {:?}", report.broken);
    }
    // Its first record says whose it is, whatever came first.
    let (bytes, _) = recovered(&first[..9], b"", &place).unwrap();
    assert!(verify(&bytes, None).broken.is_none());
    let trusted = vec![Place::new().key().public(), place.key().public()];
    let mut verifier = Verifier::trusting(trusted);
    lines(&bytes).iter().for_each(|l| verifier.line(l.strip_suffix(b"\n").unwrap(), true));
    assert!(verifier.finish().broken.is_none());
}

#[test]
fn pages_that_never_reached_the_disk_are_no_loss_of_what_was_acknowledged() {
    let place = Place::new();
    let states = groups(&place, true);
    let ((acknowledged, notes), (after, _)) = (&states[1], &states[2]);
    for page in (0..after.len()).step_by(512).filter(|&page| page >= acknowledged.len()) {
        // The length was written, and this page was not, or none from here on.
        let end = (page + 512).min(after.len());
        for until in [end, after.len()] {
            let mut bytes = after.clone();
            bytes[page..until].fill(0);
            let (bytes, report) = recovered(&bytes, notes, &place).unwrap();
            assert!(bytes.starts_with(acknowledged), "page {page}");
            assert!(report.broken.is_none(), "page {page}: {:?}", report.broken);
        }
    }
}

#[test]
fn what_was_moved_aside_is_whole_and_told_by_its_hash() {
    use data_encoding::HEXLOWER;
    let place = Place::new();
    let states = groups(&place, true);
    let (acknowledged, after) = (&states[1].0, &states[2].0);
    let cut = after.len() - 700;
    let crashed = Place::new();
    fs::write(crashed.log(), &after[..cut]).unwrap();
    let (mut writer, opened) = Writer::open(&crashed.log(), place.key()).unwrap();
    writer.commit().unwrap();
    let aside = fs::read(opened.torn.unwrap()).unwrap();
    assert_eq!(aside, after[acknowledged.len()..cut]);
    let hash = ring::digest::digest(&ring::digest::SHA256, &aside);
    let said = String::from_utf8(crashed.bytes()).unwrap();
    assert!(said.contains(&HEXLOWER.encode(hash.as_ref())));
    assert!(said.contains(&format!("\"bytes\":{}", aside.len())));
}

#[test]
fn what_a_checkpoint_vouches_for_is_never_moved_aside() {
    let place = Place::new();
    let (bytes, notes) = groups(&place, false).remove(2);
    // The first group has a checkpoint: a change there is no crash.
    let vouched = lines(&bytes)[..3].concat().len();
    for at in (0..vouched).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        // Signatures are for `verify`: a start looks at records alone.
        let records = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let parts = |l: Vec<u8>| chain::parts(l.strip_suffix(b"\n")?).map(|p| p.0.to_vec());
            lines(bytes).into_iter().filter_map(parts).collect()
        };
        if records(&changed) == records(&bytes) {
            continue;
        }
        let refused = recovered(&changed, &notes, &place).map(|_| ()).unwrap_err();
        assert!(matches!(refused, OpenError::Foreign { .. }), "byte {at}: {refused}");
    }
    let refused = recovered(&bytes[..vouched - 1], &notes, &place).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("vouches for 3 records, and 2"), "{refused}");
}

#[test]
fn half_a_checkpoint_is_begun_anew() {
    let place = Place::new();
    let (bytes, notes) = groups(&place, false).remove(2);
    for cut in 0..notes.len() {
        let (_, report) = recovered(&bytes, &notes[..cut], &place).unwrap();
        assert!(report.broken.is_none(), "cut at {cut}");
    }
}

#[test]
fn a_run_whose_recorder_was_killed_is_torn_and_takes_no_more_records() {
    let place = Place::new();
    let (bytes, notes) = groups(&place, false).remove(2);
    let (bytes, report) = recovered(&bytes, &notes, &place).unwrap();
    assert!(report.runs.iter().all(|run| run.state == RunState::Torn));
    let all = lines(&bytes);
    let recover = all.iter().position(|l| String::from_utf8_lossy(l).contains("recover")).unwrap();
    // Without the recover records it is another chain.
    let mut without = all.clone();
    without.remove(recover);
    assert!(place.report(&without.concat()).broken.is_some());
}
