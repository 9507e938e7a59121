//! `observer mask`: what would be masked and why, and whether a secret occurs in a ledger.
//!
//! Secrets come by standard input and never as arguments, which everyone on a host can read.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use observer::mask::{Finding, MaskKey, Masker};
use observer::{daemon, masking};
use serde_json::{Value, json};

/// Standard input is read up to here.
const LARGEST: u64 = 64 << 20;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  observer mask --explain < build.log
  observer mask --explain --mask-rules rules.toml < sample.txt
  pass show api-key | observer mask --match
  observer mask --match --log /srv/audit/a.jsonl < secret.txt

Exit codes of --match: 0 the secret occurs, 1 it does not, 2 that can't be told.
docs/MASKING.md has the layers, the kinds of token, and the form of rules.")]
pub(crate) struct MaskArgs {
    /// Show what of standard input would be masked, and by which rule
    #[arg(long, conflicts_with = "matches", required_unless_present = "matches")]
    explain: bool,
    /// Tell whether the secret on standard input occurs in a ledger, and nothing else
    #[arg(long = "match")]
    matches: bool,
    /// Rules beside the built-in ones, in the TOML form of gitleaks
    #[arg(long, value_name = "FILE", conflicts_with = "matches")]
    mask_rules: Option<PathBuf>,
    /// E-mail addresses too
    #[arg(long, conflicts_with = "matches")]
    mask_email: bool,
    /// Findings as JSON, a line each
    #[arg(long, conflicts_with = "matches")]
    json: bool,
    /// The ledger [default: /var/log/observer/ledger.jsonl]
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    log: Option<PathBuf>,
    /// Where the host's keys are
    #[arg(long, value_name = "DIR", default_value = daemon::STATE)]
    state_dir: PathBuf,
}

pub(crate) fn run(args: MaskArgs) -> Result<ExitCode> {
    let mut text = vec![];
    let read = io::stdin().lock().take(LARGEST + 1).read_to_end(&mut text);
    read.context("cannot read standard input")?;
    if text.len() as u64 > LARGEST {
        bail!("standard input has more than {LARGEST} bytes");
    }
    if args.matches { find(&args, &text) } else { explain(&args, &text) }
}

fn explain(args: &MaskArgs, text: &[u8]) -> Result<ExitCode> {
    let rules = masking::rules(args.mask_rules.as_deref(), args.mask_email)?;
    let key = MaskKey::generate().context("the system has no randomness for a key")?;
    let mut masker = Masker::with_rules(key, rules.clone());
    let findings = masker.explain(text);
    let mut out = io::stdout().lock();
    let mut place = Place::default();
    for (index, found) in findings.iter().enumerate() {
        let (line, column) = place.of(text, found.start);
        if args.json {
            let shown = json!({
                "line": line, "column": column, "start": found.start, "end": found.end,
                "sort": found.sort, "rules": found.rules,
            });
            writeln!(out, "{shown}")?;
        } else {
            let by = found.rules.join(", ");
            writeln!(
                out,
                "{line}:{column}  {}  by {by}\n    {}",
                found.sort,
                around(text, &findings, index)
            )?;
        }
    }
    if !args.json {
        let masked: usize = findings.iter().map(|found| found.end - found.start).sum();
        writeln!(
            out,
            "{} findings, {masked} of {} bytes masked, rules {}",
            findings.len(),
            text.len(),
            rules.version()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines and columns, counted on from the last that was asked for.
#[derive(Default)]
struct Place {
    at: usize,
    line: usize,
    begin: usize,
}

impl Place {
    fn of(&mut self, text: &[u8], at: usize) -> (usize, usize) {
        for (offset, &b) in text.iter().enumerate().take(at).skip(self.at) {
            if b == b'\n' {
                self.line += 1;
                self.begin = offset + 1;
            }
        }
        self.at = self.at.max(at);
        (self.line + 1, at.saturating_sub(self.begin) + 1)
    }
}

/// What stands around a finding on its lines, and a mark in its place. It never shows another one.
fn around(text: &[u8], findings: &[Finding], index: usize) -> String {
    const AROUND: usize = 32;
    let Some(found) = findings.get(index) else { return String::new() };
    let before = index.checked_sub(1).and_then(|i| findings.get(i)).map_or(0, |other| other.end);
    let after = findings.get(index + 1).map_or(text.len(), |other| other.start);
    let line = |b: &u8| *b != b'\n' && *b != b'\r';
    let from = found.start.saturating_sub(AROUND).max(before);
    let before = text.get(from..found.start).unwrap_or_default();
    let before = before.rsplit(|b| !line(b)).next().unwrap_or_default();
    let after = text.get(found.end..(found.end + AROUND).min(after)).unwrap_or_default();
    let after = after.split(|b| !line(b)).next().unwrap_or_default();
    // What stands there may be meant for a terminal.
    let plain = |part: &[u8]| String::from_utf8_lossy(part).escape_debug().to_string();
    format!("{}<{}>{}", plain(before), found.sort, plain(after))
}

fn find(args: &MaskArgs, text: &[u8]) -> Result<ExitCode> {
    let secret = text.strip_suffix(b"\n").unwrap_or(text);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.is_empty() {
        bail!("standard input has no secret to look for");
    }
    let path = args.log.clone().unwrap_or_else(|| daemon::LOG.into());
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tokens = tokens(BufReader::with_capacity(1 << 20, file))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let keys = masking::keys(&args.state_dir)?;
    let mut missing: HashSet<&str> = tokens.iter().map(|(key, _)| key.as_str()).collect();
    for key in &keys {
        let id = key.id();
        if !missing.remove(id.as_str()) {
            continue;
        }
        let tags = key.tags(secret);
        if tokens.iter().any(|(key, tag)| *key == id && tags.contains(tag)) {
            super::answer(&format!("it occurs in {}\n", path.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    if missing.is_empty() {
        super::answer(&format!("it does not occur in {}\n", path.display()))?;
        return Ok(ExitCode::from(1));
    }
    eprintln!(
        "observer: that can't be told: {} of the ledger's mask keys are not in {}",
        missing.len(),
        args.state_dir.display()
    );
    Ok(ExitCode::from(2))
}

/// The tokens of a ledger: the key's id, and the value's tag.
fn tokens(mut ledger: impl BufRead) -> io::Result<HashSet<(String, String)>> {
    let mut out = HashSet::new();
    let mut line = vec![];
    loop {
        line.clear();
        if ledger.read_until(b'\n', &mut line)? == 0 {
            return Ok(out);
        }
        // A line that is no JSON is `verify`'s to complain of; its text may have tokens all the same.
        match serde_json::from_slice(&line) {
            Ok(value) => walk(&value, &mut out),
            Err(_) => scan(&line, &mut out),
        }
    }
}

fn walk(value: &Value, out: &mut HashSet<(String, String)>) {
    match value {
        Value::String(text) => scan(text.as_bytes(), out),
        Value::Array(items) => items.iter().for_each(|item| walk(item, out)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "b64") {
                    Some(text) => scan(&BASE64.decode(text.as_bytes()).unwrap_or_default(), out),
                    None => walk(value, out),
                }
            }
        }
        _ => {}
    }
}

fn scan(text: &[u8], out: &mut HashSet<(String, String)>) {
    let text = String::from_utf8_lossy(text);
    for part in text.split("<mask:").skip(1) {
        let inner = part.split('>').next().unwrap_or_default();
        if let [_, key, tag] = inner.split(':').collect::<Vec<_>>()[..] {
            out.insert((key.to_owned(), tag.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer::model::Raw;

    #[test]
    fn a_secret_is_found_by_its_token_and_no_other_is() {
        let key = || MaskKey::from_bytes([9; 32]);
        let mut masker = Masker::new(key());
        let shown = masker.command(&[Raw::from("x"), Raw::from("--password=zQ7vT2mXpLx9")]);
        let argv: Vec<_> = shown
            .get()
            .iter()
            .map(|raw| String::from_utf8_lossy(raw.bytes()).into_owned())
            .collect();
        let odd = masker.text(Raw::new([b"\xff token=".as_slice(), b"kP4wN8sYcVb3"].concat()));
        let line = json!({ "rec": { "exec": { "argv": argv, "cwd": { "b64": BASE64.encode(odd.get().bytes()) } } } });
        let found = tokens(format!("{line}\nnot json\n").as_bytes()).unwrap();
        let has = |secret: &[u8]| {
            let tags = key().tags(secret);
            found.iter().any(|(id, tag)| *id == key().id() && tags.contains(tag))
        };
        assert!(has(b"zQ7vT2mXpLx9"));
        assert!(has(b"kP4wN8sYcVb3"), "in bytes that are no UTF-8");
        assert!(!has(b"zQ7vT2mXpLx8"));
    }

    #[test]
    fn what_is_shown_around_a_finding_shows_no_other() {
        let text = b"a password=zQ7vT2mXpLx9 token=kP4wN8sYcVb3 z";
        let mut masker = Masker::new(MaskKey::from_bytes([9; 32]));
        let findings = masker.explain(text);
        assert_eq!(findings.len(), 2);
        assert_eq!(around(text, &findings, 0), "a password=<secret> token=");
        assert_eq!(around(text, &findings, 1), " token=<secret> z");
    }

    #[test]
    fn lines_and_columns_are_counted_from_one() {
        let mut place = Place::default();
        let text = b"a\nbc\nd";
        assert_eq!(place.of(text, 0), (1, 1));
        assert_eq!(place.of(text, 3), (2, 2));
        assert_eq!(place.of(text, 5), (3, 1));
    }
}
