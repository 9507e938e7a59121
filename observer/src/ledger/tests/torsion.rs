//! Keys and signatures that verifiers of Ed25519 have been seen to judge differently: with a part
//! of small order, or written in a second way. `torsion.txt` has them, made from the curve's
//! eight points of small order: what is due, the key, the message, the signature, and how it was
//! made. Whether a signature with such a part holds depends on the message; of most there is one
//! of each sort.

use std::process::{Command, Stdio};

use super::independent::{python, tool};
use super::*;

const CASES: &str = include_str!("torsion.txt");

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

#[test]
fn a_signature_with_a_part_of_small_order_is_judged_to_the_byte_and_a_weak_key_is_none() {
    let mut good = 0;
    for case in CASES.lines() {
        let words: Vec<_> = case.split(' ').collect();
        let key = PublicKey::from_bytes(bytes(words[1]).try_into().unwrap());
        let holds = key.is_some_and(|key| key.verifies(&bytes(words[2]), &bytes(words[3])));
        assert_eq!(holds, words[0] == "good", "{case}");
        let weak = words[5] != "mixed";
        assert_eq!(key.is_none(), weak, "{case}");
        good += u32::from(holds);
    }
    assert!(good >= 10, "only {good} hold");
}

#[test]
fn the_other_verifier_judges_torsion_points_the_same() {
    const SAY: &str = "
import importlib.util, sys
spec = importlib.util.spec_from_file_location('verify', sys.argv[1])
v = importlib.util.module_from_spec(spec)
spec.loader.exec_module(v)
for line in open(sys.argv[2]):
    due, key, message, signature = line.split()[:4]
    try:
        key = v.key_of(v.base64.b64encode(bytes.fromhex(key)).decode())
        holds = v.verifies(key, bytes.fromhex(signature), bytes.fromhex(message))
    except v.Refused:
        holds = False
    print('good' if holds else 'bad')
";
    if !python() {
        return;
    }
    let place = Place::new();
    let cases = place.dir.path().join("cases");
    fs::write(&cases, CASES).unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", SAY]).arg(tool()).arg(&cases).stdin(Stdio::null());
    let said = String::from_utf8(python.output().unwrap().stdout).unwrap();
    assert_eq!(said.lines().count(), CASES.lines().count());
    for (said, case) in said.lines().zip(CASES.lines()) {
        assert!(case.starts_with(said), "it says {said}: {case}");
    }
}

#[test]
fn a_certificate_for_a_weak_run_key_begins_no_run() {
    let place = Place::new();
    let whole = three_runs(&place);
    let lines = lines(&whole);
    // The identity: under it, R and s of nothing hold for every message.
    let weak = data_encoding::BASE64.encode(&[[1].as_slice(), &[0; 31]].concat());
    let text = String::from_utf8(lines[1].clone()).unwrap();
    let was = text.split("\"run_key\":\"").nth(1).unwrap()[..44].to_owned();
    let with = |key: &str| {
        let record = text.replace(&was, key);
        let mut value: serde_json::Value = serde_json::from_str(&record).unwrap();
        let (id, idx) = (value["rec"]["run"].as_str().unwrap(), value["rec"]["idx"].as_u64());
        let cert = place.key().sign(&chain::run_message(id, key, idx.unwrap()));
        value["rec"]["cert"] = data_encoding::BASE64.encode(&cert).into();
        let rec = serde_json::to_vec(&value["rec"]).unwrap();
        let mut signature = [0; 64];
        signature[0] = 1;
        let line = chain::line(&rec, Some(&signature));
        let report = place.report(&[lines[0].clone(), line, b"\n".to_vec()].concat());
        report.broken.unwrap().why
    };
    assert!(with(&weak).contains("not an Ed25519 key"), "{}", with(&weak));
    // And so it is the key, and not its certificate, that is refused.
    assert!(with(&was).contains(chain::BAD_SIGNATURE), "{}", with(&was));
}
