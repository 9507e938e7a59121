//! Names of DNS: what is too long for one label is cut into several, and a name has no upper case.

use super::encoding;
use super::fields::Fields;
use super::span::Span;
use crate::model::Raw;

/// The longest name in its text form (RFC 1035, 2.3.4), with an escape for each byte.
const LONGEST: usize = 4 * 255;

impl Fields<'_> {
    /// A name: each label, and what the labels are without their dots, in base32 of lower case too.
    pub(super) fn dns_name(&mut self, name: Raw) -> Raw {
        let text = name.bytes();
        if text.len() > LONGEST {
            let whole = vec![Span::new(0, text.len(), "unmaskable")];
            return self.apply(name, whole);
        }
        let mut known = vec![];
        // The last two labels are of whoever takes it: the rest is what is carried.
        let dots: Vec<_> = memchr::memchr_iter(b'.', text.trim_ascii_end()).collect();
        for carried in [dots.len().checked_sub(2), dots.len().checked_sub(1)] {
            let end = carried.and_then(|dot| dots.get(dot)).copied().unwrap_or(text.len());
            self.joined(text, end, &mut known);
        }
        self.apply(name, known)
    }

    /// Looks at what the labels before `end` are as one word.
    fn joined(&mut self, text: &[u8], end: usize, known: &mut Vec<Span>) {
        let places: Vec<usize> = (0..end).filter(|&at| text.get(at) != Some(&b'.')).collect();
        let word: Vec<u8> = places.iter().filter_map(|&at| text.get(at)).copied().collect();
        if places.len() == end && !encoding::may_be_base32(&word) {
            return; // one label, which is judged as it stands
        }
        for upper in [false, true] {
            if upper && !encoding::may_be_base32(&word) {
                continue;
            }
            let word = if upper { word.to_ascii_uppercase() } else { word.clone() };
            for mut span in self.masker.spans(&word, vec![]) {
                let first = places.get(span.start).copied();
                let last = span.end.checked_sub(1).and_then(|last| places.get(last)).copied();
                let (Some(first), Some(last)) = (first, last) else { continue };
                // Without dots or in upper case all sorts of things look drawn at random.
                if span.decoded.is_none() && (upper || span.sort == "generic") {
                    continue;
                }
                span.decoded.get_or_insert_with(|| word[span.start..span.end].to_vec());
                (span.start, span.end) = (first, last + 1);
                known.push(span);
            }
        }
    }
}
