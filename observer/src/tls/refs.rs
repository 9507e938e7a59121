//! Who refers to a text in a program without symbols, and where functions begin in it.

use memchr::memmem;

use super::FindError;
use super::elf::Image;

/// Texts, references and functions of one file at most. A library's file has some dozen references
/// to its own name.
const TEXTS: usize = 8;
const REFERENCES: usize = 1024;
const STARTS: usize = 65_536;
/// How long a text is at most.
const LONGEST: u64 = 1024;
/// How far before a reference its function begins, and how far behind it it ends, at most.
pub(super) const BEFORE: u64 = 32 << 10;
const BEHIND: u64 = 8 << 10;
/// Compilers begin functions at multiples of this.
const ALIGNED: u64 = 16;

/// The addresses of the texts that end in `ending`, which is followed by a NUL, and which of some
/// other words are there as well.
pub(super) fn texts<const N: usize>(
    image: &Image<'_>,
    ending: &str,
    words: &[Vec<u8>; N],
) -> Result<(Vec<u64>, [bool; N]), FindError> {
    let ending = [ending.as_bytes(), &[0]].concat();
    let finder = memmem::Finder::new(&ending);
    let words = words.each_ref().map(memmem::Finder::new);
    let (mut found, mut there) = (vec![], [false; N]);
    image.look_through(false, LONGEST, &mut |address, bytes| {
        for (word, there) in words.iter().zip(&mut there) {
            *there = *there || word.find(bytes).is_some();
        }
        for at in finder.find_iter(bytes) {
            let before = bytes.get(..at).unwrap_or_default();
            let begins = memchr::memrchr(0, before).map_or(0, |nul| nul + 1);
            let text = address + begins as u64;
            // One that begins before this piece was seen whole in the one before it.
            let whole = begins > 0 || at == 0;
            if whole && found.len() < TEXTS && !found.contains(&text) {
                found.push(text);
            }
        }
    })?;
    Ok((found, there))
}

/// The instructions that put the address of one of these texts into the third or the fourth
/// argument's register: `lea`, or `mov` in a program that has its place fixed. In order.
pub(super) fn references(image: &Image<'_>, texts: &[u64]) -> Result<Vec<u64>, FindError> {
    /// `lea` of an address that is told by its distance, into RCX and RDX.
    const LEA: [[u8; 3]; 2] = [[0x48, 0x8d, 0x0d], [0x48, 0x8d, 0x15]];
    /// `mov` of a number into ECX and EDX.
    const MOV: [u8; 2] = [0xb9, 0xba];
    const LEA_LEN: u64 = 7;
    let leas = LEA.map(|bytes| memmem::Finder::new(&bytes).into_owned());
    let movs: Vec<_> = texts
        .iter()
        .filter_map(|&text| u32::try_from(text).ok())
        .flat_map(|text| MOV.map(|code| [&[code], &text.to_le_bytes()[..]].concat()))
        .map(|bytes| memmem::Finder::new(&bytes).into_owned())
        .collect();
    let mut found = vec![];
    image.look_through(true, LEA_LEN - 1, &mut |address, bytes| {
        for at in leas.iter().flat_map(|lea| lea.find_iter(bytes)) {
            let Some(distance) = number(bytes, at + 3) else { continue };
            let next = address.wrapping_add(at as u64 + LEA_LEN);
            if texts.contains(&next.wrapping_add_signed(distance.into())) {
                found.push(address + at as u64);
            }
        }
        found
            .extend(movs.iter().flat_map(|mov| mov.find_iter(bytes)).map(|at| address + at as u64));
        found.truncate(REFERENCES + 1);
    })?;
    found.sort_unstable();
    found.dedup();
    if found.len() > REFERENCES { Err(FindError::Read) } else { Ok(found) }
}

/// Where functions begin, around these places: what is called by a direct call, at an address that
/// functions begin at. In order.
pub(super) fn starts(image: &Image<'_>, around: &[u64]) -> Result<Vec<u64>, FindError> {
    const CALL: u8 = 0xe8;
    const CALL_LEN: u64 = 5;
    let mut ranges: Vec<(u64, u64)> = vec![];
    for &place in around {
        let (from, to) = (place.saturating_sub(BEFORE), place.saturating_add(BEHIND));
        match ranges.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => ranges.push((from, to)),
        }
    }
    let wanted = |address: u64| {
        address.is_multiple_of(ALIGNED)
            && ranges[..ranges.partition_point(|&(from, _)| from <= address)]
                .last()
                .is_some_and(|&(_, to)| address <= to)
    };
    let mut found = std::collections::BTreeSet::new();
    image.look_through(true, CALL_LEN - 1, &mut |address, bytes| {
        for at in memchr::memchr_iter(CALL, bytes) {
            let Some(distance) = number(bytes, at + 1) else { continue };
            let next = address.wrapping_add(at as u64 + CALL_LEN);
            let target = next.wrapping_add_signed(distance.into());
            if wanted(target) && found.len() < STARTS {
                found.insert(target);
            }
        }
    })?;
    Ok(found.into_iter().collect())
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().copied().map(i32::from_le_bytes)
}
