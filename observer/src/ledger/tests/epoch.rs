//! Host keys in epochs: what an old key signed stays, and no later key can sign it anew.

use std::time::Duration;

use super::*;

fn state(place: &Place) -> PathBuf {
    place.dir.path().join("state")
}

/// A ledger over three epochs, with a run through all of them; the first key.
fn three_epochs(place: &Place) -> (Vec<u8>, PublicKey) {
    let first = place.key().public();
    let mut writer = place.writer();
    let run = begin_run(&mut writer);
    writer.commit().unwrap();
    for n in 1..3 {
        writer.replace_key_at(Epochs { records: 1, age: Duration::MAX });
        writer.append(masked(call(run, n, vec![])));
        writer.commit().unwrap();
        writer.replace_key_at(Epochs::default());
        let other = RunId::generate();
        writer.admit(other, "other", None).unwrap();
        writer.append(start(other));
        writer.append(end(other));
        writer.commit().unwrap();
    }
    writer.append(end(run));
    writer.append(Entry::ObserverStop { at: at(10) });
    writer.commit().unwrap();
    (place.bytes(), first)
}

#[test]
fn a_ledger_over_three_epochs_holds_under_its_first_key_alone() {
    let place = Place::new();
    let (bytes, first) = three_epochs(&place);
    assert_eq!(String::from_utf8_lossy(&bytes).matches("\"type\":\"key\"").count(), 2);
    let report = verify(&bytes, Some(first));
    assert!(report.holds() && report.pinned, "{report:?}");
    assert!(!verify(&bytes, Some(place.key().public())).holds(), "the last key is no beginning");
    // The host knows its earlier keys, and nothing is left of the private ones.
    let known = HostKey::known_public(&state(&place)).unwrap();
    assert_eq!(known.len(), 3);
    let mut verifier = Verifier::trusting(known);
    lines(&bytes).iter().for_each(|l| verifier.line(l.strip_suffix(b"\n").unwrap(), true));
    assert!(verifier.finish().holds());
    let private = |name: &str| name.starts_with("host.key");
    let names = fs::read_dir(state(&place)).unwrap().map(|e| e.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| private(&name.to_string_lossy())).collect();
    assert_eq!(left, ["host.key"]);
    // And it goes on under the last.
    let mut writer = place.writer();
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(11) });
    writer.commit().unwrap();
    assert!(verify(&place.bytes(), Some(first)).holds());
}

#[test]
fn each_flipped_byte_of_a_key_record_is_refused() {
    let place = Place::new();
    let (bytes, first) = three_epochs(&place);
    let all = lines(&bytes);
    let key = all.iter().position(|l| String::from_utf8_lossy(l).contains("\"type\":\"key\""));
    let from = all[..key.unwrap()].concat().len();
    for at in from..from + all[key.unwrap()].len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(!verify(&changed, Some(first)).holds(), "byte {at}");
    }
}

#[test]
fn history_signed_anew_with_a_later_key_is_refused() {
    let place = Place::new();
    let (bytes, first) = three_epochs(&place);
    let all = lines(&bytes);
    let stolen = place.key();
    let sign = |record: &[u8]| {
        let signature = stolen.sign(&chain::record_message(record));
        [chain::line(record, Some(&signature)), b"\n".to_vec()].concat()
    };
    // Every host's record before the last epoch, signed by the key of the last.
    for (i, line) in all.iter().enumerate() {
        let (record, _) = chain::parts(line.strip_suffix(b"\n").unwrap()).unwrap();
        let text = String::from_utf8_lossy(record);
        if text.contains("\"run\":") || text.contains("observer.stop") {
            continue;
        }
        let mut forged = all.clone();
        forged[i] = sign(record);
        let broken = verify(&forged.concat(), Some(first)).broken.unwrap();
        assert_eq!(broken.line, i as u64 + 1);
    }
    // The tail is cut inside of the first epoch, and the thief goes on from there.
    let crashed = Place::new();
    fs::write(crashed.log(), all[..2].concat()).unwrap();
    let refused = Writer::open(&crashed.log(), place.key()).err().unwrap();
    assert!(refused.to_string().contains("is due from the key"), "{refused}");
    let prev = data_encoding::HEXLOWER
        .encode(&merkle::leaf(chain::parts(all[1].strip_suffix(b"\n").unwrap()).unwrap().0));
    let stop = format!(
        "{{\"idx\":2,\"mono\":\"3\",\"prev\":\"{prev}\",\
         \"time\":\"2023-11-14T22:13:20.000000003Z\",\"type\":\"observer.stop\",\"v\":1}}"
    );
    let forged = [all[..2].concat(), sign(stop.as_bytes())].concat();
    let broken = verify(&forged, Some(first)).broken.unwrap();
    assert!(broken.line == 3 && broken.why.contains("signature"), "{broken:?}");
}

#[test]
fn a_crash_while_a_key_is_replaced_is_taken_up() {
    let place = Place::new();
    let first = place.key().public();
    let copy = |from: &str, to: &str| {
        let _ = fs::remove_dir_all(place.dir.path().join(to));
        fs::create_dir(place.dir.path().join(to)).unwrap();
        for entry in fs::read_dir(place.dir.path().join(from)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, place.dir.path().join(to).join(path.file_name().unwrap())).unwrap();
        }
    };
    let mut host = place.key();
    let next = host.next().unwrap();
    drop(host);
    // The next key was made, and the ledger does not name it yet.
    let mut writer = place.writer();
    begin(&mut writer);
    writer.commit().unwrap();
    assert_eq!(place.key().public(), first);
    copy("state", "before");
    // The ledger names it, and the file of the old one was still there when the host fell.
    writer.replace_key_at(Epochs { records: 1, age: Duration::MAX });
    writer.append(Entry::ObserverStop { at: at(2) });
    writer.commit().unwrap();
    drop(writer);
    assert_eq!(place.key().public(), next);
    fs::remove_dir_all(state(&place)).unwrap();
    copy("before", "state");
    assert_eq!(place.key().public(), first);
    let mut writer = place.writer();
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(4) });
    writer.commit().unwrap();
    drop(writer);
    assert_eq!(place.key().public(), next);
    assert!(verify(&place.bytes(), Some(first)).holds());
}

#[test]
fn no_key_is_replaced_while_another_recorder_signs_with_it() {
    let place = Place::new();
    let other = place.key();
    let mut writer = place.writer();
    writer.replace_key_at(Epochs { records: 1, age: Duration::MAX });
    for _ in 0..3 {
        begin(&mut writer);
        writer.commit().unwrap();
    }
    assert_eq!(place.key().public(), other.public());
    drop(other);
    writer.append(Entry::ObserverStop { at: at(4) });
    writer.commit().unwrap();
    assert!(String::from_utf8_lossy(&place.bytes()).contains("\"type\":\"key\""));
}

#[test]
fn a_run_goes_on_over_keys_and_closed_files() {
    let place = Place::new();
    let first = place.key().public();
    let mut writer = place.writer();
    let run = begin_run(&mut writer);
    writer.commit().unwrap();
    writer.replace_key_at(Epochs { records: 1, age: Duration::MAX });
    writer.rotate_at(Rotation { size: 1, age: Duration::MAX });
    let mut all = vec![];
    for n in 1..4 {
        writer.append(masked(call(run, n, vec![])));
        all.extend(place.bytes());
        writer.commit().unwrap();
    }
    writer.append(end(run));
    writer.append(Entry::ObserverStop { at: at(10) });
    all.extend(place.bytes());
    writer.commit().unwrap();
    all.extend(place.bytes());
    let report = verify(&all, Some(first));
    assert!(report.holds(), "{report:?}");
}

/// A ledger with a first record of its own, and so with a name of its own.
fn named(place: &Place, log: &std::path::Path) -> Writer {
    let mut writer = Writer::open(log, place.key()).unwrap().0;
    let version = log.strip_prefix(place.dir.path()).unwrap().display().to_string();
    let (kernel, boot_id) = ("0".to_owned(), "boot".to_owned());
    writer.append(Entry::ObserverStart { at: at(0), version, kernel, boot_id });
    writer.commit().unwrap();
    writer
}

/// Other ledgers of the same host, each with a run that ended and a stop.
fn more(place: &Place, names: &[&str]) -> Vec<PathBuf> {
    let each = |name: &&str| {
        let log = place.dir.path().join(name).join("ledger.jsonl");
        three_runs_with(&mut named(place, &log));
        log
    };
    names.iter().map(each).collect()
}

/// Replaces the host's key so many times, in a ledger of its own.
fn replace(place: &Place, times: usize) -> Vec<String> {
    let mut writer = place.writer();
    let mut said = vec![];
    for _ in 0..times {
        begin(&mut writer);
        writer.commit().unwrap();
        writer.replace_key_at(Epochs { records: 1, age: Duration::MAX });
        writer.append(Entry::ObserverStop { at: at(4) });
        said.extend(writer.commit().unwrap().trouble.map(|error| error.to_string()));
        writer.replace_key_at(Epochs::default());
    }
    said
}

fn go_on(place: &Place, log: &std::path::Path) -> Report {
    let mut writer = Writer::open(log, place.key()).unwrap().0;
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(12) });
    writer.commit().unwrap();
    fs::read(log).map(|bytes| verify(&bytes, None)).unwrap()
}

#[test]
fn each_ledger_of_a_host_goes_on_after_its_key_was_replaced_in_another() {
    let place = Place::new();
    let first = place.key().public();
    let logs = more(&place, &["a", "b"]);
    let rest = fs::read(&logs[0]).unwrap();
    assert_eq!(replace(&place, 1), [""; 0]);
    assert_ne!(place.key().public(), first);
    // What is at rest is left at rest, and taken up under the key that it waits for.
    assert_eq!(fs::read(&logs[0]).unwrap(), rest);
    assert!(go_on(&place, &logs[0]).holds());
    // One that slept through three keys.
    assert_eq!(replace(&place, 2), [""; 0]);
    for log in &logs {
        assert!(go_on(&place, log).holds());
        let bytes = fs::read(log).unwrap();
        assert!(verify(&bytes, Some(first)).holds(), "not under its first key");
        assert_eq!(String::from_utf8_lossy(&bytes).matches("\"type\":\"key\"").count(), 3);
    }
    let left: Vec<_> = fs::read_dir(state(&place)).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!left.iter().any(|path| path.to_string_lossy().ends_with(".keys")), "{left:?}");
    // And again, now that they were taken up.
    assert_eq!(replace(&place, 1), [""; 0]);
    assert!(go_on(&place, &logs[1]).holds());
}

#[test]
fn a_ledger_whose_recorder_was_killed_goes_on_after_its_key_was_replaced_in_another() {
    let place = Place::new();
    let first = place.key().public();
    let log = place.dir.path().join("killed.jsonl");
    let mut writer = named(&place, &log);
    let run = RunId::generate();
    writer.admit(run, "tester", None).unwrap();
    writer.append(start(run));
    writer.commit().unwrap();
    drop(writer);
    fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(b"{\"rec\":{\"agent")
        .unwrap();
    assert_eq!(replace(&place, 1), [""; 0]);
    let report = go_on(&place, &log);
    assert!(report.broken.is_none() && report.stopped, "{report:?}");
    assert_eq!(report.runs[0].state, RunState::Torn);
    assert!(verify(&fs::read(&log).unwrap(), Some(first)).broken.is_none());
}

#[test]
fn the_old_keys_last_word_is_good_for_one_place_of_one_ledger() {
    let place = Place::new();
    let logs = more(&place, &["a", "b"]);
    let whole: Vec<_> = logs.iter().map(|log| fs::read(log).unwrap()).collect();
    assert_eq!(replace(&place, 1), [""; 0]);
    // A thief who has the host's key of today and all of its state, and cuts the other back.
    let all = lines(&whole[0]);
    for end in [1, 4, all.len() - 1] {
        fs::write(&logs[0], all[..end].concat()).unwrap();
        let _ = fs::remove_file(checkpoints_of(&logs[0]));
        let refused = Writer::open(&logs[0], place.key()).err().unwrap();
        assert!(refused.to_string().contains("is due from the key"), "{refused}");
    }
    // The line of the one in the other.
    let keys = |log: &std::path::Path| {
        let origin = verify(&fs::read(log).unwrap(), None).origin.unwrap();
        let id = origin.strip_prefix("observer/ledger/").unwrap().to_owned();
        state(&place).join(format!("ledger-{id}.keys"))
    };
    fs::write(&logs[0], &whole[0]).unwrap();
    fs::copy(keys(&logs[1]), keys(&logs[0])).unwrap();
    assert!(Writer::open(&logs[0], place.key()).is_err());
    let line = fs::read(keys(&logs[1])).unwrap();
    assert!(verify(&[&whole[1][..], &line].concat(), None).broken.is_none());
    let broken = verify(&[&whole[0][..], &line].concat(), None).broken.unwrap();
    assert!(broken.why.contains("idx") || broken.why.contains("prev"), "{broken:?}");
}

#[test]
fn ledgers_that_can_not_be_told_of_the_next_key_are_named() {
    let place = Place::new();
    let logs = more(&place, &["gone", "other", "told"]);
    fs::remove_file(&logs[0]).unwrap();
    fs::write(&logs[1], "something else\n").unwrap();
    let said = replace(&place, 1);
    assert_eq!(said.len(), 1, "{said:?}");
    for log in &logs[..2] {
        assert!(said[0].contains(&log.display().to_string()), "{said:?}");
    }
    assert!(!said[0].contains("told"), "{said:?}");
    assert!(go_on(&place, &logs[2]).holds());
    assert_eq!(replace(&place, 1), [""; 0], "it is said once");
}

#[test]
fn a_crash_while_other_ledgers_are_told_is_taken_up_from_where_they_stand_then() {
    let place = Place::new();
    let first = place.key().public();
    let logs = more(&place, &["a", "b"]);
    let mut writer = place.writer();
    begin(&mut writer);
    writer.commit().unwrap();
    drop(writer);
    // Both were told; the ledger of the recorder that fell does not name the key yet.
    let mut host = place.key();
    let next = host.next().unwrap();
    let origin = verify(&place.bytes(), None).origin;
    assert!(handover::prepare(&host, next, origin.as_deref()).unwrap().is_empty());
    drop(host);
    // One goes on under the old key: what it was told is void.
    assert!(go_on(&place, &logs[0]).holds());
    assert_eq!(place.key().public(), first);
    assert_eq!(replace(&place, 1), [""; 0]);
    assert_eq!(place.key().public(), next);
    for log in &logs {
        assert!(go_on(&place, log).holds());
        assert!(verify(&fs::read(log).unwrap(), Some(first)).holds());
    }
}

#[test]
fn a_ledger_that_is_left_behind_is_named_though_the_first_try_came_to_nothing() {
    let place = Place::new();
    let logs = more(&place, &["gone"]);
    fs::remove_file(&logs[0]).unwrap();
    let mut host = place.key();
    let next = host.next().unwrap();
    for _ in 0..2 {
        // The disk is full, or a crash comes, before the key is replaced.
        assert_eq!(handover::prepare(&host, next, None).unwrap().len(), 1);
    }
    drop(host);
    assert_eq!(replace(&place, 1).len(), 1);
    assert_eq!(replace(&place, 1), [""; 0]);
}
