//! Masking against a second corpus: credentials of kinds and in places that neither the rules' own
//! examples nor the first corpus were drawn from. The judge is the first corpus' own.
//!
//! A text has its secrets between « and », each drawn anew, and what is public but drawn between
//! ‹ and ›. `p` is a password. A bar within either keeps scanners of sources away, and is taken out.

#[path = "../../benches/masking/corpus.rs"]
#[expect(dead_code, reason = "the first corpus is the other test's")]
mod corpus;
mod files;
mod held;
mod tools;
mod web;

use corpus::{ENCODINGS, Random, draw, leaks, password};
use observer::mask::{MaskKey, Masker};
use observer::model::Raw;

/// A name, and texts.
type Group = (&'static str, &'static [&'static str]);

/// A drawn text, and its secrets.
fn drawn(text: &str, random: &mut Random) -> (String, Vec<String>) {
    let (mut out, mut secrets, mut rest) = (String::new(), vec![], text);
    while let Some(at) = rest.find(['«', '‹']) {
        out.push_str(&rest[..at]);
        let secret = rest[at..].starts_with('«');
        let (open, close) = if secret { ('«', '»') } else { ('‹', '›') };
        let end = at + rest[at..].find(close).expect("each is closed");
        let form = &rest[at + open.len_utf8()..end];
        let value = if form == "p" { password(random) } else { draw(form, random) };
        out.push_str(&value);
        if secret {
            secrets.push(value);
        }
        rest = &rest[end + close.len_utf8()..];
    }
    out.push_str(rest);
    (unbarred(&out), secrets)
}

/// Takes out the bars between two letters; those of shells have blanks beside them.
fn unbarred(text: &str) -> String {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_-.:".contains(c));
    let chars: Vec<char> = text.chars().collect();
    let bar = |at: usize| {
        chars[at] == '|'
            && at > 0
            && part(chars.get(at - 1).copied())
            && part(chars.get(at + 1).copied())
    };
    (0..chars.len()).filter(|at| !bar(*at)).map(|at| chars[at]).collect()
}

fn masker() -> Masker {
    Masker::new(MaskKey::from_bytes([7; 32]))
}

/// Shown and leaked.
#[derive(Clone, Copy, Default)]
struct Tally(u32, u32);

impl Tally {
    fn add(&mut self, shown: &[u8], place: &str, secrets: &[String]) {
        for secret in secrets {
            self.0 += 1;
            if leaks(shown, secret.as_bytes()) {
                self.1 += 1;
                if std::env::var_os("SHOW_LEAKS").is_some() {
                    eprintln!("leak: {place:?} -> {:?}", String::from_utf8_lossy(shown));
                }
            }
        }
    }
}

/// Each text as it stands, within a string of JSON, in each encoding, and as a command's arguments
/// where it has no quotes.
fn measure((_, texts): Group, seed: u64) -> [Tally; 4] {
    let mut random = Random::new(seed);
    let [mut plain, mut json, mut encoded, mut argv] = [Tally::default(); 4];
    for place in texts {
        for _ in 0..4 {
            let (text, secrets) = drawn(place, &mut random);
            plain.add(masker().text(Raw::from(text.as_str())).get().bytes(), place, &secrets);
            let inner = format!("{{\"role\":\"user\",\"content\":{}}}", quoted(&text));
            json.add(masker().text(Raw::from(inner.as_str())).get().bytes(), place, &secrets);
            let words: Vec<Raw> = text.split(' ').map(Raw::from).collect();
            if words.len() > 1 && !text.contains(['\n', '\'', '"']) {
                let shown = masker().command(&words);
                let shown: Vec<&[u8]> = shown.get().iter().map(Raw::bytes).collect();
                argv.add(&shown.join(&b' '), place, &secrets);
            }
        }
        for (_, encode) in ENCODINGS {
            let (text, secrets) = drawn(place, &mut random);
            let text = encode(&text);
            encoded.add(masker().text(Raw::from(text.as_str())).get().bytes(), place, &secrets);
        }
    }
    [plain, json, encoded, argv]
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

#[test]
fn secrets_of_other_places_hold() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut total = [Tally::default(); 4];
    println!("{:<26} {:>14} {:>14} {:>14} {:>14}", "leaked", "text", "json", "encoded", "argv");
    let groups = files::GROUPS.iter().chain(&web::GROUPS).chain(&tools::GROUPS);
    for (at, group) in groups.chain(&held::GROUPS).enumerate() {
        if !group.0.contains(&only) {
            continue;
        }
        let found = measure(*group, 201 + at as u64);
        let cells = found.map(|t| format!("{:>5} of {:>5}", t.1, t.0));
        println!("{:<26} {}", group.0, cells.join("  "));
        for (sum, one) in total.iter_mut().zip(found) {
            *sum = Tally(sum.0 + one.0, sum.1 + one.1);
        }
    }
    println!("{:<26} {}", "all", total.map(|t| format!("{:>5} of {:>5}", t.1, t.0)).join("  "));
    // What is left is named in docs/MASKING.md.
    for (sum, least) in total.into_iter().zip([98.5, 98.4, 99.0, 99.0]) {
        let held = 100.0 * (1.0 - f64::from(sum.1) / f64::from(sum.0.max(1)));
        assert!(!only.is_empty() || held >= least, "{held:.2} % of {} held", sum.0);
    }
}
