//! What answers bound to addresses, and what that decides.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_common::{
    BOUND_ALIASES, BOUND_WAYS, Bound, Config, Decision, Way, decision, way_flag,
};

use crate::emit;
use crate::kernel;
use crate::maps::BOUND;
use crate::verdict::{of_set, stronger};

/// BPF_NOEXIST.
const ONLY_NEW: u64 = 1;

/// Binds an address to a name. `fresh` is zeros but for its first way.
///
/// # Safety
/// `addr` and `fresh` are in a map value that nobody else uses.
#[inline(never)]
pub unsafe fn bind(addr: *const [u8; 16], way: &Way, fresh: *mut Bound) {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(bank) = BOUND.get(way.flags >> way_flag::GENERATION & 1) else { return };
        (*fresh).ways[0] = *way;
        (*fresh).next = 1;
        if bank.insert(&*addr, &*fresh, ONLY_NEW).is_ok() {
            return;
        }
        match bank.get_ptr_mut(&*addr) {
            Some(bound) => add(bound, way),
            None => {
                emit::name_lost();
            }
        }
    }
}

/// A search through the ways of an address.
struct Search {
    bound: *mut Bound,
    way: Way,
    /// Whether it is there already.
    there: u32,
}

#[inline(always)]
fn add(bound: *mut Bound, way: &Way) {
    let mut search = Search { bound, way: *way, there: 0 };
    // SAFETY: the map's own value; each way is written whole, word by word, and one that is read
    // half written decides as either of its names. The callback has the helper's signature, and
    // the context outlives the call.
    unsafe {
        bpf_loop(BOUND_WAYS as u32, compare as *mut c_void, (&raw mut search).cast(), 0);
        if (&raw const search.there).read_volatile() != 0 {
            return;
        }
        let next = kernel::fetch_add(&raw mut (*bound).next, 1);
        if next >= BOUND_WAYS as u64 {
            emit::name_lost();
        }
        let place = (&raw mut (*bound).ways).cast::<Way>().add(next as usize % BOUND_WAYS);
        (&raw mut (*place).flags).write_volatile(0);
        (&raw mut (*place).asked).write_volatile(way.asked);
        for j in 0..BOUND_ALIASES {
            (&raw mut (*place).aliases[j]).write_volatile(way.aliases[j]);
        }
        (&raw mut (*place).flags).write_volatile(way.flags);
    }
}

/// Compares one way. Returns 1 to end the loop.
///
/// Verifier: a loop of the helper's, and no branch but the last, since each doubles the ways that
/// lead on from here.
unsafe extern "C" fn compare(index: u64, search: *mut c_void) -> i64 {
    // SAFETY: what `add` handed over; the index is within the ways.
    unsafe {
        let search = &mut *search.cast::<Search>();
        let there = (&raw mut (*search.bound).ways).cast::<Way>().add(index as usize % BOUND_WAYS);
        let mut differs = (&raw const (*there).flags).read_volatile() ^ search.way.flags;
        differs |= (&raw const (*there).asked).read_volatile() ^ search.way.asked;
        for j in 0..BOUND_ALIASES {
            differs |= (&raw const (*there).aliases[j]).read_volatile() ^ search.way.aliases[j];
        }
        let same = u32::from(differs == 0);
        (&raw mut search.there).write_volatile(same);
        i64::from(same)
    }
}

struct Weigh {
    config: *const Config,
    bound: *const Bound,
    port: u32,
    protocol: u32,
    deny: Decision,
    would: Decision,
    allow: Decision,
    /// Whether there is a name of which no rule speaks.
    silent: u32,
}

/// What the names of an address decide: one that allows, over one of which no rule speaks, over
/// those that deny. An address without a name decides nothing.
#[inline(always)]
pub fn decide(config: &Config, addr: &[u8; 16], port: u32, protocol: u32) -> Decision {
    const NOTHING: Decision = Decision { kind: decision::DEFAULT, rule: 0 };
    let Some(bound) = BOUND.get_value_ptr_mut(config.bank(), addr) else { return NOTHING };
    let mut weigh = Weigh {
        config,
        bound,
        port,
        protocol,
        deny: NOTHING,
        would: NOTHING,
        allow: NOTHING,
        silent: 0,
    };
    // SAFETY: the callback has the helper's signature, and the context outlives the call.
    unsafe { bpf_loop(BOUND_WAYS as u32, one as *mut c_void, (&raw mut weigh).cast(), 0) };
    if weigh.allow.kind != decision::DEFAULT {
        weigh.allow
    } else if weigh.silent != 0 {
        NOTHING
    } else if weigh.would.kind != decision::DEFAULT {
        weigh.would
    } else {
        weigh.deny
    }
}

/// Weighs one way. Returns 1 to end the loop.
unsafe extern "C" fn one(index: u64, weigh: *mut c_void) -> i64 {
    // SAFETY: what `decide` handed over.
    let weigh = unsafe { &mut *weigh.cast::<Weigh>() };
    if index >= BOUND_WAYS as u64 {
        return 1;
    }
    // SAFETY: `index` is inside the ways.
    let (flags, asked, aliases) = unsafe {
        let way = (&raw const (*weigh.bound).ways).cast::<Way>().add(index as usize);
        (
            (&raw const (*way).flags).read_volatile(),
            (&raw const (*way).asked).read_volatile(),
            [
                (&raw const (*way).aliases[0]).read_volatile(),
                (&raw const (*way).aliases[1]).read_volatile(),
            ],
        )
    };
    if flags & way_flag::USED == 0 {
        return 1;
    }
    // SAFETY: the caller's, which outlives the loop.
    let config = unsafe { &*weigh.config };
    let mut said = Decision { kind: decision::DEFAULT, rule: 0 };
    if asked != 0 {
        said = of_set(config, asked, weigh.port, weigh.protocol);
    }
    for alias in aliases {
        if alias != 0 {
            let mut word = of_set(config, alias, weigh.port, weigh.protocol);
            // An alias can deny, and allows nothing: that is for the name that was asked for.
            word.kind &= !decision::ALLOW;
            said = stronger(said, word);
        }
    }
    if said.kind & decision::DENY != 0 {
        weigh.deny = said;
    } else if flags & way_flag::UNTRUSTED != 0 {
        // What the agent may have said itself can only deny.
    } else if said.kind & decision::ALLOW != 0 {
        weigh.allow = said;
    } else if said.kind & decision::WOULD != 0 {
        weigh.would = said;
    } else {
        weigh.silent = 1;
    }
    0
}
