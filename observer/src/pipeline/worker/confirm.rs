//! Files whose functions were told by more than their names: each is told of once more when
//! plaintext was read through them, whichever of the two is known first.

use std::collections::HashMap;

use crate::model::{LibraryCoverage, Stamp, Told};

/// Files, by their numbers.
#[derive(Default)]
pub(super) struct Confirmations(HashMap<u8, Half>);

/// What is known of a file until both are.
enum Half {
    Found(Box<LibraryCoverage>),
    Confirmed(Stamp),
}

impl Confirmations {
    /// A file was found. What is to be told beside it, where plaintext was read already.
    pub(super) fn found(&mut self, found: &LibraryCoverage) -> Option<LibraryCoverage> {
        let Told::Guess { file: file @ 1.., .. } = found.told else { return None };
        match self.0.remove(&file) {
            Some(Half::Confirmed(at)) => Some(confirmed(found, at)),
            _ => {
                self.0.insert(file, Half::Found(Box::new(found.clone())));
                None
            }
        }
    }

    /// Plaintext was read through a file's functions. What is to be told, where it was found.
    pub(super) fn confirmed(&mut self, file: u8, at: Stamp) -> Option<LibraryCoverage> {
        match self.0.remove(&file) {
            Some(Half::Found(found)) => Some(confirmed(&found, at)),
            _ => {
                self.0.insert(file, Half::Confirmed(at));
                None
            }
        }
    }
}

fn confirmed(found: &LibraryCoverage, at: Stamp) -> LibraryCoverage {
    let mut again = LibraryCoverage { at, ..found.clone() };
    if let Told::Guess { confirmed, .. } = &mut again.told {
        *confirmed = true;
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guess, Raw, Since};

    fn coverage(told: Told) -> LibraryCoverage {
        LibraryCoverage {
            at: Stamp { mono_ns: 1, wall_ns: 1 },
            path: Raw::from(&b"/bun"[..]),
            build_id: None,
            sha256: None,
            library: "boringssl",
            since: Since::Exec,
            held: vec!["SSL_write", "SSL_read"],
            probes: 4,
            told,
            blind: vec![],
        }
    }

    #[test]
    fn a_file_is_told_of_again_in_whichever_order_both_are_known() {
        let found = coverage(Told::Guess { by: Guess::Pattern, file: 2, confirmed: false });
        let at = Stamp { mono_ns: 9, wall_ns: 9 };
        let told = Told::Guess { by: Guess::Pattern, file: 2, confirmed: true };
        let wanted = LibraryCoverage { at, told, ..found.clone() };
        let mut one = Confirmations::default();
        assert_eq!(one.found(&found), None);
        assert_eq!(one.confirmed(2, at), Some(wanted.clone()));
        let mut other = Confirmations::default();
        assert_eq!(other.confirmed(2, at), None);
        assert_eq!(other.found(&found), Some(wanted));
    }

    #[test]
    fn what_has_names_or_no_probe_waits_for_nothing() {
        let mut none = Confirmations::default();
        for told in [Told::Name, Told::Guess { by: Guess::Pattern, file: 0, confirmed: false }] {
            assert_eq!(none.found(&coverage(told)), None);
            assert!(none.0.is_empty());
        }
    }
}
