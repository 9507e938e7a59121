//! Names that connections asked for, in a TLS hello or a request: they are held to them beside their
//! address, unless a rule allows that by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Place, is_name};

const TCP: u8 = 6;

/// Destinations, and how often each was reached by each protocol and port.
pub(super) type Places = BTreeMap<Place, BTreeMap<(u8, u16), u64>>;

/// What connections asked for, by where they led.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    names: BTreeMap<(IpAddr, u16), BTreeMap<Option<String>, u64>>,
    /// Where connects led that a name of theirs stands for.
    named: BTreeSet<(IpAddr, u16)>,
}

impl Asked {
    /// A connection led here, and its place is a name.
    pub(super) fn connected(&mut self, addr: IpAddr, port: u16) {
        self.named.insert((addr.to_canonical(), port));
    }

    /// A connection asked for a name there, or for none that a rule can have.
    pub(super) fn add(&mut self, addr: IpAddr, port: u16, name: Option<&str>) {
        let name = name.filter(|name| is_name(name)).map(str::to_owned);
        let names = self.names.entry((addr.to_canonical(), port)).or_default();
        *names.entry(name).or_default() += 1;
    }

    /// Adds to the places what must be allowed beside them.
    pub(super) fn complete(&self, places: &mut Places) {
        for ((addr, port), names) in &self.names {
            // No name allows a connection that asks for none: its address has to.
            if let Some(count) = names.get(&None).filter(|_| self.named.contains(&(*addr, *port))) {
                let uses = places.entry(Place::Addr(*addr)).or_default();
                uses.entry((TCP, *port)).or_insert(*count);
            }
            let by_address = places.get(&Place::Addr(*addr));
            if by_address.is_some_and(|uses| uses.contains_key(&(TCP, *port))) {
                continue;
            }
            for (name, count) in
                names.iter().filter_map(|(name, count)| Some((name.as_ref()?, count)))
            {
                let uses = places.entry(Place::Host(name.clone())).or_default();
                uses.entry((TCP, *port)).or_insert(*count);
            }
        }
    }
}
