//! The Merkle tree of RFC 6962 over a ledger's leaves, in logarithmic memory. Pure.
//!
//! It keeps the roots of the perfect subtrees alone, never the leaves: what proves something of
//! earlier leaves is made by running through them once more with a [`Prover`].

use std::ops::Range;

use ring::digest;

/// A SHA-256.
pub type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hash = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| hash.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

/// The hash of a leaf: SHA-256(0x00 ‖ data), RFC 6962 §2.1.
pub fn leaf(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// A tree that grows at its right end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// The roots of the perfect subtrees, the largest first: one for each bit set in `size`.
    peaks: Vec<Hash>,
}

impl Tree {
    /// Leaves that it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree with these perfect subtrees, the largest first. None where that many leaves have
    /// others.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The roots of its perfect subtrees, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        let mut rest = self.size;
        while rest & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            root = node(&left, &root);
            rest >>= 1;
        }
        self.peaks.push(root);
        self.size += 1;
    }

    /// The root; SHA-256 of nothing where there are no leaves.
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().rev().copied().reduce(|right, left| node(&left, &right));
        joined.unwrap_or_else(|| sha256(&[]))
    }
}

/// Makes a proof out of the leaves as they come by, from the first on.
#[derive(Debug)]
pub struct Prover {
    /// What of the tree each hash of the proof stands for, in the proof's order.
    ranges: Vec<Range<u64>>,
    hashes: Vec<Tree>,
    seen: u64,
}

impl Prover {
    /// That the leaf `index` is in the tree of `size` leaves. None where it can't be.
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        let mut ranges = vec![];
        let mut all = 0..size;
        if index >= size {
            return None;
        }
        while all.end - all.start > 1 {
            let middle = all.start + split(all.end - all.start);
            if index < middle {
                ranges.push(middle..all.end);
                all.end = middle;
            } else {
                ranges.push(all.start..middle);
                all.start = middle;
            }
        }
        ranges.reverse();
        Some(Self::new(ranges))
    }

    /// That the tree of `size` leaves begins with the tree of `old`. None where it can't.
    pub fn consistency(old: u64, size: u64) -> Option<Self> {
        if old > size {
            return None;
        }
        let mut ranges = vec![];
        let mut all = 0..size;
        // RFC 6962 §2.1.2, its recursion unrolled from the top.
        while old > 0 && old < size && all.end != old {
            let middle = all.start + split(all.end - all.start);
            if old <= middle {
                ranges.push(middle..all.end);
                all.end = middle;
            } else {
                ranges.push(all.start..middle);
                all.start = middle;
            }
        }
        if all.start > 0 {
            ranges.push(all);
        }
        ranges.reverse();
        Some(Self::new(ranges))
    }

    /// The same, from the old tree and the leaves after it: those before are not needed again.
    pub fn consistency_from(old: &Tree, size: u64) -> Option<Self> {
        let mut prover = Self::consistency(old.size, size)?;
        let mut start = 0;
        for &peak in &old.peaks {
            let rest = old.size - start;
            let length = 1 << (63 - rest.leading_zeros());
            let range = start..start + length;
            // What of the proof lies in the old tree is one of its perfect subtrees.
            if let Some(at) = prover.ranges.iter().position(|r| *r == range)
                && let Some(tree) = prover.hashes.get_mut(at)
            {
                *tree = Tree { size: length, peaks: vec![peak] };
            }
            start += length;
        }
        prover.seen = old.size;
        Some(prover)
    }

    fn new(ranges: Vec<Range<u64>>) -> Self {
        let hashes = vec![Tree::default(); ranges.len()];
        Self { ranges, hashes, seen: 0 }
    }

    /// Takes the next leaf's hash.
    pub fn push(&mut self, leaf: Hash) {
        for (range, tree) in self.ranges.iter().zip(&mut self.hashes) {
            if range.contains(&self.seen) {
                tree.push(leaf);
            }
        }
        self.seen += 1;
    }

    /// The proof; None where leaves were missing.
    pub fn finish(self) -> Option<Vec<Hash>> {
        let whole = self.ranges.iter().all(|range| range.end <= self.seen);
        whole.then(|| self.hashes.iter().map(Tree::root).collect())
    }
}

/// The largest power of two that is smaller than `n`, which is above 1.
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Whether a proof shows `leaf` at `index` of the tree with this size and root (RFC 9162 §2.1.3.2).
pub fn includes(index: u64, leaf: Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = leaf;
    for step in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(step, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether a proof shows that the second tree begins with the first (RFC 9162 §2.1.4.2).
pub fn consistent(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (size, root)) = (old, new);
    if old_size == 0 {
        return proof.is_empty();
    }
    if old_size == size {
        return proof.is_empty() && old_root == root;
    }
    if old_size > size {
        return false;
    }
    // A whole subtree is not repeated in the proof.
    let whole = old_size.is_power_of_two();
    let mut steps = whole.then_some(old_root).into_iter().chain(proof);
    let Some(first) = steps.next() else { return false };
    let (mut at, mut last) = (old_size - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut before, mut after) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            before = node(step, &before);
            after = node(step, &after);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            after = node(&after, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// The leaves of the reference implementation's tests of RFC 6962, and its roots.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(n: usize) -> Vec<Hash> {
        LEAVES.iter().take(n).map(|hex| leaf(&HEXLOWER.decode(hex.as_bytes()).unwrap())).collect()
    }

    fn tree(leaves: &[Hash]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|&leaf| tree.push(leaf));
        tree
    }

    fn prove(mut prover: Prover, leaves: &[Hash]) -> Vec<Hash> {
        leaves.iter().for_each(|&leaf| prover.push(leaf));
        prover.finish().unwrap()
    }

    fn hex(hashes: &[Hash]) -> Vec<String> {
        hashes.iter().map(|hash| HEXLOWER.encode(hash)).collect()
    }

    /// MTH as RFC 6962 §2.1 defines it.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [only] => *only,
            more => {
                let (left, right) = more.split_at(split(more.len() as u64) as usize);
                node(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_reference_implementation() {
        for (n, root) in ROOTS.iter().enumerate() {
            assert_eq!(HEXLOWER.encode(&tree(&leaves(n)).root()), *root, "{n} leaves");
        }
    }

    #[test]
    fn inclusion_proofs_are_those_of_the_reference_implementation() {
        let eight = leaves(8);
        assert!(prove(Prover::inclusion(0, 1).unwrap(), &eight).is_empty());
        assert_eq!(
            hex(&prove(Prover::inclusion(0, 8).unwrap(), &eight)),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            hex(&prove(Prover::inclusion(5, 8).unwrap(), &eight)),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            hex(&prove(Prover::inclusion(2, 3).unwrap(), &eight)),
            ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]
        );
    }

    #[test]
    fn consistency_proofs_are_those_of_the_reference_implementation() {
        let eight = leaves(8);
        assert!(prove(Prover::consistency(1, 1).unwrap(), &eight).is_empty());
        assert_eq!(
            hex(&prove(Prover::consistency(6, 8).unwrap(), &eight)),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            hex(&prove(Prover::consistency(2, 5).unwrap(), &eight)),
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        );
    }

    #[test]
    fn each_proof_of_each_tree_holds_and_no_changed_one_does() {
        let all: Vec<Hash> = (0..70u8).map(|n| leaf(&[n])).collect();
        for size in 1..=all.len() {
            let root = tree(&all[..size]).root();
            assert_eq!(root, by_definition(&all[..size]));
            let n = size as u64;
            for index in 0..n {
                let proof = prove(Prover::inclusion(index, n).unwrap(), &all);
                let holds = |at, proof: &[Hash]| includes(at, all[index as usize], n, &root, proof);
                assert!(holds(index, &proof), "{index} of {n}");
                assert!(n == 1 || !holds((index + 1) % n, &proof), "{index} of {n} elsewhere");
                for i in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[i][0] ^= 1;
                    assert!(!holds(index, &changed), "{index} of {n}, step {i} changed");
                    changed.remove(i);
                    assert!(!holds(index, &changed), "{index} of {n}, step {i} gone");
                }
                assert!(!holds(index, &[&proof[..], &[root]].concat()), "{index} of {n}, longer");
            }
            for old in 0..=n {
                let proof = prove(Prover::consistency(old, n).unwrap(), &all);
                let half = tree(&all[..old as usize]);
                let mut shorter = Prover::consistency_from(&half, n).unwrap();
                all[old as usize..].iter().for_each(|&leaf| shorter.push(leaf));
                assert_eq!(shorter.finish().unwrap(), proof, "{old} of {n}, from the old tree");
                let was = half.root();
                assert!(consistent((old, &was), (n, &root), &proof), "{old} of {n}");
                if old > 0 {
                    let other = leaf(b"other");
                    assert!(!consistent((old, &other), (n, &root), &proof), "{old} of {n}");
                    assert!(!consistent((old, &was), (n, &other), &proof), "{old} of {n}");
                }
                for i in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[i][0] ^= 1;
                    assert!(!consistent((old, &was), (n, &root), &changed), "{old} of {n}, {i}");
                }
            }
        }
        assert!(Prover::inclusion(3, 3).is_none() && Prover::consistency(4, 3).is_none());
    }

    #[test]
    fn a_tree_goes_on_from_its_peaks() {
        let all: Vec<Hash> = (0..70u8).map(|n| leaf(&[n])).collect();
        for size in 0..all.len() {
            let half = tree(&all[..size]);
            let mut again = Tree::from_peaks(size as u64, half.peaks().to_vec()).unwrap();
            all[size..].iter().for_each(|&leaf| again.push(leaf));
            assert_eq!(again, tree(&all), "from {size}");
        }
        assert!(Tree::from_peaks(4, vec![all[0]; 2]).is_none());
    }

    #[test]
    fn hostile_proofs_end() {
        let root = leaf(b"x");
        let long = vec![root; 200];
        assert!(!includes(u64::MAX - 1, root, u64::MAX, &root, &long));
        assert!(!consistent((u64::MAX - 1, &root), (u64::MAX, &root), &long));
        assert!(!consistent((1, &root), (u64::MAX, &root), &[]));
    }
}
