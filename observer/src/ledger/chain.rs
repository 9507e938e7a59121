//! How records hang together: leaves, signatures, lines. Pure.

use data_encoding::{BASE64, HEXLOWER};

use super::merkle::Hash;

/// What stands before a record when it is signed.
const RECORD: &[u8] = b"observer/record/v1\n";
/// What stands before a run's certificate when it is signed.
const RUN: &[u8] = b"observer/run/v1\n";

/// The `prev` of the first record.
pub(super) const GENESIS: Hash = [0; 32];
/// Why a line is refused that somebody else signed.
pub(super) const BAD_SIGNATURE: &str = "the signature is not by its signer's key over this record";

/// A ledger's name, for its checkpoints: made from its first record, so that each has its own.
pub(super) fn origin(first: &Hash) -> String {
    let hex = HEXLOWER.encode(first);
    format!("observer/ledger/{}", hex.get(..32).unwrap_or_default())
}

/// What is signed for a record.
pub(super) fn record_message(record: &[u8]) -> Vec<u8> {
    [RECORD, record].concat()
}

/// What the host signs for a run: its id, its public key, and where in the ledger it begins, so
/// that a certificate can't be moved.
pub(super) fn run_message(run: &str, key: &str, idx: u64) -> Vec<u8> {
    [RUN, format!("{run}\n{key}\n{idx}").as_bytes()].concat()
}

/// What stands before a record in its line.
const HEAD: &[u8] = b"{\"rec\":";

/// Begins a line at the end of `lines`; where in it the record comes.
pub(super) fn open(lines: &mut Vec<u8>) -> usize {
    lines.extend_from_slice(HEAD);
    lines.len()
}

/// Ends a line whose record was written, without its newline.
pub(super) fn close(lines: &mut Vec<u8>, signature: Option<&[u8]>) {
    if let Some(signature) = signature {
        lines.extend_from_slice(b",\"sig\":\"");
        lines.extend_from_slice(BASE64.encode(signature).as_bytes());
        lines.push(b'"');
    }
    lines.push(b'}');
}

/// A line without its newline.
pub(super) fn line(record: &[u8], signature: Option<&[u8]>) -> Vec<u8> {
    let mut line = Vec::with_capacity(record.len() + 110);
    open(&mut line);
    line.extend_from_slice(record);
    close(&mut line, signature);
    line
}

/// Takes a line apart: the record's bytes, and its signature where it has one. None where it has
/// another shape, down to the byte.
pub(super) fn parts(line: &[u8]) -> Option<(&[u8], Option<Vec<u8>>)> {
    const TAIL: usize = r#","sig":""}"#.len() + 88;
    let body = line.strip_prefix(HEAD)?.strip_suffix(b"}")?;
    let whole = body.len() + 1;
    if let Some(at) = whole.checked_sub(TAIL)
        && let Some(tail) = body.get(at..)
        && let Some(sig) = tail.strip_prefix(b",\"sig\":\"").and_then(|t| t.strip_suffix(b"\""))
    {
        let signature = BASE64.decode(sig).ok().filter(|bytes| bytes.len() == 64)?;
        return Some((&body[..at], Some(signature)));
    }
    Some((body, None))
}
