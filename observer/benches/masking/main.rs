//! What masking misses, what it takes without need, and what it costs: `cargo xtask bench masking`.
//!
//! With directories as arguments, their files are the benign corpus; without, a small one that is
//! made here.

mod benign;
mod corpus;
mod records;

use std::time::Instant;

use corpus::{ENCODINGS, KINDS, PLAIN, Random, STRUCTURED, UNSEEN, draw, leaks, password};
use observer::mask::{MaskKey, Masker, Rules};
use observer::model::Raw;

fn masker() -> Masker {
    Masker::new(MaskKey::from_bytes([7; 32]))
}

/// Shown and leaked.
#[derive(Default)]
struct Tally {
    shown: u64,
    leaked: u64,
}

impl Tally {
    fn judge(&mut self, text: &str, secret: &str, cut: bool) {
        let raw = Raw::from(text);
        let out = if cut { masker().cut_text(raw) } else { masker().text(raw) };
        self.shown += 1;
        if leaks(out.get().bytes(), secret.as_bytes()) {
            self.leaked += 1;
            if std::env::var_os("SHOW_LEAKS").is_some() {
                eprintln!("leak: {text:?} -> {:?}", String::from_utf8_lossy(out.get().bytes()));
            }
        }
    }

    fn rate(&self) -> f64 {
        100.0 * (1.0 - self.leaked as f64 / self.shown.max(1) as f64)
    }

    fn row(&self, name: &str, bar: &str) {
        println!("{name:<44} {:>8} {:>8} {:>9.3} %  {bar}", self.shown, self.leaked, self.rate());
    }
}

fn main() {
    // `cargo bench` and `cargo test --benches` hand over flags of their own.
    let dirs: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    println!(
        "{} built-in kinds, {} in this corpus, {} encodings\n",
        Rules::kinds(),
        KINDS.len(),
        ENCODINGS.len()
    );
    println!("{:<44} {:>8} {:>8} {:>11}", "secrets", "shown", "leaked", "masked");
    if std::env::var_os("ONLY_BENIGN").is_some() {
        return benign::report(&dirs);
    }
    if std::env::var_os("ONLY_COST").is_some() {
        return cost();
    }
    if std::env::var_os("ONLY_RECORDS").is_some() {
        return records::report(experienced);
    }
    structured();
    known();
    unseen();
    cuts();
    println!();
    benign::report(&dirs);
    println!();
    cost();
    println!();
    records::report(experienced);
}

fn structured() {
    let mut random = Random::new(11);
    let mut plain = Tally::default();
    let mut all = Tally::default();
    for place in STRUCTURED {
        for round in 0..40 {
            let secret = match round % 4 {
                0 => draw("{A24}", &mut random),
                1 => draw("{h32}", &mut random),
                _ => password(&mut random),
            };
            plain.judge(&fill(place, &secret), &secret, false);
        }
        for (_, encode) in ENCODINGS {
            let secret = draw("{A30}", &mut random);
            let text = fill(place, &secret);
            all.judge(&encode(&text), &secret, false);
        }
    }
    plain.row("structured places, drawn passwords", "100");
    all.row("structured places, each encoding of the whole", "100");
}

/// A place with a secret in it; `@@` is the secret and the sign.
fn fill(place: &str, secret: &str) -> String {
    match place.split_once("@@") {
        Some((before, after)) => format!("{before}{secret}@{after}"),
        None => place.replace('@', secret),
    }
}

/// A credential with the public text that it comes in, and itself alone.
fn known_one(form: &str, random: &mut Random) -> (String, String) {
    let drawn = draw(form, random);
    let secret = drawn.split_once('^').map_or(drawn.as_str(), |(_, secret)| secret).to_owned();
    (drawn.replace('^', ""), secret)
}

fn known() {
    let mut random = Random::new(12);
    let mut total = Tally::default();
    for (name, encode) in ENCODINGS {
        let mut tally = Tally::default();
        for form in KINDS {
            for place in PLAIN {
                let (text, secret) = known_one(form, &mut random);
                tally.judge(&place.replace('@', &encode(&text)), &secret, false);
            }
        }
        total.shown += tally.shown;
        total.leaked += tally.leaked;
        tally.row(&format!("known kinds, {name}"), "");
    }
    total.row("known kinds, all", "99.5");
}

fn unseen() {
    let mut random = Random::new(13);
    let (mut raw, mut all) = (Tally::default(), Tally::default());
    for form in UNSEEN {
        for place in PLAIN {
            for _ in 0..20 {
                let secret = draw(form, &mut random);
                raw.judge(&place.replace('@', &secret), &secret, false);
            }
            for (_, encode) in ENCODINGS {
                let secret = draw(form, &mut random);
                all.judge(&place.replace('@', &encode(&secret)), &secret, false);
            }
        }
    }
    raw.row("unseen kinds, no key beside them", "90");
    all.row("unseen kinds, each encoding", "90");
}

fn cuts() {
    let mut random = Random::new(14);
    let (mut told, mut silent) = (Tally::default(), Tally::default());
    for form in KINDS {
        let (whole, secret) = known_one(form, &mut random);
        for (_, encode) in ENCODINGS {
            let text = format!("say {}", encode(&whole));
            for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)).step_by(3) {
                told.judge(&text[..at], &secret, true);
                silent.judge(&text[..at], &secret, false);
            }
        }
    }
    told.row("known kinds, cut anywhere, the cut is told", "99.5");
    silent.row("known kinds, cut anywhere, in silence", "");
}

/// Of a run that has shown some secrets already.
fn experienced() -> Masker {
    let (mut masker, mut random) = (masker(), Random::new(15));
    for _ in 0..20 {
        masker.text(Raw::from(format!("password={}", draw("{A24}", &mut random)).as_str()));
    }
    masker
}

fn cost() {
    println!("{:<44} {:>12} {:>12}", "cost", "ns / 256 B", "MB/s");
    yardstick();
    let only = std::env::var("ONLY_COST").unwrap_or_default();
    for (name, text) in benign::samples() {
        if !name.contains(&only) {
            continue;
        }
        let mut masker = experienced();
        let pieces: Vec<Raw> = match name {
            "ordinary text in pieces of 256 B" => text.chunks(256).map(Raw::from).collect(),
            _ => vec![Raw::new(text)],
        };
        let bytes: usize = pieces.iter().map(Raw::len).sum();
        let mut best = f64::MAX;
        for _ in 0..7 {
            let copy = pieces.clone();
            let start = Instant::now();
            for piece in copy {
                std::hint::black_box(masker.text(piece));
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        row(name, bytes, best);
    }
}

/// What machines differ by, and what one machine's hours do: the same work as everywhere.
fn yardstick() {
    let text = vec![b'a'; 4 << 20];
    let took = (0..7).map(|_| {
        let start = Instant::now();
        std::hint::black_box(ring::digest::digest(&ring::digest::SHA256, &text));
        start.elapsed().as_secs_f64()
    });
    row("(SHA-256 of 4 MiB, to compare with)", text.len(), took.fold(f64::MAX, f64::min));
}

fn row(name: &str, bytes: usize, seconds: f64) {
    let (ns, rate) = (seconds * 1e9 / bytes as f64 * 256.0, bytes as f64 / seconds / 1e6);
    println!("{name:<44} {ns:>12.0} {rate:>12.0}");
}
