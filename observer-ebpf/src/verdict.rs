//! What the policy says. Its tables are compiled so that a look-up or two decide.

use observer_common::{
    Config, Decision, PortKey, ProgramKey, ProgramValue, config_flag, decision, verdict,
};

use crate::maps::{CONFIG, PORTS, PREFIXES, PROGRAMS};

/// A verdict and the rule behind it.
#[derive(Clone, Copy)]
pub struct Ruling {
    /// A [`verdict`].
    pub verdict: u32,
    /// The rule's index, where one decided.
    pub rule: u32,
}

impl Ruling {
    /// Allowed by the default.
    pub const ALLOW: Self = Self { verdict: verdict::ALLOW, rule: 0 };

    /// Whether it denies.
    #[inline(always)]
    pub fn denies(self) -> bool {
        self.verdict >= verdict::DENY
    }

    /// A decision, with the default where no rule decided.
    #[inline(always)]
    pub fn from(decision: Decision, default_denies: bool) -> Self {
        match decision.kind {
            decision::ALLOW => Self { verdict: verdict::ALLOW_RULE, rule: decision.rule },
            decision::DENY => Self { verdict: verdict::DENY_RULE, rule: decision.rule },
            _ if default_denies => Self { verdict: verdict::DENY, rule: 0 },
            _ => Self::ALLOW,
        }
    }
}

/// The run's configuration; nothing is decided without one.
#[inline(always)]
pub fn config() -> Config {
    CONFIG.get(0).copied().unwrap_or_default()
}

/// A destination: address in network order, IPv4 as ::ffff:a.b.c.d, port in host order.
#[inline(always)]
pub fn destination(config: &Config, addr: &[u8; 16], port: u32, protocol: u32) -> Ruling {
    if config.flags & config_flag::NET_RULES == 0 {
        return Ruling::ALLOW;
    }
    let default_denies = config.flags & config_flag::NET_DENY != 0;
    let key = aya_ebpf::maps::lpm_trie::Key::new(128, *addr);
    let Some(&set) = PREFIXES.get(&key) else {
        return Ruling::from(Decision::default(), default_denies);
    };
    let tries = [
        (protocol, port),
        (protocol, PortKey::ANY_PORT),
        (0, port),
        (0, PortKey::ANY_PORT),
    ];
    for (protocol, port) in tries {
        // SAFETY: copied at once; the tables of a run are written before its first process.
        if let Some(found) = unsafe { PORTS.get(PortKey { set, port, protocol }) } {
            return Ruling::from(*found, default_denies);
        }
    }
    Ruling::from(Decision::default(), default_denies)
}

/// The opinions on one exec, gathered from each name that the program goes by.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Opinion {
    /// The best so far: deny over allow over default.
    pub decision: Decision,
    /// Groups of argument rules that apply, 0 where there is none.
    pub groups: [u32; GROUPS_MAX],
}

/// Names that a program goes by: its path, its file's name, the name it was called by, and for a
/// script the path it was called by.
pub const GROUPS_MAX: usize = 4;

impl Opinion {
    /// None yet.
    pub const NONE: Self =
        Self { decision: Decision { kind: decision::DEFAULT, rule: 0 }, groups: [0; GROUPS_MAX] };

    /// Asks the table for one name; `slot` numbers the names.
    #[inline(always)]
    pub fn ask(&mut self, key: *const ProgramKey, slot: usize) {
        // SAFETY: the key is in a map value of ours; the value is copied at once.
        let found: Option<ProgramValue> = unsafe { PROGRAMS.get(&*key).copied() };
        if let Some(found) = found {
            self.merge(found.decision);
            self.groups[slot] = found.group;
        }
    }

    /// Deny over allow over default.
    #[inline(always)]
    pub fn merge(&mut self, other: Decision) {
        if other.kind > self.decision.kind {
            self.decision = other;
        }
    }

    /// Whether rules on arguments have a word.
    #[inline(always)]
    pub fn has_groups(&self) -> bool {
        self.groups[0] | self.groups[1] | self.groups[2] | self.groups[3] != 0
    }
}
