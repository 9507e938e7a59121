//! A record's bound: what does not fit is taken away, and said. Pure.

use super::super::http;
use super::super::json::{Fields, Value, int};
use crate::model::CutField;

/// A record's bound, in bytes.
pub(in super::super) const MAX: usize = 60 * 1024;

/// Writes a record; one that is too long loses arguments from the end, or what else is long, and
/// says so. A longer one would be refused by whoever reads the ledger, and hide what follows it.
pub(in super::super) fn write(fields: &mut Fields<'_>, out: &mut Vec<u8>) {
    let from = out.len();
    loop {
        fields.write(out);
        let over = (out.len() - from).saturating_sub(MAX);
        if over == 0 || !(shorten(fields, over) || drop_longest(fields)) {
            return;
        }
        out.truncate(from);
    }
}

/// Takes away the longest part of what a record tells, or the half of it where it is a list. False
/// where nothing is long: what is left then has bounds of its own.
fn drop_longest(fields: &mut Fields<'_>) -> bool {
    const LONG: usize = 256;
    const OURS: [&str; 3] = ["truncated", "mask", "outcome"];
    let parts = fields.iter().filter(|(name, _)| !OURS.contains(name));
    let members = parts.filter_map(|(name, part)| Some((name, part.as_object()?)));
    let all = members.flat_map(|(name, part)| part.iter().map(move |(key, it)| (name, key, it)));
    let longest = all.map(|(name, key, it)| (it.len(), name.to_owned(), key.to_owned())).max();
    let Some((_, name, key)) = longest.filter(|(length, ..)| *length > LONG) else { return false };
    let Some(part) = fields.object_mut(&name) else { return false };
    let kept = match part.get_mut(&key) {
        Some(Value::List(list)) if list.len() > 1 => {
            list.truncate(list.len() / 2);
            list.iter().map(Value::len).sum()
        }
        _ => {
            part.remove(&key);
            0
        }
    };
    note(fields, format!("{name}.{key}"), kept as u64)
}

/// Takes at least `over` bytes of arguments away, or whatever else is long. False where nothing
/// is left to take.
fn shorten(fields: &mut Fields<'_>, over: usize) -> bool {
    if fields.contains("http") {
        return http::shorten(fields);
    }
    let Some(exec) = fields.object_mut("exec") else { return false };
    let Some(argv) = exec.get_mut("argv").and_then(Value::as_list_mut) else { return false };
    if argv.is_empty() {
        // Names of 4 KiB, each byte an escape: the file as it was named goes, and is said.
        let gone = exec.remove("filename").is_some() || exec.remove("cwd").is_some();
        return gone && note(fields, CutField::Filename.word(), 0);
    }
    // Room for the note as well.
    let mut freed = 0;
    while freed < over + 128
        && let Some(last) = argv.pop()
    {
        freed += last.len() + 1;
    }
    let kept: usize = argv.iter().map(|arg| arg.as_str().map_or(0, |text| text.len() + 1)).sum();
    note(fields, CutField::Argv.word(), kept as u64)
}

/// Says that a field was cut for the record's bound, and how much of it is kept.
pub(in super::super) fn note(fields: &mut Fields<'_>, field: impl Into<String>, kept: u64) -> bool {
    let truncated = fields.make_object("truncated");
    let Some(one) = truncated.and_then(|them| them.make_object(field.into())) else { return false };
    one.insert("kept", int(kept));
    // What was read but does not fit the record is not in the hash: it would claim too much.
    one.remove("hmac");
    one.insert("why", "the record's bound");
    true
}

#[cfg(test)]
mod tests {
    use super::super::super::json::text;
    use super::*;
    use crate::model::Raw;

    fn written(fields: &mut Fields<'_>) -> (usize, serde_json::Value) {
        let mut bytes = b"before".to_vec();
        write(fields, &mut bytes);
        (bytes.len() - 6, serde_json::from_slice(&bytes[6..]).unwrap())
    }

    /// Each of these is an agent's to make.
    #[test]
    fn no_record_is_longer_than_the_bound_whatever_is_in_it() {
        let record = || Fields::new().with("data", "\\001".repeat(320));
        let answers: Value<'_> = (0..64).map(|_| record()).collect();
        let long = Raw::from("x".repeat(62 * 1024).as_str());
        let bytes = Raw::new([0xff; 62 * 1024]);
        let body = Fields::new().with("bytes", 1).with("type", text(&long));
        let exec = Fields::new().with("exec", Fields::new());
        let only = |key: &'static str| (Fields::new(), key);
        for ((fields, key), part, told) in [
            (only("dns"), Fields::new().with("answers", answers).with("id", 1), "dns.answers"),
            (only("http"), Fields::new().with("url", text(&bytes)), "http.url"),
            (only("http"), Fields::new().with("body", body), "http.body"),
            (only("unix"), Fields::new().with("path", text(&long)), "unix.path"),
            ((exec, "process"), Fields::new().with("exe", text(&long)), "process.exe"),
        ] {
            let mut fields = fields.with(key, part);
            let (length, record) = written(&mut fields);
            assert!(length <= MAX, "{told}: {length}");
            let why = record["truncated"][told]["why"].as_str();
            assert_eq!(why, Some("the record's bound"), "{}", record["truncated"]);
        }
    }

    #[test]
    fn a_long_list_keeps_what_fits() {
        let answers: Value<'_> = (0..64).map(|n| format!("{n}{}", "x".repeat(1280))).collect();
        let mut fields = Fields::new().with("dns", Fields::new().with("answers", answers));
        let (length, record) = written(&mut fields);
        assert!(length <= MAX);
        assert_eq!(record["dns"]["answers"].as_array().unwrap().len(), 32);
    }
}
