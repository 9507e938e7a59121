//! How a ledger is taken up again: what its file holds, where it ends, and what a crash left.
//!
//! What a checkpoint vouches for is never moved: where that does not hold, somebody was there,
//! and the ledger is refused. After it, whatever is not whole, chained and signed belongs to a
//! group that was never acknowledged: it is moved aside, and a `recover` record says so.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest;
use serde::Deserialize;

use super::chain;
use super::checkpoints::checkpoints_of;
use super::entry::LostRun;
use super::files::{LINE, OpenError};
use super::keys::PublicKey;
use super::merkle::{self, Hash, Tree};
use super::note::Checkpoint;
use super::segments::{self, Segment};

/// What a ledger holds.
#[derive(Clone)]
pub(super) struct Found {
    /// The tree over its records, and over those of earlier files.
    pub(super) tree: Tree,
    /// The last record's leaf.
    pub(super) prev: Hash,
    /// How long it is: records alone.
    pub(super) len: u64,
    /// The first record in the file, or of the file to come.
    pub(super) from: u64,
    /// Its name; none where it has no record.
    pub(super) origin: Option<String>,
    /// The host key that is to sign what follows; none where no record has named one.
    pub(super) host: Option<PublicKey>,
    /// The first record of its key, as far as this file tells.
    pub(super) epoch: u64,
    /// Runs that have no end, with how many records they have.
    pub(super) open: BTreeMap<String, u64>,
}

/// What a crash left.
#[derive(Debug)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) aside: PathBuf,
}

/// The fields of a record that say where it stands.
#[derive(Deserialize)]
struct Head {
    idx: u64,
    prev: String,
    #[serde(rename = "type")]
    kind: String,
    run: Option<String>,
    seq: Option<u64>,
    recover: Option<Recover>,
    host_key: Option<String>,
    key: Option<NextKey>,
    segment: Option<Before>,
}

#[derive(Deserialize)]
struct Recover {
    run: Option<String>,
}

#[derive(Deserialize)]
struct NextKey {
    next: String,
}

#[derive(Deserialize)]
struct Before {
    origin: String,
    peaks: Vec<String>,
    runs: Vec<SegmentRun>,
}

#[derive(Deserialize)]
struct SegmentRun {
    run: String,
    seq: u64,
}

/// Reads a ledger, and moves aside what a crash left at its end.
pub(super) fn resume(
    file: &File,
    path: &Path,
    before: Option<&Segment>,
    vouched: Option<&Checkpoint>,
) -> Result<(Found, Option<Torn>), OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let found = stand(file, path, before, vouched)?;
    let len = file.metadata().map_err(failed)?.len();
    if found.len == len {
        return Ok((found, None));
    }
    let torn = move_aside(file, path, found.len, len).map_err(failed)?;
    Ok((found, Some(torn)))
}

/// Where a ledger stands: after its last whole record, whatever a crash left behind that. `before`
/// is its last closed file, and `vouched` the last checkpoint that this host signed for it.
pub(super) fn stand(
    file: &File,
    path: &Path,
    before: Option<&Segment>,
    vouched: Option<&Checkpoint>,
) -> Result<Found, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let foreign = |why: String| OpenError::Foreign { path: path.to_owned(), why };
    let len = file.metadata().map_err(failed)?.len();
    let mut walk = Walk::new(vouched);
    walk.through(file, len).map_err(failed)?;
    // Lines that wait for a signature are of the last group, and so is what stands after them;
    // without that, others of the group may wait for theirs.
    while let Some(&from) = walk.unsigned.values().min() {
        walk = Walk::new(vouched);
        walk.through(file, from).map_err(failed)?;
    }
    let Walk { mut found, contradicted, .. } = walk;
    if found.len == 0
        && let Some(last) = before
    {
        found = closed(path, last, vouched)?;
    }
    let due = vouched.map_or(0, |checkpoint| checkpoint.size);
    if contradicted {
        return Err(foreign(format!("its first {due} records are not those of its checkpoint")));
    }
    if found.tree.size() < due {
        let has = found.tree.size();
        let beside = checkpoints_of(path);
        return Err(foreign(format!(
            "{} vouches for {due} records, and {has} of them are whole here: where you took them \
             away yourself, take that file away too",
            beside.display()
        )));
    }
    if found.len == 0 && len > 0 && !is_torn_beginning(file, len).map_err(failed)? {
        return Err(foreign("its first line is not a record".to_owned()));
    }
    Ok(found)
}

/// What a ledger holds whose last file is closed: a crash came before the next had a record.
pub(super) fn closed(
    path: &Path,
    last: &Segment,
    vouched: Option<&Checkpoint>,
) -> Result<Found, OpenError> {
    let failed = |source| OpenError::Io { path: last.path.clone(), source };
    let mut walk = Walk::new(vouched);
    walk.lines(segments::open(&last.path).map_err(failed)?).map_err(failed)?;
    let Walk { mut found, unsigned, contradicted, .. } = walk;
    let due = vouched.map_or(0, |checkpoint| checkpoint.size);
    if contradicted || found.tree.size() < due || found.len == 0 || !unsigned.is_empty() {
        let why = format!("{} before it is not as its checkpoint says", last.path.display());
        return Err(OpenError::Foreign { path: path.to_owned(), why });
    }
    (found.len, found.from) = (0, found.tree.size());
    Ok(found)
}

/// The tree over the records before a file's first one.
pub(super) fn tree_before(first: &[u8]) -> Option<Tree> {
    serde_json::from_slice::<Head>(first).ok()?.tree_before()
}

impl Head {
    fn tree_before(&self) -> Option<Tree> {
        if self.idx == 0 {
            return Some(Tree::default());
        }
        let peaks = self.segment.as_ref()?.peaks.iter().map(|peak| hash(peak));
        Tree::from_peaks(self.idx, peaks.collect::<Option<_>>()?)
    }
}

/// The runs that have no end, as `recover` records name them.
pub(super) fn lost(found: &Found) -> impl Iterator<Item = LostRun> + '_ {
    found.open.iter().map(|(run, &seq)| LostRun { run: run.clone(), seq })
}

/// Whether a file without one whole record may be what a crash left of a ledger's first group:
/// half a line, a line with pages in it that were never written, a record that nothing covers, or
/// nothing but zeros. What somebody else may want to keep is none of that.
fn is_torn_beginning(file: &File, len: u64) -> io::Result<bool> {
    const BEGIN: &[u8] = b"{\"rec\":{";
    const MOST: u64 = 64 << 20;
    if len > MOST {
        return Ok(false);
    }
    let mut source = file.try_clone()?;
    source.seek(SeekFrom::Start(0))?;
    let mut source = BufReader::new(source);
    let mut line = vec![];
    (&mut source).take(LINE as u64 + 1).read_until(b'\n', &mut line)?;
    if let Some(body) = line.strip_suffix(b"\n") {
        let first = chain::parts(body).map(|(record, _)| serde_json::from_slice::<Head>(record));
        let is_record = first.is_some_and(|head| head.is_ok_and(|head| head.idx == 0));
        return Ok(is_record || body.starts_with(BEGIN) && body.contains(&0));
    }
    if BEGIN.starts_with(&line) || line.starts_with(BEGIN) && line.len() <= LINE {
        return Ok(true);
    }
    let mut zeros = line.iter().all(|&b| b == 0);
    while zeros {
        line.clear();
        if (&mut source).take(LINE as u64).read_to_end(&mut line)? == 0 {
            break;
        }
        zeros = line.iter().all(|&b| b == 0);
    }
    Ok(zeros)
}

/// A way through a file, as far as it holds.
struct Walk<'a> {
    found: Found,
    /// For each signer, where its first line begins that no signature covers yet.
    unsigned: HashMap<Option<String>, u64>,
    vouched: Option<&'a Checkpoint>,
    contradicted: bool,
}

impl<'a> Walk<'a> {
    fn new(vouched: Option<&'a Checkpoint>) -> Self {
        let found = Found {
            tree: Tree::default(),
            prev: chain::GENESIS,
            len: 0,
            from: 0,
            origin: None,
            host: None,
            epoch: 0,
            open: BTreeMap::new(),
        };
        Self { found, unsigned: HashMap::new(), vouched, contradicted: false }
    }

    fn through(&mut self, file: &File, end: u64) -> io::Result<()> {
        let mut source = file.try_clone()?;
        source.seek(SeekFrom::Start(0))?;
        self.lines(BufReader::with_capacity(1 << 20, source.take(end)))
    }

    fn lines(&mut self, mut source: impl BufRead) -> io::Result<()> {
        let mut line = vec![];
        loop {
            line.clear();
            (&mut source).take(LINE as u64 + 1).read_until(b'\n', &mut line)?;
            let Some(body) = line.strip_suffix(b"\n") else { return Ok(()) };
            if self.line(body).is_none() || self.contradicted {
                return Ok(());
            }
        }
    }

    /// Takes a line in. None where it does not continue what was read so far.
    fn line(&mut self, line: &[u8]) -> Option<()> {
        let (record, signature) = chain::parts(line)?;
        let head: Head = serde_json::from_slice(record).ok()?;
        let leaf = merkle::leaf(record);
        let found = &mut self.found;
        if found.len == 0 && head.idx > 0 {
            found.tree = head.tree_before()?;
            (found.from, found.epoch) = (head.idx, head.idx);
            let segment = head.segment?;
            found.origin = Some(segment.origin);
            found.prev = hash(&head.prev)?;
            found.open = segment.runs.into_iter().map(|run| (run.run, run.seq)).collect();
        }
        if head.idx != found.tree.size() || hash(&head.prev)? != found.prev {
            return None;
        }
        match &head.run {
            Some(run) if head.kind == "run.end" => {
                found.open.remove(run);
            }
            Some(run) => {
                found.open.insert(run.clone(), head.seq? + 1);
            }
            None => {}
        }
        if let Some(run) = head.recover.and_then(|recover| recover.run) {
            found.open.remove(&run);
        }
        if head.key.is_some() {
            found.epoch = head.idx + 1;
        }
        if head.run.is_none()
            && let Some(named) = head.key.map(|key| key.next).or(head.host_key)
        {
            found.host = PublicKey::parse(&named);
        }
        if head.idx == 0 {
            found.origin = Some(chain::origin(&leaf));
        }
        match signature {
            Some(_) => drop(self.unsigned.remove(&head.run)),
            None => drop(self.unsigned.entry(head.run).or_insert(found.len)),
        }
        found.tree.push(leaf);
        found.prev = leaf;
        found.len += line.len() as u64 + 1;
        if let Some(vouched) = self.vouched
            && vouched.size == found.tree.size()
        {
            self.contradicted = vouched.root != found.tree.root();
        }
        Some(())
    }
}

impl Found {
    /// Takes one more line in. None where it does not continue what is here: nothing is changed.
    pub(super) fn take(&mut self, line: &[u8]) -> Option<()> {
        let unsigned = HashMap::new();
        let mut walk = Walk { found: self.clone(), unsigned, vouched: None, contradicted: false };
        walk.line(line)?;
        *self = walk.found;
        Some(())
    }
}

fn hash(hex: &str) -> Option<Hash> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// Copies what stands from `from` on into a file beside, then cuts it off.
fn move_aside(file: &File, path: &Path, from: u64, len: u64) -> io::Result<Torn> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut n = 0;
    // Never over what an earlier crash left there.
    let (aside, mut copy) = loop {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 0 { format!(".torn-{from}") } else { format!(".torn-{from}.{n}") });
        match options.open(&name) {
            Ok(copy) => break (PathBuf::from(name), copy),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < 1000 => n += 1,
            Err(e) => return Err(e),
        }
    };
    let mut source = file.try_clone()?;
    source.seek(SeekFrom::Start(from))?;
    let mut source = source.take(len - from);
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let n = source.read(&mut piece)?;
        let read = piece.get(..n).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        hash.update(read);
        io::Write::write_all(&mut copy, read)?;
    }
    copy.sync_all()?;
    file.set_len(from)?;
    file.sync_all()?;
    Ok(Torn { bytes: len - from, sha256: HEXLOWER.encode(hash.finish().as_ref()), aside })
}
