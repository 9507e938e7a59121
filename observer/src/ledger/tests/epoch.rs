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
    begin(&mut writer);
    let run = RunId::generate();
    writer.admit(run, "tester", None).unwrap();
    writer.append(start(run));
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
    begin(&mut writer);
    let run = RunId::generate();
    writer.admit(run, "tester", None).unwrap();
    writer.append(start(run));
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
