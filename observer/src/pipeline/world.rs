//! What the assembler asks of the world: the names behind the kernel's numbers.

use std::collections::HashMap;

use crate::assemble::{Fingerprint, Names};
use crate::cgroup::Mount;
use crate::mask::{Masker, RestHash};
use crate::model::Raw;

/// The names that the assembler asks for.
pub(super) struct World {
    mount: Mount,
    rules: Vec<String>,
    rest: RestHash,
    /// Paths of cgroups, by id: bounded, and begun anew when full.
    paths: HashMap<u64, Raw>,
}

impl World {
    const PATHS: usize = 4096;

    pub(super) fn new(mount: Mount, rules: Vec<String>, masker: &Masker) -> Self {
        Self { mount, rules, rest: masker.rest_hmac(), paths: HashMap::new() }
    }
}

impl Names for World {
    fn cgroup(&mut self, id: u64) -> Raw {
        if self.paths.len() >= Self::PATHS {
            self.paths.clear();
        }
        let path = self.paths.entry(id).or_insert_with(|| {
            let path = self.mount.path_of_id(id);
            Raw::new(path.unwrap_or_else(|| format!("(gone) kernfs {id}").into_bytes()))
        });
        path.clone()
    }

    fn rule(&self, index: u32) -> String {
        let rule = self.rules.get(index as usize);
        rule.cloned().unwrap_or_else(|| format!("unknown-rule-{index}"))
    }

    fn fingerprint(&self) -> Box<dyn Fingerprint> {
        Box::new(Rest(self.rest.clone()))
    }
}

struct Rest(RestHash);

impl Fingerprint for Rest {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self: Box<Self>) -> String {
        self.0.finish_hex()
    }
}
