//! The lines of a ledger, over its closed files and the one that is written, in the order of the
//! records: each file once, also where one is closed or compressed meanwhile.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use observer::ledger::{Verifier, open, segment, segments_of};
use serde::Deserialize;

/// Where lines come from.
enum Source {
    /// A closed file.
    Closed(Box<dyn Read>),
    /// The one at the ledger's path.
    Written(File),
}

/// Lines of a ledger, as far as they are there.
pub(in crate::cli) struct Lines {
    path: PathBuf,
    source: Source,
    /// The file that is read.
    name: PathBuf,
    /// The first record in it, where it is known.
    from: Option<u64>,
    /// It is a closed one that was named: nothing comes after it.
    alone: bool,
    /// What was read of it and is not given yet begins at `at`.
    buffer: Vec<u8>,
    at: usize,
    /// Inside a line that is too long to be a record: its rest is left out.
    skipping: bool,
    anew: bool,
}

/// The first line of a file, as far as it says which it is.
#[derive(Deserialize)]
struct Line {
    rec: Head,
}

#[derive(Deserialize)]
struct Head {
    idx: u64,
}

impl Lines {
    /// From the file on that has the record `from`. A closed file that is named is read alone.
    pub(in crate::cli) fn open(path: &Path, from: u64) -> io::Result<Self> {
        let alone = segment(path).is_some();
        let lines = |source, name: PathBuf, from| Self {
            path: path.to_owned(),
            source,
            name,
            from,
            alone,
            buffer: vec![],
            at: 0,
            skipping: false,
            anew: false,
        };
        if alone {
            return Ok(lines(Source::Closed(open(path)?), path.to_owned(), None));
        }
        let closed = segments_of(path)?;
        // The last that begins no later; all of them where `from` was pruned. Whether the file
        // that is written begins no later only its first line tells.
        let after = closed.partition_point(|segment| segment.from <= from);
        let Some(first) = closed.get(after.saturating_sub(1)) else {
            return Ok(lines(Source::Written(File::open(path)?), path.to_owned(), None));
        };
        let source = Source::Closed(open(&first.path)?);
        Ok(lines(source, first.path.clone(), Some(first.from)))
    }

    /// The next line that is there already. An empty one stands for one that is too long.
    pub(in crate::cli) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.take() {
                if self.from.is_none() {
                    let head: Option<Line> = serde_json::from_slice(&line).ok();
                    self.from = head.map(|line| line.rec.idx);
                }
                return Ok(Some(line));
            }
            if self.fill()? {
                continue;
            }
            let Some((source, name, from)) = self.next_file()? else { return Ok(None) };
            // The last that was written before the file was put away.
            if self.fill()? {
                continue;
            }
            (self.source, self.name, self.from) = (source, name, from);
            self.buffer.clear();
            (self.at, self.skipping, self.anew) = (0, false, true);
        }
    }

    /// What stands at the end without a newline.
    pub(in crate::cli) fn rest(&self) -> &[u8] {
        if self.skipping { &[] } else { self.buffer.get(self.at..).unwrap_or_default() }
    }

    /// The file that the last line is from.
    pub(in crate::cli) fn name(&self) -> &Path {
        &self.name
    }

    /// Whether the last line is the first of another file, or of the same that was cut.
    pub(in crate::cli) fn began_anew(&mut self) -> bool {
        std::mem::take(&mut self.anew)
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let Some(end) = rest.iter().position(|&b| b == b'\n') else {
                if rest.len() > Verifier::LINE {
                    self.at = self.buffer.len();
                    return (!std::mem::replace(&mut self.skipping, true)).then(Vec::new);
                }
                return None;
            };
            let line = rest.get(..end).unwrap_or_default().to_owned();
            self.at += end + 1;
            if !std::mem::take(&mut self.skipping) {
                return Some(line);
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + Verifier::LINE, 0);
        let free = self.buffer.get_mut(length..).unwrap_or_default();
        let read = match &mut self.source {
            Source::Closed(source) => source.read(free),
            Source::Written(file) => file.read(free),
        };
        self.buffer.truncate(length + read.as_ref().map_or(0, |&n| n));
        let name = self.name.display();
        read.map(|n| n > 0).map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))
    }

    /// The file after the one that was read to its end, if there is one yet.
    fn next_file(&mut self) -> io::Result<Option<(Source, PathBuf, Option<u64>)>> {
        if self.alone {
            return Ok(None);
        }
        if let Source::Written(file) = &mut self.source {
            let (at, open) = (file.stream_position()?, file.metadata()?);
            if let Ok(there) = std::fs::metadata(&self.path) {
                let same = (there.dev(), there.ino()) == (open.dev(), open.ino());
                if same && open.len() >= at {
                    return Ok(None);
                }
            }
        }
        // Opened before the closed ones are listed: where none comes between, it is the next.
        let written = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let closed = segments_of(&self.path)?;
        if let Some(next) =
            closed.iter().find(|segment| self.from.is_some_and(|f| segment.from > f))
        {
            let source = Source::Closed(open(&next.path)?);
            return Ok(Some((source, next.path.clone(), Some(next.from))));
        }
        Ok(written.map(|file| (Source::Written(file), self.path.clone(), None)))
    }
}
