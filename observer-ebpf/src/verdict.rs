//! What the policy says. Its tables are compiled so that a look-up or two decide.

use observer_common::{
    Config, Decision, FileKey, PortKey, ProgramKey, config_flag, decision, verdict,
};

use crate::bind;
use crate::maps::{ACTIVE, CONFIG, PORTS, PREFIXES, PROGRAMS};

/// A verdict and the rule behind it.
#[repr(C)]
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
        self.verdict & verdict::KIND >= verdict::DENY && !self.would()
    }

    /// Whether it would deny, and lets the call go on.
    #[inline(always)]
    pub fn would(self) -> bool {
        self.verdict & verdict::WOULD != 0
    }

    /// Whether it allows, and no rule has a word in it.
    #[inline(always)]
    pub fn is_silent(self) -> bool {
        self.verdict & verdict::KIND == verdict::ALLOW && !self.would()
    }

    /// The same as the policy has it: with its generation, and denying nothing where nothing is
    /// enforced. Each ruling passes this once.
    #[inline(always)]
    pub fn under(self, config: &Config) -> Self {
        let kind = self.verdict & verdict::KIND;
        let advisory = config.flags & config_flag::ADVISORY != 0 && kind >= verdict::DENY;
        let would = if advisory { verdict::WOULD } else { 0 };
        let generation = config.generation << verdict::GENERATION;
        Self { verdict: self.verdict | would | generation, rule: self.rule }
    }

    /// Whether the policy that decided is this one.
    #[inline(always)]
    pub fn is_of(self, config: &Config) -> bool {
        (self.verdict ^ config.generation << verdict::GENERATION) >> verdict::GENERATION == 0
    }

    /// A decision, with the default where no rule decided.
    #[inline(always)]
    pub fn from(decision: Decision, default_denies: bool) -> Self {
        let Decision { kind, rule } = decision;
        if kind & decision::DENY != 0 {
            return Self { verdict: verdict::DENY_RULE, rule };
        }
        if default_denies && kind & decision::ALLOW == 0 {
            return Self { verdict: verdict::DENY, rule: 0 };
        }
        if kind & decision::WOULD != 0 {
            return Self { verdict: verdict::WOULD | verdict::DENY_RULE, rule };
        }
        if kind & decision::ALLOW != 0 {
            return Self { verdict: verdict::ALLOW_RULE, rule };
        }
        Self::ALLOW
    }
}

/// What a security module's hook answers: 0, or -EPERM.
///
/// 6.12 takes from such a hook only what it can bound to -4095..=0, and knows no bounds of a
/// negated number (BPF_NEG in kernel/bpf/verifier.c), which is what LLVM makes of a choice between
/// 0 and -1. What stands before the one answer keeps it a branch with two constants.
#[inline(always)]
pub fn answer(denied: bool) -> i32 {
    const EPERM: i32 = 1;
    if denied {
        core::hint::black_box(());
        return -EPERM;
    }
    0
}

/// The run's configuration; nothing is decided without one. It is read once for a decision, and
/// every table is asked in its bank: so one policy decides, never a mix of two.
#[inline(always)]
pub fn config() -> Config {
    let Some(active) = ACTIVE.get_ptr(0) else { return Config::default() };
    // SAFETY: a word of our own, which user space writes at once.
    let generation = unsafe { active.read_volatile() };
    CONFIG.get(generation & 1).copied().unwrap_or_default()
}

/// A destination: address in network order, IPv4 as ::ffff:a.b.c.d, port in host order.
#[inline(always)]
pub fn destination(config: &Config, addr: &[u8; 16], port: u32, protocol: u32) -> Ruling {
    looked_up(config, addr, port, protocol).under(config)
}

#[inline(always)]
fn looked_up(config: &Config, addr: &[u8; 16], port: u32, protocol: u32) -> Ruling {
    if config.flags & config_flag::NET_RULES == 0 {
        return Ruling::ALLOW;
    }
    let default_denies = config.flags & config_flag::NET_DENY != 0;
    let key = aya_ebpf::maps::lpm_trie::Key::new(128, *addr);
    let Some(set) = PREFIXES.get_value_ptr_mut(config.bank(), &key) else {
        return Ruling::from(Decision::default(), default_denies);
    };
    // SAFETY: read at once; a bank in use is not written.
    let set = unsafe { set.read_volatile() };
    let mut decision = of_set(config, set, port, protocol);
    if config.flags & config_flag::NAME_RULES != 0 && decision.kind & decision::DENY == 0 {
        decision = stronger(decision, bind::decide(config, addr, port, protocol));
    }
    Ruling::from(decision, default_denies)
}

/// Two decisions on one call: the kinds join, and the rule is that of the highest.
#[inline(always)]
pub fn stronger(a: Decision, b: Decision) -> Decision {
    let rule = if highest(b.kind) > highest(a.kind) { b.rule } else { a.rule };
    Decision { kind: a.kind | b.kind, rule }
}

/// What a set of rules, of addresses or of names, decides for a port and a protocol.
#[inline(always)]
pub fn of_set(config: &Config, set: u32, port: u32, protocol: u32) -> Decision {
    let tries =
        [(protocol, port), (protocol, PortKey::ANY_PORT), (0, port), (0, PortKey::ANY_PORT)];
    for (protocol, port) in tries {
        let key = PortKey { set, port, protocol };
        if let Some(found) = PORTS.get_value_ptr_mut(config.bank(), &key) {
            // SAFETY: copied at once; a bank in use is not written.
            return unsafe { *found };
        }
    }
    Decision::default()
}

/// The highest of a decision's three bits.
#[inline(always)]
fn highest(kind: u32) -> u32 {
    kind & !(kind >> 1) & !(kind >> 2)
}

/// The opinions on one exec, gathered from each name that the program goes by. It lives in a map
/// value: there the verifier does not tell apart the ways that led to it, which would multiply.
#[repr(C)]
pub struct Opinion {
    /// The best so far: deny over allow over default, and among equals the rule that stands first.
    pub decision: Decision,
    /// Groups of argument rules that apply, 0 where there is none.
    pub groups: [u32; GROUPS_MAX],
    /// The groups, by bit, that can only have the exec denied.
    pub mute: u32,
    /// 1 where a group found no room.
    pub crowded: u32,
    /// The file that is looked up by its hash.
    pub file: FileKey,
}

/// Names that a program goes by: its path, its file's name, the name it was called by, and for a
/// script the path it was called by.
pub const GROUPS_MAX: usize = 4;

/// What the LSM hook says of an exec, and what it leaves to be judged when argv stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Judged {
    /// What it says.
    pub ruling: Ruling,
    /// Groups of argument rules that name the file, by its path and by its name; 0 for none. Of a
    /// script its own.
    pub groups: [u32; 2],
    /// Those, by bit, that can only have the exec denied.
    pub mute: u32,
    /// Whether a script is denied unless its arguments allow it.
    pub waits: u32,
    /// Groups that name the last interpreter so far.
    pub interpreter: u32,
    /// Zero.
    pub reserved: u32,
}

impl Judged {
    /// A ruling that leaves nothing open.
    pub const fn plain(ruling: Ruling) -> Self {
        Self { ruling, groups: [0; 2], mute: 0, waits: 0, interpreter: 0, reserved: 0 }
    }

    /// The same under the policy that holds, with what was said before of the script whose
    /// interpreter this is. A script's own word stands before its interpreter's.
    #[inline(always)]
    pub fn after(self, before: Option<Self>, config: &Config) -> Self {
        let own = Self { ruling: self.ruling.under(config), ..self };
        let Some(script) = before else { return own };
        let interpreter = own.groups[0] | own.groups[1];
        let mut both = Self { interpreter, ..script };
        if script.interpreter != 0 {
            // That was a script too. Of its rules on arguments nothing will be left at the end.
            both.ruling = Ruling { verdict: verdict::DENY, rule: 0 }.under(config);
        } else if own.ruling.denies() || own.ruling.would() && !script.ruling.would() {
            both.ruling = own.ruling;
        }
        both
    }
}

impl Opinion {
    /// Forgets.
    ///
    /// # Safety
    /// `this` is a map value that nobody else uses: so for all that follow.
    #[inline(always)]
    pub unsafe fn clear(this: *mut Self) {
        let words = this.cast::<u32>();
        for i in 0..4 + GROUPS_MAX {
            // SAFETY: inside the caller's value.
            unsafe { words.add(i).write_volatile(0) };
        }
    }

    /// Asks the table for one name; `slot` numbers the names. A name that can't `vouch` can only
    /// have the exec denied: an interpreter does not stand for its script.
    #[inline(always)]
    pub unsafe fn ask(
        this: *mut Self,
        bank: u32,
        key: *const ProgramKey,
        slot: usize,
        vouch: bool,
    ) {
        // SAFETY: the key is in a map value of ours; the value is read at once.
        unsafe {
            let Some(found) = PROGRAMS.get_value_ptr_mut(bank, &*key) else { return };
            let found = &*found;
            let mut own = found.decision;
            own.kind &= !(decision::ALLOW * u32::from(!vouch));
            Self::merge(this, own);
            Self::set_group(this, slot, found.group, vouch);
        }
    }

    /// Sets a group of argument rules. One that can't `vouch` can only have the exec denied.
    #[inline(always)]
    pub unsafe fn set_group(this: *mut Self, slot: usize, group: u32, vouch: bool) {
        // SAFETY: the caller's value, and `slot < GROUPS_MAX` wherever this is called.
        unsafe {
            (&raw mut (*this).groups[slot]).write_volatile(group);
            let mute = &raw mut (*this).mute;
            let others = mute.read_volatile() & !(1 << slot);
            mute.write_volatile(others | u32::from(!vouch) << slot);
        }
    }

    /// Adds a group of argument rules wherever there is room.
    #[inline(always)]
    pub unsafe fn place(this: *mut Self, group: u32, vouch: bool) {
        if group == 0 {
            return;
        }
        // SAFETY: the caller's value.
        unsafe {
            for slot in [3, 2, 1, 0] {
                if Self::group(this, slot) == 0 {
                    return Self::set_group(this, slot, group, vouch);
                }
            }
            (&raw mut (*this).crowded).write_volatile(1);
        }
    }

    /// Whether a group found no room.
    #[inline(always)]
    pub unsafe fn is_crowded(this: *const Self) -> bool {
        // SAFETY: the caller's value.
        unsafe { (&raw const (*this).crowded).read_volatile() != 0 }
    }

    /// Asks the table for one name more, which can only have the exec denied.
    #[inline(never)]
    pub unsafe fn ask_beside(this: *mut Self, bank: u32, key: *const ProgramKey) {
        // SAFETY: the key is in a map value of ours; the value is read at once.
        unsafe {
            let Some(found) = PROGRAMS.get_value_ptr_mut(bank, &*key) else { return };
            let found = &*found;
            let mut own = found.decision;
            own.kind &= !decision::ALLOW;
            Self::merge(this, own);
            Self::place(this, found.group, false);
        }
    }

    /// Whether a group can only have the exec denied.
    #[inline(always)]
    pub unsafe fn is_mute(this: *const Self, slot: usize) -> bool {
        // SAFETY: the caller's value.
        unsafe { (&raw const (*this).mute).read_volatile() >> slot & 1 != 0 }
    }

    /// Asks the table for one name, leaving rules on arguments aside: those that stand there are
    /// another program's.
    #[inline(always)]
    pub unsafe fn ask_only(this: *mut Self, bank: u32, key: *const ProgramKey, vouch: bool) {
        // SAFETY: the key is in a map value of ours; the value is read at once.
        unsafe {
            let Some(found) = PROGRAMS.get_value_ptr_mut(bank, &*key) else { return };
            let mut own = (*found).decision;
            own.kind &= !(decision::ALLOW * u32::from(!vouch));
            Self::merge(this, own);
        }
    }

    /// Forgets that a rule allows.
    #[inline(always)]
    pub unsafe fn forget_allow(this: *mut Self) {
        // SAFETY: the caller's value.
        unsafe {
            let kind = &raw mut (*this).decision.kind;
            kind.write_volatile(kind.read_volatile() & !decision::ALLOW);
        }
    }

    /// Deny over would over allow over default.
    #[inline(always)]
    pub unsafe fn merge(this: *mut Self, other: Decision) {
        // SAFETY: the caller's value.
        unsafe {
            let kind = &raw mut (*this).decision.kind;
            let rule = &raw mut (*this).decision.rule;
            let (had, first) = (kind.read_volatile(), rule.read_volatile());
            // The higher kind, and of equal ones the first rule. One branch: see `kernel::read_or_zero`.
            let rank = |kind, rule: u32| u64::from(highest(kind)) << u32::BITS | u64::from(!rule);
            if rank(other.kind, other.rule) > rank(had, first) {
                rule.write_volatile(other.rule);
            }
            kind.write_volatile(had | other.kind);
        }
    }

    /// What it came to.
    #[inline(always)]
    pub unsafe fn decision(this: *const Self) -> Decision {
        // SAFETY: the caller's value.
        unsafe {
            Decision {
                kind: (&raw const (*this).decision.kind).read_volatile(),
                rule: (&raw const (*this).decision.rule).read_volatile(),
            }
        }
    }

    /// A group of argument rules that has a word, or 0.
    #[inline(always)]
    pub unsafe fn group(this: *const Self, slot: usize) -> u32 {
        // SAFETY: the caller's value, and `slot < GROUPS_MAX` wherever this is called.
        unsafe { (&raw const (*this).groups).cast::<u32>().add(slot).read_volatile() }
    }

    /// Whether rules on arguments have a word.
    #[inline(always)]
    pub unsafe fn has_groups(this: *const Self) -> bool {
        // SAFETY: the caller's value.
        unsafe {
            Self::group(this, 0)
                | Self::group(this, 1)
                | Self::group(this, 2)
                | Self::group(this, 3)
                != 0
        }
    }
}
