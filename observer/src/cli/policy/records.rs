//! The calls of a ledger, for what is asked of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use observer::daemon;
use serde_json::Value;

use crate::cli::tail::files::Lines;

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
        // Each file once, also where one is closed or compressed meanwhile.
        let mut lines = Lines::open(path, 0).with_context(told)?;
        let mut seen = Seen::default();
        while let Some(line) = lines.next().with_context(told)? {
            self.take(&line, &mut seen, &mut f);
        }
        if !lines.rest().is_empty() {
            self.take(lines.rest(), &mut seen, &mut f);
        }
        Ok(seen)
    }

    fn take(&self, line: &[u8], seen: &mut Seen, f: &mut impl FnMut(&Value)) {
        let record = serde_json::from_slice::<Value>(line).ok();
        match record.as_ref().and_then(|line| line.get("rec")).filter(|r| r.is_object()) {
            Some(record) if self.wants(record) => {
                seen.records += 1;
                f(record);
            }
            Some(_) => {}
            None => seen.broken += 1,
        }
    }

    fn wants(&self, record: &Value) -> bool {
        let run = record["run"].as_str().unwrap_or_default();
        self.run.as_deref().is_none_or(|wanted| run.starts_with(wanted))
    }
}
