//! The running kernel's type information: where structure members stand.
//!
//! A small reader of the format in Documentation/bpf/btf.rst. aya reads BTF too, but hands out no
//! member offsets, and Rust has no CO-RE relocations. Pure: bytes in, offsets out.

use std::collections::HashMap;

use thiserror::Error;

/// Bytes that are not BTF, or not one that can be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not readable as BTF: {0}")]
pub struct BtfError(&'static str);

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_FUNC: u32 = 12;
/// Anonymous members are looked into this deep.
const DEPTH: u32 = 8;

/// Structures and functions of a BTF blob.
pub(super) struct Types {
    /// By type id: structures and unions, and what passes through to one.
    kinds: HashMap<u32, Composite>,
    /// The definitions of each structure's name.
    names: HashMap<String, u32>,
    /// The functions that the kernel has.
    functions: std::collections::HashSet<String>,
}

struct Composite {
    members: Vec<Member>,
}

struct Member {
    name: String,
    type_id: u32,
    bit_offset: u32,
}

impl Types {
    /// Reads a blob such as `/sys/kernel/btf/vmlinux`.
    pub(super) fn parse(blob: &[u8]) -> Result<Self, BtfError> {
        let reader = Reader(blob);
        if reader.u16(0)? != MAGIC {
            return Err(BtfError("wrong magic number"));
        }
        let header = reader.u32(4)? as usize;
        let section = |at: usize| -> Result<&[u8], BtfError> {
            let from = header.checked_add(reader.u32(at)? as usize);
            let len = reader.u32(at + 4)? as usize;
            from.and_then(|from| blob.get(from..from.checked_add(len)?))
                .ok_or(BtfError("a section stands outside of it"))
        };
        let types = section(8)?;
        let strings = section(16)?;
        let mut out =
            Self { kinds: HashMap::new(), names: HashMap::new(), functions: Default::default() };
        out.read_types(&Reader(types), strings)?;
        Ok(out)
    }

    fn read_types(&mut self, types: &Reader<'_>, strings: &[u8]) -> Result<(), BtfError> {
        let mut at = 0;
        let mut id = 1;
        while at < types.0.len() {
            let name = types.u32(at)?;
            let info = types.u32(at + 4)?;
            let (kind, vlen) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            let bitfields = info >> 31 == 1;
            at += 12;
            match kind {
                KIND_STRUCT | KIND_UNION => {
                    let mut members = Vec::with_capacity(vlen);
                    for i in 0..vlen {
                        let member = at + 12 * i;
                        let offset = types.u32(member + 8)?;
                        members.push(Member {
                            name: text(strings, types.u32(member)?)?.to_owned(),
                            type_id: types.u32(member + 4)?,
                            bit_offset: if bitfields { offset & 0xff_ffff } else { offset },
                        });
                    }
                    let name = text(strings, name)?;
                    if kind == KIND_STRUCT && !name.is_empty() {
                        self.names.entry(name.to_owned()).or_insert(id);
                    }
                    self.kinds.insert(id, Composite { members });
                }
                KIND_FUNC => {
                    self.functions.insert(text(strings, name)?.to_owned());
                }
                _ => {}
            }
            at += trailing(kind, vlen)?;
            id += 1;
        }
        Ok(())
    }

    /// The byte offset of a member, also of one inside an anonymous structure or union; none
    /// where the kernel has no such member, or has it as a bit field off a byte's edge.
    pub(super) fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        let bits = self.find(*self.names.get(structure)?, member, DEPTH)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    fn find(&self, id: u32, member: &str, depth: u32) -> Option<u32> {
        let members = &self.kinds.get(&id)?.members;
        if let Some(found) = members.iter().find(|m| m.name == member) {
            return Some(found.bit_offset);
        }
        members
            .iter()
            .filter(|m| m.name.is_empty() && depth > 0)
            .find_map(|m| self.find(m.type_id, member, depth - 1)?.checked_add(m.bit_offset))
    }

    /// Whether the kernel has this function.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }
}

/// Bytes that follow a type of this kind.
fn trailing(kind: u32, vlen: usize) -> Result<usize, BtfError> {
    Ok(match kind {
        1 | 14 | 17 => 4,                                // INT, VAR, DECL_TAG
        2 | 7..=12 | 16 | 18 => 0,                       // PTR, FWD … FUNC, FLOAT, TYPE_TAG
        3 => 12,                                         // ARRAY
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * vlen, // DATASEC, ENUM64
        6 | 13 => 8 * vlen,                              // ENUM, FUNC_PROTO
        _ => return Err(BtfError("a kind of type that this reader does not know")),
    })
}

fn text(strings: &[u8], at: u32) -> Result<&str, BtfError> {
    let rest = strings.get(at as usize..).ok_or(BtfError("a name stands outside of it"))?;
    let end = rest.iter().position(|&b| b == 0).ok_or(BtfError("a name without an end"))?;
    std::str::from_utf8(&rest[..end]).map_err(|_| BtfError("a name that is not UTF-8"))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], BtfError> {
        at.checked_add(N)
            .and_then(|end| self.0.get(at..end))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(BtfError("it ends too early"))
    }

    fn u16(&self, at: usize) -> Result<u16, BtfError> {
        self.bytes(at).map(u16::from_ne_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, BtfError> {
        self.bytes(at).map(u32::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// struct outer { int a; union { struct { int x; int y; }; }; }, and a function.
    fn blob() -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut name = |text: &str| {
            let at = strings.len() as u32;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let (int, outer, a, x, y, f) =
            (name("int"), name("outer"), name("a"), name("x"), name("y"), name("do_it"));
        let mut words: Vec<u32> = vec![];
        words.extend([int, 1 << 24, 4, 32]); // 1: INT
        words.extend([0, (4 << 24) | 2, 8, x, 1, 0, y, 1, 32]); // 2: struct { x, y }
        words.extend([0, (5 << 24) | 1, 8, 0, 2, 0]); // 3: union { 2 }
        words.extend([outer, (4 << 24) | 2, 12, a, 1, 0, 0, 3, 32]); // 4: outer
        words.extend([f, 12 << 24, 0]); // 5: FUNC
        let types: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut out = vec![];
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn members_are_found_through_anonymous_unions() {
        let types = Types::parse(&blob()).unwrap();
        assert_eq!(types.offset("outer", "a"), Some(0));
        assert_eq!(types.offset("outer", "x"), Some(4));
        assert_eq!(types.offset("outer", "y"), Some(8));
        assert_eq!(types.offset("outer", "z"), None);
        assert!(types.has_function("do_it") && !types.has_function("outer"));
    }

    #[test]
    fn no_prefix_of_a_blob_panics() {
        let whole = blob();
        for len in 0..whole.len() {
            assert!(Types::parse(&whole[..len]).is_err(), "{len} bytes passed");
        }
    }

    #[test]
    fn the_running_kernel_has_every_member_or_a_known_gap() {
        let Ok(blob) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("no BTF here: not run");
            return;
        };
        let types = Types::parse(&blob).unwrap();
        let mut missing = vec![];
        observer_common::Offsets::missing().each(|structure, member, _| {
            if types.offset(structure, member).is_none() {
                missing.push(format!("{structure}.{member}"));
            }
        });
        assert!(missing.is_empty(), "{missing:?}");
    }
}
