//! A ledger's leaves, one after another, over all of its files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::chain;
use super::files::LINE;
use super::merkle::{self, Hash, Tree};
use super::resume;
use super::segments::{self, Segment};

/// A place between two records.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The tree over the records before it.
    pub(super) tree: Tree,
    /// The first record of its file, and where in that file it is.
    from: u64,
    offset: u64,
}

/// Reads leaves from a place on.
pub(super) struct Leaves {
    ledger: PathBuf,
    source: Box<dyn BufRead>,
    place: Place,
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Leaves {
    /// The place after the first `size` records.
    pub(super) fn first(ledger: &Path, size: u64) -> io::Result<Place> {
        let mut leaves = Self::within(ledger, size)?;
        leaves.advance(size, |_| {})?;
        Ok(leaves.place)
    }

    /// From a place on that is known already.
    pub(super) fn after(ledger: &Path, place: &Place) -> io::Result<Self> {
        let files = files(ledger)?;
        let same = files.iter().find(|file| file.from == place.from);
        if let Some(file) = same.filter(|file| file.path.extension().is_none_or(|e| e != "zst")) {
            let mut source = BufReader::with_capacity(256 * 1024, File::open(&file.path)?);
            source.seek(SeekFrom::Start(place.offset))?;
            let (ledger, source) = (ledger.to_owned(), Box::new(source));
            return Ok(Self { ledger, source, place: place.clone() });
        }
        let mut leaves = Self::within(ledger, place.tree.size())?;
        leaves.advance(place.tree.size(), |_| {})?;
        if leaves.place.tree != place.tree {
            return Err(bad("its records are not those that it had"));
        }
        Ok(leaves)
    }

    /// Goes on until there are `size` records.
    pub(super) fn advance(&mut self, size: u64, mut each: impl FnMut(Hash)) -> io::Result<()> {
        if size < self.place.tree.size() {
            return Err(bad("they are in a file that is not here"));
        }
        while self.place.tree.size() < size {
            let Some(line) = line(&mut self.source)? else {
                let next = self.place.tree.size();
                let file = files(&self.ledger)?.into_iter().find(|file| file.from == next);
                let file = file.filter(|file| file.from != self.place.from);
                self.source = segments::open(&file.ok_or_else(|| bad("it was cut"))?.path)?;
                (self.place.from, self.place.offset) = (next, 0);
                continue;
            };
            let parts = line.strip_suffix(b"\n").and_then(chain::parts);
            let (record, _) = parts.ok_or_else(|| bad("a line is no record"))?;
            let leaf = merkle::leaf(record);
            each(leaf);
            self.place.tree.push(leaf);
            self.place.offset += line.len() as u64;
        }
        Ok(())
    }

    /// Where it stands.
    pub(super) fn place(self) -> Place {
        self.place
    }

    /// At the beginning of the file that has the record after the first `size`, or the last.
    fn within(ledger: &Path, size: u64) -> io::Result<Self> {
        let files = files(ledger)?;
        let file = files.iter().rev().find(|file| file.from <= size);
        let file = file.ok_or_else(|| bad("they are in a file that is not here"))?;
        let first = line(&mut segments::open(&file.path)?)?.unwrap_or_default();
        let tree = first_tree(&first).ok_or_else(|| bad("its first line is no record"))?;
        let place = Place { tree, from: file.from, offset: 0 };
        Ok(Self { ledger: ledger.to_owned(), source: segments::open(&file.path)?, place })
    }
}

/// All files of a ledger; the one that is written is the last, where it has a record.
fn files(ledger: &Path) -> io::Result<Vec<Segment>> {
    let mut files = segments::segments_of(ledger)?;
    let written = match File::open(ledger) {
        Ok(file) => line(&mut BufReader::new(file))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if let Some(tree) = written.and_then(|first| first_tree(&first)) {
        files.push(Segment { from: tree.size(), path: ledger.to_owned() });
    }
    Ok(files)
}

/// The tree over what comes before a file's first line.
fn first_tree(line: &[u8]) -> Option<Tree> {
    resume::tree_before(chain::parts(line.strip_suffix(b"\n")?)?.0)
}

fn line(source: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = vec![];
    let n = source.by_ref().take(LINE as u64 + 1).read_until(b'\n', &mut line)?;
    Ok((n > 0).then_some(line))
}
