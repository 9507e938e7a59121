//! ELF files (System V gABI), as far as probes need them. Read in pieces: a program has a hundred
//! megabytes, and of these its tables matter alone.

use std::collections::HashMap;

use object::elf::{
    EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, NT_GNU_BUILD_ID, PF_W, PF_X, PT_LOAD, PT_NOTE,
    ProgramHeader64, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, SectionHeader64, Sym64,
};
use object::{LittleEndian as LE, pod};

use super::FindError;

/// The most that is read of one table.
const TABLE: usize = 64 << 20;
/// Headers of either kind at most.
const HEADERS: usize = 4096;
/// Longer names are taken for none: those of a table without an end would be looked through for each of
/// its symbols.
const NAME: usize = 512;
/// Bytes of notes that are looked through.
const NOTES: usize = 64 << 10;
/// What is read at once of what is looked through from end to end.
const PIECE: u64 = 1 << 20;

/// Where a file's bytes come from.
pub trait Source {
    /// `len` bytes from `at`; none where the file has fewer.
    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>>;
}

impl Source for [u8] {
    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let at = usize::try_from(at).ok()?;
        self.get(at..at.checked_add(len)?).map(<[u8]>::to_vec)
    }
}

impl Source for Vec<u8> {
    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        self.as_slice().read(at, len)
    }
}

/// A file's outline.
pub(super) struct Image<'a> {
    source: &'a dyn Source,
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

struct Segment {
    kind: u32,
    executable: bool,
    writable: bool,
    address: u64,
    offset: u64,
    size: u64,
}

/// A section of the file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: Vec<u8>,
    kind: u32,
    link: u32,
    pub(super) address: u64,
    offset: u64,
    pub(super) size: u64,
}

/// A function as a symbol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) address: u64,
    /// Bytes of its code; 0 where the symbol does not say.
    pub(super) size: u64,
}

impl<'a> Image<'a> {
    pub(super) fn parse(source: &'a dyn Source) -> Result<Self, FindError> {
        let head = source.read(0, size_of::<FileHeader64<LE>>()).ok_or(FindError::Elf)?;
        let (head, _) = pod::from_bytes::<FileHeader64<LE>>(&head).map_err(|()| FindError::Elf)?;
        let ident = head.e_ident;
        let kind = head.e_type.get(LE);
        // Class 64, little-endian, and a program or a library.
        if ident.magic != *b"\x7fELF"
            || ident.class != 2
            || ident.data != 1
            || head.e_machine.get(LE) != EM_X86_64
            || (kind != ET_DYN && kind != ET_EXEC)
        {
            return Err(FindError::Elf);
        }
        let mut image = Self { source, segments: vec![], sections: vec![] };
        let headers: Vec<ProgramHeader64<LE>> =
            image.table(head.e_phoff.get(LE), head.e_phnum.get(LE).into())?;
        image.segments = headers
            .iter()
            .map(|header| Segment {
                kind: header.p_type.get(LE),
                executable: header.p_flags.get(LE) & PF_X != 0,
                writable: header.p_flags.get(LE) & PF_W != 0,
                address: header.p_vaddr.get(LE),
                offset: header.p_offset.get(LE),
                size: header.p_filesz.get(LE),
            })
            .collect();
        // A file may do without sections; then it has no symbols for us.
        let headers: Vec<SectionHeader64<LE>> =
            image.table(head.e_shoff.get(LE), head.e_shnum.get(LE).into()).unwrap_or_default();
        let names = headers
            .get(usize::from(head.e_shstrndx.get(LE)))
            .and_then(|names| {
                let len = usize::try_from(names.sh_size.get(LE)).ok()?;
                source.read(names.sh_offset.get(LE), Some(len).filter(|&len| len <= 1 << 20)?)
            })
            .unwrap_or_default();
        image.sections = headers
            .iter()
            .map(|header| Section {
                name: text(&names, header.sh_name.get(LE)).to_vec(),
                kind: header.sh_type.get(LE),
                link: header.sh_link.get(LE),
                address: header.sh_addr.get(LE),
                offset: header.sh_offset.get(LE),
                size: header.sh_size.get(LE),
            })
            .collect();
        Ok(image)
    }

    fn table<T: pod::Pod>(&self, at: u64, count: usize) -> Result<Vec<T>, FindError> {
        if count > HEADERS {
            return Err(FindError::Read);
        }
        let bytes = self.source.read(at, count * size_of::<T>()).ok_or(FindError::Read)?;
        let (items, _) = pod::slice_from_bytes(&bytes, count).map_err(|()| FindError::Read)?;
        Ok(items.to_vec())
    }

    /// The section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name.as_bytes())
    }

    /// Up to `limit` bytes of a section, from `at` in it.
    pub(super) fn bytes(&self, section: &Section, at: u64, limit: usize) -> Option<Vec<u8>> {
        let left = usize::try_from(section.size.checked_sub(at)?).ok()?;
        self.source.read(section.offset.checked_add(at)?, left.min(limit).min(TABLE))
    }

    /// Where in the file the code at an address stands.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        self.code_segment(address).map(|segment| segment.offset + (address - segment.address))
    }

    fn code_segment(&self, address: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| {
            let inside = address.checked_sub(segment.address);
            segment.kind == PT_LOAD
                && segment.executable
                && segment.offset.checked_add(segment.size).is_some()
                && inside.is_some_and(|inside| inside < segment.size)
        })
    }

    /// The code from an address on, up to `limit` bytes and the segment's end.
    pub(super) fn code(&self, address: u64, limit: usize) -> Option<Vec<u8>> {
        let segment = self.code_segment(address)?;
        let inside = address - segment.address;
        let left = usize::try_from(segment.size - inside).ok()?;
        self.source.read(segment.offset + inside, left.min(limit))
    }

    /// Shows all code, or all that is neither code nor may be written to, with the address that it
    /// is loaded to: piece by piece, each with the last `overlap` bytes of the one before. Where the
    /// linker did not part the two, constants stand among the code.
    pub(super) fn look_through(
        &self,
        code: bool,
        overlap: u64,
        see: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), FindError> {
        let of_kind = |code: bool| {
            self.segments.iter().filter(move |segment| {
                segment.kind == PT_LOAD && !segment.writable && segment.executable == code
            })
        };
        let parted = of_kind(false).next().is_some();
        for segment in of_kind(code || !parted) {
            let mut from = 0;
            while from < segment.size {
                let len = (segment.size - from).min(PIECE + overlap);
                let at = segment.offset.checked_add(from).ok_or(FindError::Read)?;
                let len = usize::try_from(len).map_err(|_| FindError::Read)?;
                let bytes = self.source.read(at, len).ok_or(FindError::Read)?;
                see(segment.address.checked_add(from).ok_or(FindError::Read)?, &bytes);
                from += PIECE;
            }
        }
        Ok(())
    }

    /// The functions of these names, wherever a symbol table has them.
    pub(super) fn symbols<'n>(
        &self,
        names: &[&'n str],
    ) -> Result<HashMap<&'n str, Symbol>, FindError> {
        let mut found = HashMap::new();
        self.functions(&mut |name, symbol| {
            if let Some(name) = names.iter().find(|wanted| wanted.as_bytes() == name) {
                found.entry(*name).or_insert(symbol);
            }
        })?;
        Ok(found)
    }

    /// Shows each function that a symbol table has, by its name.
    pub(super) fn functions(&self, see: &mut dyn FnMut(&[u8], Symbol)) -> Result<(), FindError> {
        for table in &self.sections {
            if table.kind != SHT_DYNSYM && table.kind != SHT_SYMTAB {
                continue;
            }
            let Some(strings) = self.sections.get(table.link as usize) else { continue };
            let strings = self.bytes(strings, 0, TABLE).ok_or(FindError::Read)?;
            let bytes = self.bytes(table, 0, TABLE).ok_or(FindError::Read)?;
            let count = bytes.len() / size_of::<Sym64<LE>>();
            let (symbols, _) =
                pod::slice_from_bytes::<Sym64<LE>>(&bytes, count).map_err(|()| FindError::Read)?;
            for symbol in symbols {
                let address = symbol.st_value.get(LE);
                if symbol.st_info & 0xf != STT_FUNC || address == 0 {
                    continue;
                }
                let name = text(&strings, symbol.st_name.get(LE));
                see(name, Symbol { address, size: symbol.st_size.get(LE) });
            }
        }
        Ok(())
    }

    /// The note that the linker left of this build.
    pub(super) fn build_id(&self) -> Option<String> {
        self.segments.iter().filter(|segment| segment.kind == PT_NOTE).find_map(|segment| {
            let len = usize::try_from(segment.size).ok()?.min(NOTES);
            build_id(&self.source.read(segment.offset, len)?)
        })
    }
}

/// Looks through notes: three words (length of the name, of the rest, and the type), the name and
/// the rest, each filled up to four bytes.
fn build_id(mut notes: &[u8]) -> Option<String> {
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| {
            head.get(at..at + 4).and_then(|w| w.first_chunk()).copied().map(u32::from_le_bytes)
        };
        let (name_len, len) = (word(0)? as usize, word(4)? as usize);
        let name = rest.get(..name_len)?;
        let rest = rest.get(name_len.checked_next_multiple_of(4)?..)?;
        let id = rest.get(..len)?;
        if word(8)? == NT_GNU_BUILD_ID && name == b"GNU\0" && len <= 64 {
            return Some(data_encoding::HEXLOWER.encode(id));
        }
        notes = rest.get(len.checked_next_multiple_of(4)?..)?;
    }
}

/// The text at an index, up to its NUL.
fn text(strings: &[u8], at: u32) -> &[u8] {
    let rest = strings.get(at as usize..).unwrap_or_default();
    let rest = rest.get(..=NAME).unwrap_or(rest);
    rest.get(..memchr::memchr(0, rest).unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One table of names without an end, and a symbol for each of its bytes: whoever looks for the end each
    /// time is at it for hours, and an exec waits meanwhile.
    #[test]
    fn a_name_without_an_end_is_looked_at_no_further_than_names_go() {
        let mut strings = vec![b'a'; NAME];
        strings.push(0);
        assert_eq!(text(&strings, 0).len(), NAME);
        strings.insert(0, b'a');
        assert_eq!(text(&strings, 0), b"", "its end is too far");
        assert_eq!(text(&strings, 1).len(), NAME);
        assert_eq!(text(b"aaa", 0), b"", "it has none");
        assert_eq!(text(b"a\0", 9), b"");
    }
}
