//! The policy as the kernel reads it: flat tables, decided in a bounded number of look-ups.
//!
//! Everything here is plain data. `kernel/` copies it into maps, and the `decide_*` functions of
//! [`Tables`] do what the programs in the kernel do with those maps, look-up by look-up.
//!
//! **Network.** One longest-prefix look-up of the destination gives a *set*: the rules whose
//! prefixes contain it, closed over containing prefixes since the look-up returns the longest
//! alone. Two prefixes always exist, `::/0` and `::ffff:0.0.0.0/96`, so the look-up never misses;
//! the second also keeps IPv6 rules off IPv4 destinations. Then, first hit decides:
//!
//! | look-up in `ports` | stands where |
//! |---|---|
//! | (set, protocol, port) | the decision differs from the protocol's usual one |
//! | (set, protocol, [`ANY_PORT`]) | a rule of the set decides otherwise for this protocol |
//! | (set, [`ANY_PROTOCOL`], port) | the decision differs from the set's usual one |
//! | (set, [`ANY_PROTOCOL`], [`ANY_PORT`]) | always |
//!
//! Each entry is final: deny over allow over default is settled here, never in the kernel. The
//! usual decision is the one that most ports share, so `port = "1-65535"` costs one entry.
//!
//! **Names.** One longest-prefix look-up of the name's bytes from the last to the first, a dot after
//! each label, gives the sets of the nearest name that rules speak of: one for that name itself,
//! one for those below. Either is closed over the suffixes around it, and is settled in `ports` as
//! above; set 0 says that no rule about names has a word, and so does an entry with a default.
//! (set, [`ANY_PROTOCOL`], [`LOOKUP`]) says whether the name may be asked for.
//!
//! **Programs.** Up to three keys, the file's path, its base name and the base name as invoked, and
//! for a script its interpreter's path and base name too. Each entry found yields a decision: the
//! first rule of its group whose mask is wholly in the arguments' bits, else the entry's own. Over
//! the keys, a denying rule wins, then an allowing one, then the default; among equals the rule
//! that stands first in the file. A file's hash is one more key; of one whose hash is not known each
//! rule on hashes that denies counts as matching ([`Unhashed`]).
//!
//! **Unix sockets.** The path that the server bound is looked up whole, by its last part, and by each
//! directory above it; an abstract name whole; and one longest-prefix look-up gives how the last part,
//! or the name, begins. What is found joins as for programs. **Doors of the system** have a decision
//! each.

mod door;
mod exec;
mod lookup;
mod names;
mod net;

pub use door::UnixEntry;

use super::problem::{Finding, Problem};
use super::rule::{Class, Rule};
use crate::model::Door;

/// The port of an entry that holds for every port without an entry of its own.
pub const ANY_PORT: u32 = 0x1_0000;
/// The port of an entry that says whether a name of the set may be looked up.
pub const LOOKUP: u32 = 0x1_0001;
/// The protocol of an entry that holds for every protocol without entries of its own.
pub const ANY_PROTOCOL: u8 = 0;
/// The protocol number that stands for each socket that destination rules can't hold: raw ones,
/// and all that are neither TCP nor UDP. It is IPPROTO_RAW.
pub const RAW: u8 = 255;

/// What the kernel is given for one policy. The default has no rules and allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// SHA-256 of the policy's text.
    pub sha256: [u8; 32],
    /// Whether what no rule matches is denied.
    pub default_deny: bool,
    /// Whether nothing is enforced: what is denied goes on, and is recorded as such.
    pub advisory: bool,
    /// The rules; a rule's index in decisions is its position here, which is the file's order.
    pub rules: Vec<RuleInfo>,
    /// The prefixes of the longest-prefix map, by address and length, each once.
    pub prefixes: Vec<Prefix>,
    /// The names of the longest-prefix map of names, each key once, ascending.
    pub names: Vec<Name>,
    /// The decisions of each set, by set, protocol and port, each key once.
    pub ports: Vec<PortEntry>,
    /// The decision on opening a [`RAW`] socket, which has no destination then. Where no rule
    /// decides it is [`Decision::DefaultDeny`] as soon as there are rules on destinations, even if
    /// the default allows: what they say would not hold there.
    pub raw: Decision,
    /// The programs that rules name, each key once.
    pub programs: Vec<ProgramEntry>,
    /// What is said of a program whose hash is not known.
    pub unhashed: Unhashed,
    /// The arguments that rules name, each (group, arg) once.
    pub args: Vec<ArgEntry>,
    /// The groups of rules with arguments, by id, from 1 without a hole.
    pub groups: Vec<Group>,
    /// The names of unix sockets that rules give, each once.
    pub unix: Vec<UnixEntry>,
    /// The doors of the system that rules name, each once, without the default.
    pub system: Vec<(Door, Decision)>,
}

/// What records say of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its id.
    pub id: String,
    /// Why it stands there.
    pub why: Option<String>,
    /// Whether it denies; else it allows.
    pub deny: bool,
    /// Whether its denials are held.
    pub enforce: bool,
}

/// A prefix of destinations and the set of rules that hold there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The address, host bits zero; IPv4 as `::ffff:a.b.c.d`.
    pub addr: [u8; 16],
    /// How many leading bits count, 0 to 128; 96 and more for IPv4.
    pub len: u8,
    /// The set, from 1.
    pub set: u32,
}

/// A name and the sets of rules that hold for it and for the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name's bytes from the last to the first, then a dot ([`key`](super::host::key)).
    pub key: Vec<u8>,
    /// The set for the name itself; 0 where no rule has a word.
    pub exact: u32,
    /// The set for the names below.
    pub below: u32,
    /// Whether a rule in `exact` denies, enforced or not.
    pub exact_denies: bool,
    /// Whether a rule in `below` denies.
    pub below_denies: bool,
}

/// A final decision for a set, a protocol and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// The set.
    pub set: u32,
    /// The protocol's IANA number, [`RAW`], or [`ANY_PROTOCOL`].
    pub protocol: u8,
    /// The port, or [`ANY_PORT`].
    pub port: u32,
    /// What is decided.
    pub decision: Decision,
}

/// What is decided for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramEntry {
    /// What is looked up.
    pub key: ProgramKey,
    /// The decision where no rule of the group matches.
    pub decision: Decision,
    /// The group of rules with arguments; 0 where there is none.
    pub group: u32,
}

/// How a rule names a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgramKey {
    /// A base name, of the file or as invoked.
    Name(Vec<u8>),
    /// The absolute path of the file.
    Path(Vec<u8>),
    /// The last part of a script's path that a rule denies, for where nothing resolves how the
    /// script was named. No rule is written so.
    ScriptName(Vec<u8>),
    /// The SHA-256 of the file.
    Sha256([u8; 32]),
}

/// What rules on hashes say of a file whose hash is not known, the lightest first.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unhashed {
    /// There are no such rules: no file is hashed.
    #[default]
    Unasked,
    /// They only allow, so none of them has a word.
    Unknown,
    /// One of them that is not enforced may mean it.
    Would,
    /// One of them that denies may mean it.
    Denied,
}

/// An argument that a group's rules name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgEntry {
    /// The group.
    pub group: u32,
    /// The whole argument, at most [`MAX_ARG`](super::MAX_ARG) bytes, none of them NUL.
    pub arg: Vec<u8>,
    /// Its bit in the masks of the group, 0 to 63.
    pub bit: u8,
}

/// Rules with arguments, for the programs whose entries name this group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id, from 1.
    pub id: u32,
    /// Its rules, at most [`MAX_GROUP_RULES`](super::MAX_GROUP_RULES): those that deny, then those
    /// that allow, each in the file's order.
    pub rules: Vec<GroupRule>,
}

/// A rule with arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupRule {
    /// The bits of all its arguments; never 0.
    pub mask: u64,
    /// What it decides.
    pub decision: Decision,
}

/// A decision and what made it; rules by their index in [`Tables::rules`].
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decision {
    /// A rule denies.
    Deny(u32),
    /// A rule that is not enforced would deny. It allows nothing by itself: where no other rule
    /// allows, the default decides whether the call goes on.
    Would {
        /// The rule.
        rule: u32,
        /// Whether a rule allows.
        allowed: bool,
    },
    /// A rule allows, and none denies.
    Allow(u32),
    /// No rule matches, and the default denies.
    DefaultDeny,
    /// No rule matches, and the default allows.
    #[default]
    DefaultAllow,
}

impl Decision {
    /// Whether the attempt is stopped.
    pub fn denies(self) -> bool {
        matches!(self, Self::Deny(_) | Self::DefaultDeny)
    }

    /// The index of the rule that decided; none where the default did.
    pub fn rule(self) -> Option<u32> {
        match self {
            Self::Deny(rule) | Self::Allow(rule) | Self::Would { rule, .. } => Some(rule),
            Self::DefaultDeny | Self::DefaultAllow => None,
        }
    }
}

/// Compiles rules; the problem is that they need more than the tables may hold.
pub(super) fn compile(
    sha256: [u8; 32],
    default_deny: bool,
    advisory: bool,
    rules: &[Rule],
) -> Result<Tables, Problem> {
    let default = if default_deny { Decision::DefaultDeny } else { Decision::DefaultAllow };
    let net = net::tables(rules, default).map_err(|excess| excess.problem(rules))?;
    let exec = exec::tables(rules, default).map_err(|excess| excess.problem(rules))?;
    let unix = door::unix(rules).map_err(|excess| excess.problem(rules))?;
    let info = |rule: &Rule| RuleInfo {
        id: rule.id.clone(),
        why: rule.why.clone(),
        deny: rule.deny,
        enforce: rule.enforce,
    };
    Ok(Tables {
        sha256,
        default_deny,
        advisory,
        rules: rules.iter().map(info).collect(),
        prefixes: net.prefixes,
        names: net.names,
        ports: net.ports,
        raw: net.raw,
        programs: exec.programs,
        unhashed: exec::unhashed(rules),
        args: exec.args,
        groups: exec.groups,
        unix,
        system: door::system(rules),
    })
}

/// A bound that the rules go past, and the rule that takes them there.
struct Excess {
    rule: usize,
    found: Finding,
}

impl Excess {
    fn problem(self, rules: &[Rule]) -> Problem {
        let rule = rules.get(self.rule);
        let (line, column) = rule.map_or((1, 1), |rule| rule.place);
        let (message, help) = self.found;
        Problem { rule: rule.map(|rule| rule.id.clone()), line, column, message, help }
    }
}

/// What decides among rules that match alike, the default apart.
fn first(rules: &[Rule], matching: impl Iterator<Item = usize>) -> Option<Decision> {
    join(matching.filter_map(|index| rules.get(index).map(|rule| own(rule, number(index)))))
}

/// What a rule decides alone.
fn own(rule: &Rule, number: u32) -> Decision {
    match rule.class() {
        Class::Deny => Decision::Deny(number),
        Class::Would => Decision::Would { rule: number, allowed: false },
        Class::Allow => Decision::Allow(number),
    }
}

/// What decisions on one call come to, the default apart: deny over would over allow, and among
/// equals the rule that stands first.
fn join(found: impl Iterator<Item = Decision>) -> Option<Decision> {
    let (mut deny, mut would, mut allow) = (None, None, None);
    let keep =
        |slot: &mut Option<u32>, rule: u32| *slot = Some(slot.map_or(rule, |had| had.min(rule)));
    let mut allows = false;
    for decision in found {
        match decision {
            Decision::Deny(rule) => keep(&mut deny, rule),
            Decision::Would { rule, allowed } => {
                keep(&mut would, rule);
                allows |= allowed;
            }
            Decision::Allow(rule) => keep(&mut allow, rule),
            Decision::DefaultDeny | Decision::DefaultAllow => {}
        }
    }
    let would = would.map(|rule| Decision::Would { rule, allowed: allows || allow.is_some() });
    deny.map(Decision::Deny).or(would).or(allow.map(Decision::Allow))
}

/// A decision of rules under a default: a rule that is not enforced lifts no default.
fn settled(found: Option<Decision>, default: Decision) -> Decision {
    match found {
        None => default,
        Some(Decision::Would { allowed: false, .. }) if default.denies() => default,
        Some(decision) => decision,
    }
}

/// A rule's index as the tables write it. The text's bound keeps it far below the type's.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
