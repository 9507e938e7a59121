//! The calls of a ledger, for what is asked of them.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use observer::daemon;
use observer::ledger::{self, Verifier};
use serde_json::Value;

/// Which records.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// The ledger; its closed files, compressed or not, are read too [default:
    /// /var/log/observer/ledger.jsonl]
    file: Option<PathBuf>,
    /// One run's records: its id, or the beginning of it
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Records.
    pub(super) records: u64,
    /// Lines that are none.
    pub(super) broken: u64,
}

impl Source {
    pub(super) fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(daemon::LOG))
    }

    /// Gives each record, in the ledger's order. They are not verified: `observer verify` does that.
    pub(super) fn each(&self, mut f: impl FnMut(&Value)) -> Result<Seen> {
        let path = self.path();
        let told = || format!("cannot read {}", path.display());
        let mut files: Vec<PathBuf> = vec![];
        if ledger::segment(path).is_none() {
            let closed = ledger::segments_of(path).with_context(told)?;
            files.extend(closed.into_iter().map(|segment| segment.path));
        }
        files.push(path.to_owned());
        let mut read = Seen::default();
        for file in files {
            let told = || format!("cannot read {}", file.display());
            let mut input = ledger::open(&file).with_context(told)?;
            while let Some(line) = next(&mut input).with_context(told)? {
                let record = serde_json::from_slice::<Value>(&line).ok();
                match record.as_ref().and_then(|line| line.get("rec")).filter(|r| r.is_object()) {
                    Some(record) if self.wants(record) => {
                        read.records += 1;
                        f(record);
                    }
                    Some(_) => {}
                    None => read.broken += 1,
                }
            }
        }
        Ok(read)
    }

    fn wants(&self, record: &Value) -> bool {
        let run = record["run"].as_str().unwrap_or_default();
        self.run.as_deref().is_none_or(|wanted| run.starts_with(wanted))
    }
}

/// The next line, without more of it than a record can have; of a longer one its beginning, which
/// is no record.
fn next(input: &mut dyn BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let limit = Verifier::LINE as u64 + 1;
    let mut line = vec![];
    if input.take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let mut rest = line.last().copied();
    while rest != Some(b'\n') {
        let mut more = vec![];
        if input.take(limit).read_until(b'\n', &mut more)? == 0 {
            break;
        }
        rest = more.last().copied();
    }
    Ok(Some(line))
}
