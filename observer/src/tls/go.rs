//! Go programs: crypto/tls, found by symbol, or in a stripped program by the runtime's own table
//! of functions (cmd/internal/link, debug/gosym: "pclntab").

use iced_x86::Register;
use observer_common::tls_site;

use super::elf::{Image, Section, Symbol};
use super::flow::{Code64, Place};
use super::{Blind, FindError, Found, Library, Site};

const WRITE: &str = "crypto/tls.(*Conn).Write";
const READ: &str = "crypto/tls.(*Conn).Read";
/// The receiver, and the slice's pointer and length (abi-internal.md, Go 1.17 and later).
const ARGUMENTS: [Register; 3] = [Register::RAX, Register::RBX, Register::RCX];
/// The first two words of the table: Go 1.18, and 1.20 and later.
const MAGIC: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// Functions of one program at most.
const FUNCTIONS: u64 = 4 << 20;
const NAMES: usize = 64 << 20;

/// Whether a file is a Go program.
pub(super) fn is(image: &Image<'_>) -> bool {
    image.section(".go.buildinfo").is_some() || image.section(".gopclntab").is_some()
}

/// crypto/tls, where the program has it.
pub(super) fn find(image: &Image<'_>) -> Result<Option<Found>, FindError> {
    let symbols = image.symbols(&[WRITE, READ])?;
    let functions = match (symbols.get(WRITE), symbols.get(READ)) {
        (Some(&write), Some(&read)) => Some(Some((write, read))),
        _ => table(image),
    };
    let (write, read) = match functions {
        Some(Some(both)) => both,
        Some(None) => return Ok(None),
        None => {
            let blind = [WRITE, READ].map(|name| (name, Blind::Table)).to_vec();
            let library = Library::Go;
            return Ok(Some(Found { library, sites: vec![], held: vec![], blind }));
        }
    };
    let mut found = Found { library: Library::Go, sites: vec![], held: vec![], blind: vec![] };
    let mut code = Code64::new(image);
    for (name, symbol, shape) in [(WRITE, write, 0), (READ, read, tls_site::RECEIVES)] {
        match sites(image, &mut code, symbol, shape | tls_site::GO) {
            Ok(sites) => {
                found.sites.extend(sites);
                found.held.push(name);
            }
            Err(blind) => found.blind.push((name, blind)),
        }
    }
    found.sites.sort_unstable();
    Ok(Some(found))
}

fn sites(
    image: &Image<'_>,
    code: &mut Code64<'_>,
    symbol: Symbol,
    shape: u64,
) -> Result<Vec<Site>, Blind> {
    let site = |place: Place, leaves: bool| {
        let offset = image.offset(place.address).ok_or(Blind::NoCode)?;
        let library = (Library::Go as u64) << tls_site::LIBRARY;
        let depth = u64::from(place.depth) << tls_site::DEPTH;
        Ok(Site { offset, cookie: shape | library | depth, leaves })
    };
    let mut sites = vec![site(code.entry(symbol.address, &ARGUMENTS), false)?];
    for leave in code.leaves(symbol)? {
        sites.push(site(leave, true)?);
    }
    Ok(sites)
}

/// Looks both functions up in the runtime's table. None where it can't be read; Some(None) where
/// the program lacks one of them.
fn table(image: &Image<'_>) -> Option<Option<(Symbol, Symbol)>> {
    let section =
        image.section(".gopclntab").or_else(|| image.section(".data.rel.ro.gopclntab"))?;
    let head = image.bytes(section, 0, 72)?;
    let word = |at: usize| head.get(at..at + 8)?.first_chunk().copied().map(u64::from_le_bytes);
    let magic = u32::from_le_bytes(*head.first_chunk()?);
    // Instructions are one byte long here, pointers eight.
    if !MAGIC.contains(&magic) || head.get(6..8) != Some(&[1, 8]) {
        return None;
    }
    let count = word(8).filter(|&count| count <= FUNCTIONS)?;
    // Not relocated in the file of a position-independent program, and gone from Go 1.26 on.
    let text = match word(24)? {
        0 => image.section(".text")?.address,
        text => text,
    };
    let (names_at, lines_at) = (word(32)?, word(64)?);
    let names_len = usize::try_from(word(40)?.checked_sub(names_at)?).ok()?.min(NAMES);
    let names = image.bytes(section, names_at, names_len)?;
    let wanted = |name: &str| {
        let whole = [&[0], name.as_bytes(), &[0]].concat();
        memchr::memmem::find(&names, &whole).map(|at| at as u64 + 1)
    };
    let (Some(write_name), Some(read_name)) = (wanted(WRITE), wanted(READ)) else {
        return Some(None);
    };
    // Pairs: the function's offset in the text, and where its own entry stands.
    let pairs = image.bytes(section, lines_at, usize::try_from(count * 8 + 4).ok()?)?;
    let entries = Entries { image, section, lines_at };
    let (mut write, mut read) = (None, None);
    let pair = |bytes: &[u8], at: usize| -> Option<(u32, u32)> {
        let half = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
        Some((half(at)?, half(at + 4)?))
    };
    let mut window = Window::default();
    for i in 0..usize::try_from(count).ok()? {
        let (start, entry) = pair(&pairs, i * 8)?;
        let name = entries.name(&mut window, entry)?;
        let slot = match u64::from(name) {
            name if name == write_name => &mut write,
            name if name == read_name => &mut read,
            _ => continue,
        };
        let next = pairs.get(i * 8 + 8..)?.first_chunk().copied().map(u32::from_le_bytes)?;
        let symbol = Symbol {
            address: text.checked_add(u64::from(start))?,
            size: u64::from(next.checked_sub(start)?),
        };
        *slot = Some(symbol);
        if let (Some(write), Some(read)) = (write, read) {
            return Some(Some((write, read)));
        }
    }
    Some(None)
}

/// The functions' own entries, which stand one behind another.
struct Entries<'a> {
    image: &'a Image<'a>,
    section: &'a Section,
    lines_at: u64,
}

#[derive(Default)]
struct Window {
    from: u64,
    bytes: Vec<u8>,
}

impl Entries<'_> {
    /// Where a function's name stands among the names.
    fn name(&self, window: &mut Window, entry: u32) -> Option<u32> {
        const PIECE: usize = 1 << 20;
        let at = self.lines_at.checked_add(u64::from(entry))?.checked_add(4)?;
        let inside = |window: &Window| {
            let from = usize::try_from(at.checked_sub(window.from)?).ok()?;
            window.bytes.get(from..)?.first_chunk().copied().map(u32::from_le_bytes)
        };
        if let Some(name) = inside(window) {
            return Some(name);
        }
        *window = Window { from: at, bytes: self.image.bytes(self.section, at, PIECE)? };
        inside(window)
    }
}
