//! Ed25519 signatures of keys that sign much, checked by tables of their keys' multiples.
//!
//! A signature (R, s) of a key A holds where the encoding of sB − kA is R to the byte, with s below
//! the group's order (RFC 8032, §5.1.7, without the cofactor): the same here and in
//! [`PublicKey::verifies`], each signature by itself. With a table there is an addition for each
//! byte of s and of k, and nothing is doubled. What is computed is public, so the time that it takes
//! may tell it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::Identity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ring::digest::{Context, SHA512};

use super::keys::PublicKey;

/// Signatures of a key after which its table pays: making it takes as long as some fifty.
const WORTH: u32 = 64;
/// Tables that are kept, of 1.3 MB each; and keys whose signatures are counted.
const TABLES: usize = 8;
const COUNTED: usize = 4096;

/// For each byte of a scalar: the point times that byte, at the byte's weight.
struct Table(Vec<EdwardsPoint>);

impl Table {
    fn of(point: EdwardsPoint) -> Self {
        let mut all = Vec::with_capacity(32 * 256);
        let mut weight = point;
        for _ in 0..32 {
            let mut multiple = EdwardsPoint::identity();
            for _ in 0..256 {
                all.push(multiple);
                multiple += weight;
            }
            weight = multiple;
        }
        Self(all)
    }

    fn add(&self, sum: EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        let rows = self.0.chunks_exact(256).zip(scalar.as_bytes()).filter(|(_, byte)| **byte != 0);
        rows.filter_map(|(row, &byte)| row.get(usize::from(byte))).fold(sum, |sum, p| sum + p)
    }
}

/// The tables of keys, and how much each key was asked for.
#[derive(Default)]
pub(super) struct Multiples(Mutex<Keys>);

#[derive(Default)]
struct Keys {
    counts: HashMap<PublicKey, u32>,
    /// The oldest first. None where the key's bytes are no point.
    tables: Vec<(PublicKey, Option<Arc<Table>>)>,
}

impl Multiples {
    /// Whether a signature is its signer's.
    pub(super) fn verify(&self, key: PublicKey, message: &[u8], signature: &[u8]) -> bool {
        match self.table(key) {
            Some(table) => holds(&table, key, message, signature).is_some(),
            None => key.verifies(message, signature),
        }
    }

    /// A key's table, where it has signed enough to have one.
    fn table(&self, key: PublicKey) -> Option<Arc<Table>> {
        let mut keys = self.0.lock().ok()?;
        if let Some((_, table)) = keys.tables.iter().find(|(known, _)| *known == key) {
            return table.clone();
        }
        if keys.counts.len() >= COUNTED {
            keys.counts.clear();
        }
        let count = keys.counts.entry(key).or_default();
        *count += 1;
        if *count < WORTH {
            return None;
        }
        keys.counts.remove(&key);
        if keys.tables.len() >= TABLES {
            keys.tables.remove(0);
        }
        let point = CompressedEdwardsY(*key.bytes()).decompress();
        let table = point.map(|point| Arc::new(Table::of(-point)));
        keys.tables.push((key, table.clone()));
        table
    }
}

/// Some where the signature holds.
fn holds(table: &Table, key: PublicKey, message: &[u8], signature: &[u8]) -> Option<()> {
    static BASE: OnceLock<Table> = OnceLock::new();
    let (r, s) = signature.split_first_chunk::<32>()?;
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
    let mut hash = Context::new(&SHA512);
    hash.update(r);
    hash.update(key.bytes());
    hash.update(message);
    let k = Scalar::from_bytes_mod_order_wide(hash.finish().as_ref().try_into().ok()?);
    let base = BASE.get_or_init(|| Table::of(ED25519_BASEPOINT_POINT));
    let sum = table.add(base.add(EdwardsPoint::identity(), &s), &k);
    (sum.compress().as_bytes() == r).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::keys::SigningKey;

    /// What the tables say, whether or not the key has signed enough.
    fn by_table(key: PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let point = CompressedEdwardsY(*key.bytes()).decompress();
        point.is_some_and(|p| holds(&Table::of(-p), key, message, signature).is_some())
    }

    #[test]
    fn a_table_and_the_library_judge_alike_whatever_bit_is_flipped() {
        let key = SigningKey::generate().unwrap();
        let (public, message) = (key.public(), b"what was said".as_slice());
        let multiples = Multiples::default();
        let good = key.sign(message);
        for _ in 0..2 * WORTH {
            assert!(multiples.verify(public, message, &good));
        }
        assert!(multiples.table(public).is_some());
        for bit in 0..512 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.verifies(message, &bad) && !multiples.verify(public, message, &bad));
        }
        assert!(!multiples.verify(public, b"something else", &good));
        assert!(!multiples.verify(public, message, &good[..63]));
        assert!(!multiples.verify(public, message, &[good.as_slice(), &[0]].concat()));
    }

    #[test]
    fn a_table_and_the_library_judge_parts_of_small_order_alike() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let mut good = 0;
        for case in include_str!("tests/torsion.txt").lines() {
            let words: Vec<_> = case.split(' ').collect();
            let Some(key) = PublicKey::from_bytes(hex(words[1]).try_into().unwrap()) else {
                continue;
            };
            let holds = by_table(key, &hex(words[2]), &hex(words[3]));
            assert_eq!(holds, words[0] == "good", "{case}");
            good += u32::from(holds);
        }
        assert!(good >= 10, "only {good} hold");
    }

    #[test]
    fn keys_beyond_the_bound_are_forgotten_and_their_signatures_still_hold() {
        let multiples = Multiples::default();
        for _ in 0..=TABLES {
            let key = SigningKey::generate().unwrap();
            let signature = key.sign(b"x");
            for _ in 0..=WORTH {
                assert!(multiples.verify(key.public(), b"x", &signature));
            }
        }
        assert_eq!(multiples.0.lock().unwrap().tables.len(), TABLES);
    }
}
