//! What stands where a ledger is opened: one that goes on, and what is none.

use super::*;

#[test]
fn a_second_start_continues_the_chain() {
    let place = Place::new();
    three_runs(&place);
    let mut writer = place.writer();
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(11) });
    writer.commit().unwrap();
    let report = place.report(&place.bytes());
    assert!(report.holds() && report.records == 16, "{report:?}");
}

#[test]
fn a_torn_line_is_moved_aside_and_said() {
    let place = Place::new();
    let whole = three_runs(&place);
    let mut file = fs::OpenOptions::new().append(true).open(place.log()).unwrap();
    file.write_all(b"{\"rec\":{\"v\"").unwrap();
    let (mut writer, opened) = Writer::open(&place.log(), place.key()).unwrap();
    assert_eq!(fs::read(opened.torn.unwrap()).unwrap(), b"{\"rec\":{\"v\"");
    writer.commit().unwrap();
    let bytes = place.bytes();
    assert!(bytes.starts_with(&whole));
    assert!(String::from_utf8_lossy(&bytes).contains("\"type\":\"recover\""));
    let report = place.report(&bytes);
    assert!(!report.holds() && report.holds_but_for(Lenience { open: true, pruned: false }));
}

#[test]
fn a_second_writer_is_kept_out() {
    let place = Place::new();
    let _first = place.writer();
    let second = Writer::open(&place.log(), place.key());
    assert!(matches!(second.err(), Some(OpenError::Locked(_))));
}

#[test]
fn what_is_no_ledger_is_left_as_it_is() {
    let almost = b"{\"rec\":{\"idx\":-1},\"sig\":\"\"}\n";
    let zeros_and_more = [vec![0; 300_000], b"more".to_vec()].concat();
    for content in
        [&b"hello\n"[..], &[0, 1, 2, b'\n'], &vec![b'x'; 400_000], almost, &zeros_and_more]
    {
        let place = Place::new();
        fs::write(place.log(), content).unwrap();
        let refused = Writer::open(&place.log(), place.key());
        assert!(matches!(refused.err(), Some(OpenError::Foreign { .. })));
        assert_eq!(place.bytes(), content);
    }
}

#[test]
fn what_is_no_regular_file_is_refused_by_name() {
    let place = Place::new();
    let dir = place.dir.path().join("d");
    fs::create_dir(&dir).unwrap();
    let link = place.dir.path().join("l");
    symlink("/nowhere", &link).unwrap();
    for (path, word) in
        [(dir, "directory"), (link, "symbolic link"), ("/dev/null".into(), "regular")]
    {
        let error = Writer::open(&path, place.key()).err().unwrap().to_string();
        assert!(error.contains(word) && error.contains("--log"), "{error}");
    }
}

#[test]
fn a_removed_ledger_is_said_once_and_its_chain_goes_on() {
    let place = Place::new();
    let mut writer = place.writer();
    begin(&mut writer);
    writer.commit().unwrap();
    fs::remove_file(place.log()).unwrap();
    writer.append(Entry::ObserverStop { at: at(3) });
    assert!(matches!(writer.commit(), Err(CommitError::Removed { .. })));
    assert_eq!(writer.commit().unwrap().records, 3);
    let bytes = place.bytes();
    assert!(String::from_utf8_lossy(&bytes).contains("the ledger's file was removed"));
    let report = place.report(&bytes);
    assert_eq!((report.from, report.records), (1, 4));
    assert!(!report.holds() && report.holds_but_for(Lenience { open: false, pruned: true }));
    drop(writer);
    // And it can be taken up again.
    let mut writer = place.writer();
    begin(&mut writer);
    writer.append(Entry::ObserverStop { at: at(4) });
    writer.commit().unwrap();
    assert!(place.report(&place.bytes()).holds_but_for(Lenience { open: false, pruned: true }));
}
