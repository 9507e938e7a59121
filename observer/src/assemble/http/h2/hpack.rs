//! HPACK decoding (RFC 7541). The Huffman code is a library's; the rest is here, since the decoders
//! there are either end in a panic on an integer that was cut off, or build their Huffman table anew
//! for each string, and none can leave out what is over a bound and still keep its table in step.

use std::collections::VecDeque;
use std::sync::Arc;

use httlib_huffman::DecoderSpeed;

use super::super::limits;
use super::fixed::FIXED;

/// What an entry counts beside its bytes (§4.1).
const ENTRY: usize = 32;
/// The table's size before anything is said (RFC 9113 §6.5.2).
const DEFAULT: usize = 4096;

/// A name and a value.
type Field = (Arc<[u8]>, Arc<[u8]>);

/// One direction's decoder.
pub(super) struct Decoder {
    table: VecDeque<Field>,
    size: usize,
    most: usize,
    /// The largest that the other side ever allowed.
    allowed: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, most: DEFAULT, allowed: DEFAULT }
    }

    /// SETTINGS_HEADER_TABLE_SIZE of the other side.
    pub(super) fn allow(&mut self, size: u32) {
        self.allowed = self.allowed.max((size as usize).min(limits::TABLE));
    }

    pub(super) fn memory(&self) -> usize {
        self.size
    }

    /// Decodes a whole field block and gives its fields in order.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        give: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), &'static str> {
        let mut input = Input(block);
        while let Some(&first) = input.0.first() {
            if first & 0x80 != 0 {
                let (name, value) = self.entry(input.integer(7)?)?;
                give(&name, &value);
            } else if first & 0xc0 == 0x40 {
                let (name, value) = self.literal(&mut input, 6)?;
                give(&name, &value);
                self.insert(name, value);
            } else if first & 0xe0 == 0x20 {
                let size = input.integer(5)? as usize;
                if size > self.allowed {
                    return Err("an HPACK table that was not allowed");
                }
                self.most = size;
                self.evict(0);
            } else {
                let (name, value) = self.literal(&mut input, 4)?;
                give(&name, &value);
            }
        }
        Ok(())
    }

    fn literal(&self, input: &mut Input<'_>, prefix: u32) -> Result<Field, &'static str> {
        let name = match input.integer(prefix)? {
            0 => input.string()?,
            // Shared and not copied: two bytes may name a long one.
            index => self.entry(index)?.0,
        };
        Ok((name, input.string()?))
    }

    fn entry(&self, index: u32) -> Result<Field, &'static str> {
        const NONE: &str = "an HPACK index that is not there";
        let index = (index as usize).checked_sub(1).ok_or(NONE)?;
        match FIXED.get(index) {
            Some((name, value)) => Ok((name.as_bytes().into(), value.as_bytes().into())),
            None => self.table.get(index - FIXED.len()).cloned().ok_or(NONE),
        }
    }

    fn insert(&mut self, name: Arc<[u8]>, value: Arc<[u8]>) {
        let size = name.len() + value.len() + ENTRY;
        self.evict(size);
        if size <= self.most {
            self.size += size;
            self.table.push_front((name, value));
        }
    }

    /// Lets the oldest go until there is room.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.most {
            let Some((name, value)) = self.table.pop_back() else { return };
            self.size -= name.len() + value.len() + ENTRY;
        }
    }
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// An integer (§5.1) behind a prefix of so many bits.
    fn integer(&mut self, prefix: u32) -> Result<u32, &'static str> {
        const CUT: &str = "an HPACK integer that is cut off";
        let (&first, mut rest) = self.0.split_first().ok_or(CUT)?;
        let mask = (1u32 << prefix) - 1;
        let mut value = u64::from(u32::from(first) & mask);
        if value == u64::from(mask) {
            let mut shift = 0;
            loop {
                let (&byte, after) = rest.split_first().ok_or(CUT)?;
                rest = after;
                value += u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > 28 {
                    return Err("an HPACK integer that is too large");
                }
            }
        }
        self.0 = rest;
        u32::try_from(value).map_err(|_| "an HPACK integer that is too large")
    }

    /// A string (§5.2).
    fn string(&mut self) -> Result<Arc<[u8]>, &'static str> {
        let coded = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)? as usize;
        let (text, rest) =
            self.0.split_at_checked(length).ok_or("an HPACK string that is cut off")?;
        self.0 = rest;
        if !coded {
            return Ok(text.into());
        }
        let mut out = Vec::with_capacity(length * 8 / 5);
        httlib_huffman::decode(text, &mut out, DecoderSpeed::FourBits)
            .map_err(|_| "an HPACK string in no Huffman code")?;
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn decode(decoder: &mut Decoder, hex: &str) -> Result<String, &'static str> {
        let block = HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
        let mut out = vec![];
        decoder.decode(&block, &mut |name, value| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            out.push(format!("{}={}", text(name), text(value)));
        })?;
        Ok(out.join("|"))
    }

    #[test]
    fn the_examples_of_the_rfc_are_decoded() {
        // RFC 7541 C.4.1–C.4.3: requests with Huffman codes.
        let mut decoder = Decoder::new();
        for (hex, fields) in [
            (
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                ":method=GET|:scheme=http|:path=/|:authority=www.example.com",
            ),
            (
                "8286 84be 5886 a8eb 1064 9cbf",
                ":method=GET|:scheme=http|:path=/|:authority=www.example.com|cache-control=no-cache",
            ),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                ":method=GET|:scheme=https|:path=/index.html|:authority=www.example.com|custom-key=custom-value",
            ),
        ] {
            assert_eq!(decode(&mut decoder, hex).as_deref(), Ok(fields));
        }
        assert_eq!(decoder.size, 164);
    }

    #[test]
    fn entries_go_as_the_table_fills() {
        // RFC 7541 C.5.1 and C.5.2 with a table of 256 octets.
        let mut decoder = Decoder { most: 256, ..Decoder::new() };
        let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 \
                     3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 \
                     7861 6d70 6c65 2e63 6f6d";
        decode(&mut decoder, first).unwrap();
        assert_eq!((decoder.table.len(), decoder.size), (4, 222));
        let second = decode(&mut decoder, "4803 3330 37c1 c0bf").unwrap();
        assert!(second.starts_with(":status=307|cache-control=private|date=Mon"), "{second}");
        assert_eq!((decoder.table.len(), decoder.size), (4, 222));
    }

    #[test]
    fn what_can_t_be_is_refused() {
        for hex in [
            "80",
            "ff",
            "ffff ffff ffff",
            "ff80 8080 8080 01",
            "be",
            "40",
            "4001",
            "4001 61",
            "4085 61",
            "3fe1 7f",
            "0001 6182 ffff ffff",
            "4081 00",
            "0001 617f ffff ffff 7f",
        ] {
            assert!(decode(&mut Decoder::new(), hex).is_err(), "{hex}");
        }
    }

    #[test]
    fn a_table_beyond_what_was_allowed_is_refused_and_beyond_the_bound_never_allowed() {
        let mut decoder = Decoder::new();
        decoder.allow(1 << 30);
        assert_eq!(decoder.allowed, limits::TABLE);
        assert!(decode(&mut decoder, "3fe1ff03").is_ok());
        assert!(decode(&mut decoder, "3fe2ff03").is_err());
    }

    #[test]
    fn a_bomb_of_references_copies_nothing_and_holds_the_table_alone() {
        let mut decoder = Decoder::new();
        decoder.allow(limits::TABLE as u32);
        // A long field, then as many references to it as a block holds.
        let mut block = vec![0x3f, 0xe1, 0xff, 0x03, 0x40, 0x7f, 0x81, 0xf0, 0x01];
        block.truncate(5);
        block.extend_from_slice(&[0x7f, 0x81, 0xea, 0x01]);
        block.extend(vec![b'n'; 127 + 0x01 + (0x6a << 7) + (1 << 14)]);
        block.push(0);
        block.extend(vec![0xbe; limits::BLOCK - block.len()]);
        let mut given = 0u64;
        decoder.decode(&block, &mut |name, _| given += name.len() as u64).unwrap();
        assert!(given > 1 << 30, "{given}");
        assert!(decoder.size <= limits::TABLE);
    }

    proptest! {
        #[test]
        fn noise_ends_in_an_error_or_fields_and_never_beyond_the_table(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)
        ) {
            let mut decoder = Decoder::new();
            for block in blocks {
                let _ = decoder.decode(&block, &mut |_, _| {});
                prop_assert!(decoder.size <= decoder.most && decoder.most <= decoder.allowed);
            }
        }

        #[test]
        fn huffman_codes_are_undone(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut coded = vec![];
            httlib_huffman::encode(&text, &mut coded).unwrap();
            let mut block = vec![0x00, 0x01, b'n'];
            let (mut length, mut digits) = (coded.len(), vec![]);
            if length < 127 {
                digits.push(0x80 | length as u8);
            } else {
                digits.push(0xff);
                length -= 127;
                while length > 127 {
                    digits.push(0x80 | (length & 0x7f) as u8);
                    length >>= 7;
                }
                digits.push(length as u8);
            }
            block.extend(digits);
            block.extend(coded);
            let mut got = vec![];
            Decoder::new().decode(&block, &mut |_, value| got = value.to_vec()).unwrap();
            prop_assert_eq!(got, text);
        }
    }
}
