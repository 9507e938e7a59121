//! A policy that is read again while a run lasts.
//!
//! The new one decides as a whole or not at all: what is wrong with it is said and recorded, and the
//! old one goes on. A run that began without a policy stays without one.

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use ring::digest;

use super::hashes;
use super::prepare::{read_policy, resolvers};
use super::{POLICY, Session, Settings};
use crate::clock;
use crate::model::{Raw, Reload, RunId};
use crate::pipeline::{Bindings, Policies, Ruled};
use crate::policy::Policy;
use crate::signals::Received;

/// Where a run's policy comes from.
pub(super) struct Source {
    file: PathBuf,
    policies: Policies,
    bindings: Bindings,
    /// Tells others which process to ask.
    _asked: Option<Asked>,
}

impl Source {
    /// Of a run that has a policy.
    pub(super) fn new(
        run: RunId,
        settings: &Settings,
        policies: Policies,
        bindings: Bindings,
    ) -> Self {
        let file = settings.policy.clone().unwrap_or_else(|| POLICY.into());
        let absolute = std::path::absolute(&file).unwrap_or(file);
        Self { file: absolute, policies, bindings, _asked: Asked::new(run) }
    }
}

/// A file that names the recorder of a run, for as long as it lives.
struct Asked(PathBuf);

impl Asked {
    fn new(run: RunId) -> Option<Self> {
        let file = PathBuf::from(super::RECORDERS).join(format!("{run}.pid"));
        let made = fs::create_dir_all(super::RECORDERS)
            .and_then(|()| fs::write(&file, format!("{}\n", std::process::id())));
        if let Err(error) = &made {
            eprintln!(
                "observer: cannot write {}: {error}; `observer policy reload` won't find this run, \
                 SIGHUP to process {} does the same",
                file.display(),
                std::process::id()
            );
        }
        made.is_ok().then_some(Self(file))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Session {
    /// Whether a signal is meant for the recorder: SIGHUP, where there is a policy to read again.
    pub(super) fn reloads(&self, received: &Received) -> bool {
        received.asks_to_reload() && self.policy.is_some()
    }

    /// Reads the policy again, and lets it decide where it holds.
    pub(super) fn reload(&self) {
        let Some(source) = &self.policy else { return };
        let read = read_policy(&source.file);
        let sha256 = match &read {
            Ok(policy) => Some(HEXLOWER.encode(&policy.tables().sha256)),
            Err(_) => fs::read(&source.file)
                .ok()
                .map(|text| HEXLOWER.encode(digest::digest(&digest::SHA256, &text).as_ref())),
        };
        let taken = read.and_then(|policy| Ok((self.take(&policy, source)?, policy)));
        let file = source.file.display().to_string();
        let mut ruled = None;
        let (generation, why, cut) = match taken {
            Ok((generation, policy)) => {
                eprintln!("observer: {file} decides from now on (generation {generation})");
                let resolvers = resolvers(Some(&policy));
                ruled = Some(Ruled { policy, resolvers, generation });
                (Some(generation), None, false)
            }
            Err(error) => {
                let why = format!("{error:#}");
                eprintln!("observer: the policy stays as it was: {why}");
                let kept = bounded(&why);
                (None, Some(Raw::from(kept)), kept.len() < why.len())
            }
        };
        let file = Raw::from(file.as_str());
        self.pipeline.reload(clock::now(), Reload { file, sha256, generation, why, cut });
        ruled.into_iter().for_each(|ruled| self.pipeline.hold(ruled));
    }

    fn take(&self, policy: &Policy, source: &Source) -> anyhow::Result<u32> {
        let held = self.hashes.borrow().is_some();
        if !held {
            // Before rules on hashes decide, and never while the kernel is ours: it asks for that.
            let (hold, unheld) = hashes::hold(Some(policy), &self.kernel, &self.healths)?;
            unheld.iter().for_each(|(place, error)| {
                eprintln!("observer: {}", hashes::without(place, error));
            });
            *self.hashes.borrow_mut() = hold;
        }
        let taken = self.decide(policy, source);
        let asked = if taken.is_ok() { policy.reads_hashes() } else { held };
        if !asked {
            drop(self.hashes.take());
        }
        taken
    }

    fn decide(&self, policy: &Policy, source: &Source) -> anyhow::Result<u32> {
        let mut kernel =
            self.kernel.lock().map_err(|_| anyhow::anyhow!("the recorder is broken"))?;
        let next = kernel.generation() + 1;
        // Events of it can come as soon as it decides.
        let sha256 = HEXLOWER.encode(&policy.tables().sha256);
        source.policies.add(next, Some(sha256), policy.ids());
        let answers = source.bindings.begin();
        let taken = kernel.replace(policy.tables(), &resolvers(Some(policy)), &answers);
        source.bindings.end(clock::now().mono_ns);
        if taken.is_err() {
            source.policies.remove(next);
        }
        Ok(taken?)
    }
}

/// What a record has room for.
fn bounded(why: &str) -> &str {
    const MOST: usize = 4096;
    &why[..why.floor_char_boundary(MOST)]
}
