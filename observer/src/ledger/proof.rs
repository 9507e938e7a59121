//! One record, proved to be in a ledger by a file that stands alone: C2SP tlog-proof, with the
//! record's line as its extra data. Pure but for the reader that it is given.

use std::io::{self, BufRead, Read};

use data_encoding::BASE64;

use super::chain;
use super::keys::PublicKey;
use super::merkle::{self, Hash, Prover};
use super::note::{Checkpoint, Kind, NOTE, Note, VerifierKey, decimal};
use super::verify::Verifier;

const FIRST: &str = "c2sp.org/tlog-proof@v1\n";
/// The steps of a proof in the largest tree that there can be.
const STEPS: usize = 63;
/// A proof's bound, in bytes.
pub const PROOF: usize = 4 * Verifier::LINE;

/// A record's proof.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The record's `idx`.
    pub index: u64,
    line: Vec<u8>,
    steps: Vec<Hash>,
    note: String,
}

/// What a proof showed.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The checkpoint that vouches for it.
    pub checkpoint: Checkpoint,
    /// The record's bytes.
    pub record: Vec<u8>,
}

impl Proof {
    /// Makes the proof of a record under a checkpoint, out of the ledger from its beginning.
    pub fn make(mut ledger: impl BufRead, index: u64, note: &str) -> io::Result<Self> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let checkpoint = Note::parse(note.as_bytes()).and_then(|n| Checkpoint::parse(&n.text));
        let checkpoint = checkpoint.ok_or_else(|| bad("not a checkpoint".to_owned()))?;
        let size = checkpoint.size;
        let prover = Prover::inclusion(index, size);
        let mut prover = prover.ok_or_else(|| {
            bad(format!("record {index} is not among the {size} that its checkpoint vouches for"))
        })?;
        let mut found = vec![];
        let mut line = vec![];
        for idx in 0..size {
            line.clear();
            ledger.by_ref().take(Verifier::LINE as u64 + 1).read_until(b'\n', &mut line)?;
            let parts = line.strip_suffix(b"\n").and_then(|line| Some((line, chain::parts(line)?)));
            let (body, (record, _)) =
                parts.ok_or_else(|| bad(format!("record {idx} is not there")))?;
            if idx == index {
                found = body.to_vec();
            }
            prover.push(merkle::leaf(record));
        }
        let steps = prover.finish().unwrap_or_default();
        let proof = Self { index, line: found, steps, note: note.to_owned() };
        if proof.leads_to(&checkpoint).is_none() {
            return Err(bad(format!(
                "its first {size} records are not those of its checkpoint: see `observer verify`"
            )));
        }
        Ok(proof)
    }

    /// As a file.
    pub fn text(&self) -> String {
        let mut out = format!("{FIRST}extra {}\nindex {}\n", BASE64.encode(&self.line), self.index);
        for step in &self.steps {
            out.push_str(&BASE64.encode(step));
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.note);
        out
    }

    /// From a file. None where it is no proof.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > PROOF {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?.strip_prefix(FIRST)?;
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let line = BASE64.decode(lines.next()?.strip_prefix("extra ")?.as_bytes()).ok()?;
        let index = decimal(lines.next()?.strip_prefix("index ")?)?;
        let step = |line: &str| BASE64.decode(line.as_bytes()).ok()?.try_into().ok();
        let steps: Vec<Hash> = lines.map(step).collect::<Option<_>>()?;
        let fits = steps.len() <= STEPS && note.len() <= NOTE;
        fits.then(|| Self { index, line, steps, note: note.to_owned() })
    }

    /// The record, where the proof leads from it to the checkpoint's root.
    fn leads_to(&self, checkpoint: &Checkpoint) -> Option<Vec<u8>> {
        let (record, _) = chain::parts(&self.line)?;
        let leaf = merkle::leaf(record);
        let Checkpoint { size, root, .. } = checkpoint;
        let holds = merkle::includes(self.index, leaf, *size, root, &self.steps);
        holds.then(|| record.to_vec())
    }

    /// What it shows to whoever trusts this key for checkpoints; else why it shows nothing.
    pub fn verify(&self, log: PublicKey) -> Result<Proved, String> {
        let note = Note::parse(self.note.as_bytes()).ok_or("its checkpoint is no signed note")?;
        let checkpoint = Checkpoint::parse(&note.text).ok_or("its note is no checkpoint")?;
        let by = VerifierKey { name: checkpoint.origin.clone(), kind: Kind::Log, key: log };
        if !note.verifies(&by) {
            return Err("its checkpoint is not signed by this key".to_owned());
        }
        let record = self.leads_to(&checkpoint);
        let record = record.ok_or("it does not lead from the record to the checkpoint's root")?;
        Ok(Proved { checkpoint, record })
    }
}
