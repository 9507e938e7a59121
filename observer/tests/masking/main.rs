//! Masking against a corpus that its rules were not written from: drawn credentials, each encoding,
//! each cut, each field; and texts that are made to be slow. The same corpus and judge as the bench.

mod call;
#[path = "../../benches/masking/corpus.rs"]
mod corpus;

use std::time::Duration;

use call::{call, texts};
use corpus::{ENCODINGS, KINDS, PLAIN, Random, STRUCTURED, UNSEEN, draw, leaks, password};
use observer::mask::{MaskKey, Masker, Rules, Stream};
use observer::model::Raw;
use proptest::prelude::*;

fn masker() -> Masker {
    Masker::new(MaskKey::from_bytes([7; 32]))
}

fn masked(text: &str) -> Vec<u8> {
    masker().text(Raw::from(text)).get().bytes().to_vec()
}

/// A drawn credential in the public text that it comes in, and itself alone.
fn credential(form: &str, random: &mut Random) -> (String, String) {
    let drawn = draw(form, random);
    let secret = drawn.split_once('^').map_or(drawn.as_str(), |(_, secret)| secret).to_owned();
    (drawn.replace('^', ""), secret)
}

fn fill(place: &str, secret: &str) -> String {
    match place.split_once("@@") {
        Some((before, after)) => format!("{before}{secret}@{after}"),
        None => place.replace('@', secret),
    }
}

/// Shown, leaked, and the first that leaked.
#[derive(Default)]
struct Tally(u32, u32, Option<String>);

impl Tally {
    fn add(&mut self, shown: &[u8], secret: &str, what: impl FnOnce() -> String) {
        self.0 += 1;
        if leaks(shown, secret.as_bytes()) {
            self.1 += 1;
            self.2.get_or_insert_with(what);
        }
    }

    #[track_caller]
    fn at_least(&self, percent: f64) {
        let held = 100.0 * f64::from(self.0 - self.1) / f64::from(self.0.max(1));
        assert!(held >= percent, "{held:.3} % of {} held; first leak: {:?}", self.0, self.2);
    }
}

#[test]
fn the_judge_finds_a_secret_in_every_encoding_that_is_not_masked() {
    let secret = "k3J9xQ0fTz8LmW2aVb7YpRs4";
    for (name, encode) in ENCODINGS {
        let text = format!("say {} now", encode(secret));
        assert!(leaks(text.as_bytes(), secret.as_bytes()), "{name}");
    }
    assert!(!leaks(b"nothing of it here, k3J9xQ0 is seven", secret.as_bytes()));
}

#[test]
fn structured_places_hold_whatever_stands_in_them() {
    let mut random = Random::new(101);
    let mut tally = Tally::default();
    for place in STRUCTURED {
        for _ in 0..12 {
            let secret = password(&mut random);
            let text = fill(place, &secret);
            tally.add(&masked(&text), &secret, || text.clone());
        }
        for (_, encode) in ENCODINGS {
            let secret = draw("{A28}", &mut random);
            let text = encode(&fill(place, &secret));
            tally.add(&masked(&text), &secret, || text.clone());
        }
    }
    tally.at_least(100.0);
}

#[test]
fn known_kinds_hold_in_each_place_and_encoding() {
    let mut random = Random::new(102);
    let mut tally = Tally::default();
    for form in KINDS {
        for (n, (_, encode)) in ENCODINGS.iter().enumerate() {
            let (text, secret) = credential(form, &mut random);
            let text = PLAIN[n % PLAIN.len()].replace('@', &encode(&text));
            tally.add(&masked(&text), &secret, || text.clone());
        }
    }
    tally.at_least(99.5);
}

#[test]
fn unseen_kinds_hold_mostly() {
    let mut random = Random::new(103);
    let mut tally = Tally::default();
    for form in UNSEEN {
        for place in PLAIN {
            for _ in 0..4 {
                let secret = draw(form, &mut random);
                let text = place.replace('@', &secret);
                tally.add(&masked(&text), &secret, || text.clone());
            }
        }
    }
    tally.at_least(90.0);
}

#[test]
fn each_cut_holds_where_it_is_told() {
    let mut random = Random::new(104);
    let mut tally = Tally::default();
    for (n, form) in KINDS.iter().enumerate() {
        let (text, secret) = credential(form, &mut random);
        let (_, encode) = ENCODINGS[n % ENCODINGS.len()];
        let text = format!("say {}", encode(&text));
        for at in 0..=text.len() {
            let out = masker().cut_text(Raw::from(&text.as_bytes()[..at]));
            tally.add(out.get().bytes(), &secret, || text[..at].to_owned());
        }
    }
    tally.at_least(99.5);
}

#[test]
fn each_cut_of_a_stream_holds() {
    let mut random = Random::new(105);
    let mut tally = Tally::default();
    for form in KINDS.iter().step_by(6) {
        let (text, secret) = credential(form, &mut random);
        let text = format!("before {text} after");
        for at in 0..=text.len() {
            let mut masker = masker();
            let mut stream = Stream::default();
            let mut out = stream.push(&mut masker, &text.as_bytes()[..at]).get().bytes().to_vec();
            out.extend_from_slice(stream.push(&mut masker, &text.as_bytes()[at..]).get().bytes());
            out.extend_from_slice(stream.finish(&mut masker, false).get().bytes());
            tally.add(&out, &secret, || format!("{text} at {at}"));
        }
    }
    tally.at_least(100.0);
}

#[test]
fn each_field_holds_cut_or_whole() {
    let mut random = Random::new(106);
    let mut tally = Tally::default();
    for form in KINDS {
        for field in 0..19 {
            let (text, secret) = credential(form, &mut random);
            for cut in [false, true] {
                let kept = if cut { &text[..text.len() * 2 / 3] } else { &text };
                let text = format!("/srv/{kept}");
                if cut && field >= 10 {
                    continue; // a content that is cut says so: its own tests hold that
                }
                let cut = cut && field < 4;
                if !cut && kept.len() < secret.len() && field >= 4 {
                    continue; // these fields have no cut
                }
                let out = masker().call(call(field, &text, cut));
                tally.add(&texts(out.get()), &secret, || format!("field {field}: {text}"));
            }
        }
    }
    tally.at_least(99.5);
}

#[test]
fn arguments_hold_one_by_one_and_joined() {
    let mut random = Random::new(107);
    for _ in 0..50 {
        let secret = password(&mut random);
        for argv in [
            vec!["tool", "--password", &secret],
            vec!["tool", "Authorization:", "Bearer", &secret],
            vec!["sh", "-c", "x", "password", "=", &secret],
            vec!["-----BEGIN", "PRIVATE", "KEY-----", &secret, "-----END", "PRIVATE", "KEY-----"],
            vec!["tool", "4111", "1111", "1111", "1111", "--token", &secret],
        ] {
            let argv: Vec<Raw> = argv.iter().map(|arg| Raw::from(*arg)).collect();
            let out = masker().command(&argv);
            let all: Vec<u8> =
                out.get().iter().flat_map(|raw| [raw.bytes(), b" "].concat()).collect();
            let shown = String::from_utf8_lossy(&all).into_owned();
            assert!(!leaks(&all, secret.as_bytes()), "{shown}");
            assert!(!shown.contains("4111"), "{shown}");
        }
    }
}

#[test]
fn one_secret_is_one_token_in_every_encoding() {
    let secret = "k3J9xQ0fTz8LmW2aVb7YpRs4";
    let mut masker = masker();
    let mut say = |text: &str| {
        let out = masker.text(Raw::from(text));
        String::from_utf8_lossy(out.get().bytes()).into_owned()
    };
    let first = say(&format!("password={secret}"));
    let token = first.strip_prefix("password=").unwrap().to_owned();
    for (name, encode) in ENCODINGS {
        let out = say(&format!("say {} now", encode(secret)));
        assert!(out.contains(&token), "{name}: {out} has not {token}");
    }
}

/// Texts that are made to be slow, as long as asked for.
fn adversarial(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let again = |unit: &str| unit.bytes().cycle().take(len).collect::<Vec<u8>>();
    vec![
        ("one letter", again("a")),
        ("beginnings of tokens", again("ghp_")),
        ("beginnings with their first sign", again("sk-")),
        ("JWT heads", again("eyJ-")),
        ("JWT heads in one word", again("eyJhbGciOiJI")),
        ("unclosed quotes", again("password=\"")),
        ("two sorts of quotes", again("token='secret=\"")),
        ("keys in keys", again("token=a(")),
        ("headers in a line", again("cookie:")),
        ("keys in a line", again("password: ")),
        ("what is sent to prompts", again("password:send {x")),
        ("PEM heads", again("-----BEGIN ")),
        ("PEM heads of keys", again("-----BEGIN PRIVATE KEY-----")),
        ("PEM ends", again("-----END PRIVATE KEY-----")),
        ("names and values", again("\"value\":")),
        ("users of URLs", again("a://b:c@")),
        ("signs", again("@")),
        ("elements", again("<password>")),
        ("escapes", again("%25")),
        ("escapes of escapes", again("\\\\u005c")),
        ("base64 of base64", again("WVdGaFlXRmhZV0Zo")),
        ("lines of base64", again("WVdGaFlXRmhZV0ZoWVdGaFlXRmhZV0ZoWVdGaFlXRmhZV0Zo\n")),
        ("hex", again("6161")),
        ("base32", again("MFQWCYLB")),
        ("digits and blanks", again("4 1 1 ")),
        ("account numbers", again("DE89 ")),
        ("dots", again("a.")),
    ]
}

#[test]
fn work_is_linear_whatever_the_text() {
    // What this thread computed, not what a clock on a wall says: others may have the processor.
    let worked = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
    };
    let run = |text: &[u8]| {
        let start = worked();
        let out = masker().text(Raw::from(text));
        assert!(!out.get().is_empty());
        worked() - start
    };
    let (short, long) = (1 << 14, 1 << 18);
    for ((name, a), (_, b)) in adversarial(short).into_iter().zip(adversarial(long)) {
        let best = |text: &[u8]| (0..3).map(|_| run(text)).min().unwrap_or_default();
        let (one, sixteen) = (best(&a), best(&b));
        // Sixteen times the text is sixteen times the work, and 256 times if it were a square.
        let allowed = one * 16 * 5 + Duration::from_millis(100);
        assert!(sixteen < allowed, "{name}: {one:?} for {short} bytes, {sixteen:?} for {long}");
    }
}

#[test]
fn rules_of_a_user_are_run_and_checked() {
    let rules = Rules::parse(
        r#"
title = "ours"
[extend]
disabledRules = ["npm"]
[[rules]]
id = "acme-key"
description = "a key of ours"
regex = '''acme[0-9]{2}:([a-z]{8,})'''
secretGroup = 1
entropy = 2.0
keywords = ["acme"]
[[rules.allowlists]]
stopwords = ["example"]
[allowlist]
regexes = ['''^testonly''']
"#,
    )
    .unwrap();
    assert!(rules.version().contains('+'));
    let mut masker = Masker::with_rules(MaskKey::from_bytes([7; 32]), rules);
    let mut say = |text: &str| {
        let out = masker.text(Raw::from(text));
        String::from_utf8_lossy(out.get().bytes()).into_owned()
    };
    assert!(say("see ACME no, acme12:qwertzuiop yes").contains("acme12:<mask:acme-key:"));
    for kept in ["acme12:aaaaaaaa", "acme12:anexample", "acme12:testonlyabc", "acmex:yxcvbnmasd"] {
        assert_eq!(say(kept), kept);
    }
}

#[test]
fn a_broken_rule_is_named_with_what_is_wrong() {
    for (text, says) in [
        ("[[rules]]\nid = \"a\"\nregex = '('", "rule \"a\": regex:"),
        ("[[rules]]\nregex = 'x'", "rule \"#1\": it has no id"),
        ("[[rules]]\nid = \"a\"", "rule \"a\": it has no regex"),
        ("[[rules]]\nid = \"a\"\nregex = 'x*'", "matches nothing at all"),
        ("[[rules]]\nid = \"a\"\nregex = 'x'\nsecretGroup = 2", "secretGroup = 2"),
        ("[[rules]]\nid = \"a\"\nregex = 'x'\nentropy = 9", "entropy = 9"),
        ("[[rules]]\nid = \"A B\"\nregex = 'x'", "an id is"),
        ("[[rules]]\nid = \"a\"\nregex = 'x'\n[[rules]]\nid = \"a\"\nregex = 'y'", "there twice"),
        ("[[rules]]\nid = \"a\"\nregexp = 'x'", "regexp"),
        ("[extend]\ndisabledRules = [\"nonesuch\"]", "nonesuch"),
        ("[[rules]]\nid = \"a\"\nregex = '(?!x)y'", "rule \"a\": regex:"),
        (
            "[[rules]]\nid = \"a\"\nregex = 'x'\n[rules.allowlist]\npaths = ['y']",
            "rule \"a\": allowlist paths",
        ),
    ] {
        let error = Rules::parse(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(says), "{text:?}: {error:?} does not say {says:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_bytes_pass_in_any_pieces(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0usize..600, cut: bool) {
        let at = at.min(bytes.len());
        let mut masker = masker();
        let mut stream = Stream::default();
        stream.push(&mut masker, &bytes[..at]);
        stream.push(&mut masker, &bytes[at..]);
        stream.finish(&mut masker, cut);
    }

    #[test]
    fn texts_of_signs_and_beginnings_pass(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "ghp_", "eyJ", ".", "-----BEGIN ", "PRIVATE KEY-----", "password", "=", ":", "\"", "'", "\\",
                "%4", "%41", "\\u00", "&#x4", "@", "://", "<token>", "</", "\n", "\r\n", " ", "Bearer ", "é",
                "QUJDREVGR0hJSktM", "4142434445464748494a4b4c", "4111 1111 1111 1111", "DE89", "\0", "$2b$",
            ]),
            0..60,
        ),
        cut: bool,
    ) {
        let text = parts.concat();
        let raw = Raw::from(text.as_str());
        let first = if cut { masker().cut_text(raw.clone()) } else { masker().text(raw.clone()) };
        let second = if cut { masker().cut_text(raw.clone()) } else { masker().text(raw) };
        prop_assert_eq!(first.get().bytes(), second.get().bytes());
    }

    #[test]
    fn a_password_by_its_key_holds(secret in "[A-Za-z0-9!#*+.?^_~-]{10,40}", key in "(DB_PASSWORD|apiKey|client-secret|auth_token)") {
        prop_assume!(secret.bytes().any(|b| b.is_ascii_digit()) && secret.bytes().any(|b| b.is_ascii_alphabetic()));
        for text in [format!("{key}={secret}"), format!("{{\"{key}\": \"{secret}\"}}"), format!("{key}: {secret}\nx: y")] {
            prop_assert!(!leaks(&masked(&text), secret.as_bytes()), "{}", text);
        }
    }
}

#[test]
fn a_password_that_begins_like_a_tag_or_a_pointer_is_none() {
    for secret in ["!-aA-A*0aA", "!xaA-A*0aA", "*plum-stone7.rain", "!vault-of-7"] {
        for text in [format!("DB_PASSWORD: {secret}\nx: y"), format!("  auth_token: {secret}")] {
            assert!(!leaks(&masked(&text), secret.as_bytes()), "{text}");
        }
    }
    for text in ["password: *default_password\nx: y", "token: *const u8,"] {
        assert_eq!(masked(text), text.as_bytes(), "{text}");
    }
}

#[test]
fn a_reader_that_is_gone_changes_no_answer() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("ledger.jsonl");
    std::fs::write(&log, "").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(env!("CARGO_BIN_EXE_observer"))
        .args(["mask", "--match", "--log"])
        .arg(&log)
        .arg("--state-dir")
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"zQ7vT2mXpLx9").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}
