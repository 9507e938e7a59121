//! What the assembler asks of the world: the names behind the kernel's numbers.

use std::collections::HashMap;

use super::Policies;
use crate::assemble::{Fingerprint, Names};
use crate::cgroup::Mount;
use crate::mask::{Masker, RestHash};
use crate::model::Raw;

/// The names that the assembler asks for.
pub(super) struct World {
    mount: Mount,
    policies: Policies,
    rest: RestHash,
    /// Paths of cgroups, by id: bounded, and begun anew when full.
    paths: HashMap<u64, Raw>,
}

impl World {
    const PATHS: usize = 4096;

    pub(super) fn new(mount: Mount, policies: Policies, masker: &Masker) -> Self {
        Self { mount, policies, rest: masker.rest_hmac(), paths: HashMap::new() }
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

    fn rule(&self, generation: u32, index: u32) -> String {
        self.policies.rule(generation, index)
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
