//! The kernel's look-ups, one by one, on the tables themselves.
//!
//! It is what tests hold against the meaning of the rules, and what explains a decision. A look-up
//! here walks the table; the kernel's maps hash.

use std::net::IpAddr;

use super::{
    ANY_PORT, ANY_PROTOCOL, Decision, LOOKUP, ProgramEntry, ProgramKey, Tables, join, settled,
};
use crate::policy::host::key;
use crate::policy::rule::Net;

impl Tables {
    /// Decides a destination as the kernel does: at most one look-up in `prefixes` and four in
    /// `ports`. What is missing denies.
    pub fn decide_net(&self, addr: IpAddr, protocol: u8, port: u16) -> Decision {
        let bits = Net::bits_of(addr);
        let longest = self
            .prefixes
            .iter()
            .filter(|prefix| Net::around(bits, prefix.len).bits == u128::from_be_bytes(prefix.addr))
            .max_by_key(|prefix| prefix.len);
        let Some(prefix) = longest else { return Decision::DefaultDeny };
        self.decide_set(prefix.set, protocol, port)
    }

    /// Decides a destination by a name of its own, as the kernel does: at most one look-up in
    /// `names` and four in `ports`. The name is lower-case, without a dot at its end.
    pub fn decide_name(&self, name: &[u8], protocol: u8, port: u16) -> Decision {
        match self.set_of(name) {
            0 => self.default(),
            set => self.decide_set(set, protocol, port),
        }
    }

    fn set_of(&self, name: &[u8]) -> u32 {
        let wanted = key(name);
        let nearest = self.names.iter().filter(|entry| wanted.starts_with(&entry.key));
        match nearest.max_by_key(|entry| entry.key.len()) {
            Some(entry) if entry.key == wanted => entry.exact,
            Some(entry) => entry.below,
            None => 0,
        }
    }

    /// Decides a question for a name, as the kernel does.
    pub fn decide_lookup(&self, name: &[u8]) -> Decision {
        let found = match self.set_of(name) {
            0 => None,
            set => self.ports.iter().find(|e| (e.set, e.port) == (set, LOOKUP)).map(|e| e.decision),
        };
        settled(found, self.default())
    }

    fn default(&self) -> Decision {
        if self.default_deny { Decision::DefaultDeny } else { Decision::DefaultAllow }
    }

    fn decide_set(&self, set: u32, protocol: u8, port: u16) -> Decision {
        let port = u32::from(port);
        let found = [
            (protocol, port),
            (protocol, ANY_PORT),
            (ANY_PROTOCOL, port),
            (ANY_PROTOCOL, ANY_PORT),
        ]
        .into_iter()
        .find_map(|(protocol, port)| self.port(set, protocol, port))
        .unwrap_or(Decision::DefaultDeny);
        settled(Some(found), self.default())
    }

    /// Decides the opening of a socket that destination rules can't hold: no look-up.
    pub fn decide_raw(&self) -> Decision {
        self.raw
    }

    /// Decides an execution as the kernel does: one look-up in `programs` for each path, name and
    /// hash, and for each group found one look-up in `args` for each argument past `argv[0]`.
    pub fn decide_exec(
        &self,
        paths: &[&[u8]],
        names: &[&[u8]],
        hashes: &[[u8; 32]],
        argv: &[&[u8]],
    ) -> Decision {
        let hashes = hashes.iter().map(|hash| ProgramKey::Sha256(*hash));
        let paths = paths.iter().map(|path| ProgramKey::Path(path.to_vec()));
        let names = names.iter().map(|name| ProgramKey::Name(name.to_vec()));
        let found: Vec<Decision> = paths
            .chain(names)
            .chain(hashes)
            .filter_map(|key| self.programs.iter().find(|entry| entry.key == key))
            .flat_map(|entry| self.program(entry, argv))
            .collect();
        settled(join(found.into_iter()), self.default())
    }

    fn port(&self, set: u32, protocol: u8, port: u32) -> Option<Decision> {
        let wanted = (set, protocol, port);
        let entry = |entry: &&super::PortEntry| (entry.set, entry.protocol, entry.port) == wanted;
        self.ports.iter().find(entry).map(|entry| entry.decision)
    }

    /// An entry's own decision, and those of its group's rules that match.
    fn program(&self, entry: &ProgramEntry, argv: &[&[u8]]) -> Vec<Decision> {
        let Some(group) = self.groups.iter().find(|group| group.id == entry.group) else {
            return vec![entry.decision];
        };
        let bit = |arg: &&[u8]| {
            let found = self.args.iter().find(|named| named.group == group.id && named.arg == *arg);
            found.map_or(0, |named| 1u64 << named.bit)
        };
        let seen = argv.iter().skip(1).map(bit).fold(0, |seen, bit| seen | bit);
        let rules = group.rules.iter().filter(|rule| seen & rule.mask == rule.mask);
        rules.map(|rule| rule.decision).chain([entry.decision]).collect()
    }
}
