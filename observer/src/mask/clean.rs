//! Short texts in which nothing was found. Agents show the same names, paths and headers again and
//! again: a text that was judged once is judged again only by what the dictionary has learnt since.

use super::span::Span;
use super::taint::Taint;

/// Longer ones are not kept.
const LONGEST: usize = 128;
/// So many are; each has one place, which it may lose to another.
const PLACES: usize = 1024;

#[derive(Default)]
pub(super) struct Clean {
    places: Vec<Option<Text>>,
    /// Where what the dictionary finds is put.
    found: Vec<Span>,
}

struct Text {
    text: Box<[u8]>,
    /// How many values the dictionary had when nothing was found.
    known: usize,
}

impl Clean {
    /// Whether nothing stands in a text, as far as is known without judging it.
    pub(super) fn has(&mut self, text: &[u8], taint: &Taint) -> bool {
        if text.len() > LONGEST {
            return false;
        }
        let Some(Some(place)) = self.places.get_mut(place(text)) else { return false };
        if *place.text != *text {
            return false;
        }
        if place.known < taint.len() {
            taint.find(text, &mut self.found);
            if self.found.drain(..).next().is_some() {
                return false;
            }
            place.known = taint.len();
        }
        true
    }

    /// Keeps a text that was judged: nothing was found, and nothing is encoded in it.
    pub(super) fn keep(&mut self, text: &[u8], taint: &Taint) {
        if text.len() > LONGEST {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        if let Some(place) = self.places.get_mut(place(text)) {
            *place = Some(Text { text: text.into(), known: taint.len() });
        }
    }

    /// Forgets all: other rules may find something.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }
}

fn place(text: &[u8]) -> usize {
    let mix = |hash: u64, eight: &[u8]| {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(eight).for_each(|(to, from)| *to = *from);
        (hash.rotate_left(5) ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let hash = text.chunks(8).fold(text.len() as u64, mix);
    (hash >> 54) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_clean_until_the_dictionary_knows_what_stands_in_it() {
        let (mut clean, mut taint) = (Clean::default(), Taint::default());
        let text = b"say zQ7vT2mXpLx9WkRb4 again";
        assert!(!clean.has(text, &taint));
        clean.keep(text, &taint);
        assert!(clean.has(text, &taint));
        assert!(taint.learn(b"another-k3J9xQ0f", "secret"));
        assert!(clean.has(text, &taint));
        assert!(taint.learn(b"zQ7vT2mXpLx9WkRb4", "secret"));
        assert!(!clean.has(text, &taint));
        assert!(!clean.has(text, &taint), "it stays unclean");
    }

    #[test]
    fn long_texts_are_not_kept_and_others_lose_their_places() {
        let (mut clean, taint) = (Clean::default(), Taint::default());
        clean.keep(&[b'a'; LONGEST + 1], &taint);
        assert!(!clean.has(&[b'a'; LONGEST + 1], &taint));
        let texts: Vec<String> = (0..3 * PLACES).map(|n| format!("/srv/file-{n}")).collect();
        texts.iter().for_each(|text| clean.keep(text.as_bytes(), &taint));
        let kept = texts.iter().filter(|text| clean.has(text.as_bytes(), &taint)).count();
        assert!((PLACES / 2..=PLACES).contains(&kept), "{kept}");
    }
}
