//! Sixty-four bytes of a text at a time, with a bit for each that says what it is: where something
//! stands is then a matter of counting zeros, and what stands in a row one of shifts. The bytes are
//! looked at side by side, without a branch that has to be foreseen for each.

/// So many bytes are a block.
pub(super) const BLOCK: usize = 64;

/// A block that begins at `at`, with NULs for what is beyond the text.
#[inline(always)]
pub(super) fn block(text: &[u8], at: usize) -> [u8; BLOCK] {
    let rest = text.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(block) => *block,
        None => {
            let mut block = [0; BLOCK];
            block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            block
        }
    }
}

/// A bit for each byte of a block that `is` something, the lowest for the first. What `is` asks must
/// have no branches: `|` and `within` have none.
#[inline(always)]
pub(super) fn of(block: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
    let flags = block.map(|b| u8::from(is(b)));
    let (eights, _) = flags.as_chunks();
    eights.iter().rev().fold(0, |all, eight| {
        // Each byte's bit is moved to a place of its own in the highest byte.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        all << 8 | bits
    })
}

/// Whether a byte is one of `first` to `last`.
#[inline(always)]
pub(super) const fn within(b: u8, first: u8, last: u8) -> bool {
    b.wrapping_sub(first) <= last - first
}

/// The places of the bits that are set, from the lowest on.
#[inline(always)]
pub(super) fn places(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        place
    })
}

/// Whether any byte of `from..to` is something.
#[inline]
pub(super) fn any(text: &[u8], (from, to): (usize, usize), is: impl Fn(u8) -> bool) -> bool {
    (from..to).step_by(BLOCK).any(|base| of(&block(text, base), &is) & upto(to - base) != 0)
}

/// Tells each row of `len` (up to 64) and more bytes of `from..to` that are something.
#[inline]
pub(super) fn rows(
    text: &[u8],
    (from, to): (usize, usize),
    len: usize,
    is: impl Fn(u8) -> bool,
    mut each: impl FnMut(usize, usize),
) {
    let (mut row, mut begun) = (Both::default(), from);
    for base in (from..to).step_by(BLOCK) {
        row.next(of(&block(text, base), &is));
        let gaps = !row.here() & upto(to - base);
        for place in places(gaps & row.row_before(len as u32)) {
            let before = gaps & ((1 << place) - 1);
            each(after_last(before, base).unwrap_or(begun), base + place);
        }
        begun = after_last(gaps, base).unwrap_or(begun);
    }
    if to.saturating_sub(begun) >= len {
        each(begun, to);
    }
}

/// Where the first row of `len` (up to 64) bytes begins that are something, within `from..to`.
#[inline]
pub(super) fn row(
    text: &[u8],
    (from, to): (usize, usize),
    len: usize,
    is: impl Fn(u8) -> bool,
) -> Option<usize> {
    let mut row = Both::default();
    for base in (from..to).step_by(BLOCK) {
        row.next(of(&block(text, base), &is) & upto(to - base));
        // One that ends with the block is told with the next one.
        let ends = row.row_before(len as u32);
        if ends != 0 {
            return Some(base + ends.trailing_zeros() as usize - len);
        }
    }
    row.next(0);
    let last = from + (to.saturating_sub(from)).next_multiple_of(BLOCK);
    (row.row_before(len as u32) & 1 != 0).then(|| last - len)
}

/// The bits of a block's first bytes.
#[inline(always)]
pub(super) fn upto(len: usize) -> u64 {
    u64::MAX >> (BLOCK - len.clamp(1, BLOCK))
}

/// The place behind the last of the bits of the block at `base`.
#[inline(always)]
pub(super) fn after_last(bits: u64, base: usize) -> Option<usize> {
    (bits != 0).then(|| base + BLOCK - bits.leading_zeros() as usize)
}

/// What was said of the block before and of this one: rows go on from one to the next.
#[derive(Clone, Copy, Default)]
pub(super) struct Both(u128);

impl Both {
    /// The next block.
    #[inline(always)]
    pub(super) fn next(&mut self, bits: u64) {
        self.0 = self.0 >> 64 | u128::from(bits) << 64;
    }

    /// Whether `len` (up to 64) in a row end right before each byte of this block.
    #[inline(always)]
    pub(super) fn row_before(self, len: u32) -> u64 {
        let (mut rows, mut have) = (self.0, 1);
        while have < len {
            let more = have.min(len - have);
            rows &= rows << more;
            have += more;
        }
        (rows >> 63) as u64
    }

    /// What was said of this block.
    #[inline(always)]
    pub(super) fn here(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// What was said of the byte `by` (up to 64) before each of this block.
    #[inline(always)]
    pub(super) fn before(self, by: u32) -> u64 {
        (self.0 >> (64 - by)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_its_bit() {
        let text: Vec<u8> =
            (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let is = |b: u8| within(b, b'a', b'z') | (b == b'=');
        for at in 0..=text.len() {
            let found: Vec<usize> = places(of(&block(&text, at), is)).collect();
            let rest = text.iter().enumerate().skip(at).take(BLOCK);
            let each: Vec<usize> = rest.filter(|(_, b)| is(**b)).map(|(n, _)| n - at).collect();
            assert_eq!(found, each, "{at}");
        }
    }

    #[test]
    fn each_row_is_told_once() {
        let mut text = vec![0u8; 700];
        for (n, b) in text.iter_mut().enumerate() {
            *b = u8::from(
                (n as u32).wrapping_mul(2_654_435_761) >> 27 > 4 || (200..400).contains(&n),
            );
        }
        for (from, to) in [(0, 700), (3, 64), (64, 128), (7, 300), (250, 390), (199, 401), (5, 5)] {
            for len in [1, 2, 10, 13, 20, 64] {
                let mut found = vec![];
                rows(&text, (from, to), len, |b| b == 1, |start, end| found.push((start, end)));
                let parts = text[from..to].split(|&b| b == 0);
                let mut at = from;
                let each = parts.map(|part| {
                    at += part.len() + 1;
                    (at - 1 - part.len(), at - 1)
                });
                let each: Vec<_> = each.filter(|(start, end)| end - start >= len).collect();
                assert_eq!(found, each, "{from}..{to} {len}");
                let first = each.first().map(|&(start, _)| start);
                assert_eq!(row(&text, (from, to), len, |b| b == 1), first, "{from}..{to} {len}");
                assert_eq!(any(&text, (from, to), |b| b == 1), text[from..to].contains(&1));
            }
        }
    }

    #[test]
    fn rows_go_on_from_one_block_to_the_next() {
        let text: Vec<u8> =
            (0..640u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 29) as u8).collect();
        let mut both = Both::default();
        for start in (0..text.len()).step_by(BLOCK) {
            both.next(of(&block(&text, start), |b| b > 1));
            for len in [1, 2, 3, 4, 8, 12, 13, 64] {
                let each = (start..start + BLOCK).map(|at| {
                    let from = at.checked_sub(len as usize);
                    from.is_some_and(|from| text[from..at].iter().all(|&b| b > 1))
                });
                let rows = both.row_before(len);
                each.enumerate().for_each(|(n, is)| assert_eq!(rows >> n & 1 == 1, is));
                let before = both.before(len);
                let each = (start..start + BLOCK)
                    .map(|at| at.checked_sub(len as usize).is_some_and(|from| text[from] > 1));
                each.enumerate().for_each(|(n, is)| assert_eq!(before >> n & 1 == 1, is));
            }
        }
    }
}
