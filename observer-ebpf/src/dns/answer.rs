//! Answers, bound to their addresses before the run gets them.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_common::{
    BOUND_ALIASES, DNS_ANSWERS, EventKind, Way, config_flag, dns_flag, way_flag,
};

use super::message::{byte, key, name, word};
use super::{HEAD, QUESTION_TAIL, Scratch, Who, identify, send};
use crate::bind;
use crate::emit::{self, Ring};
use crate::maps::ASKED;
use crate::names::NameBuf;

/// What follows a record's name, before its data.
const RECORD_TAIL: u32 = 10;
/// The internet's class, and the types that lead to addresses.
const IN: u32 = 1;
const A: u32 = 1;
const CNAME: u32 = 5;
const AAAA: u32 = 28;
/// The records of an answer, one by one.
struct Records {
    s: *mut Scratch,
    /// The name that the chain has come to.
    current: u64,
    way: Way,
    at: u32,
    left: u32,
    aliases: u32,
    /// Whether a name that no rule speaks of is bound too.
    silent: u32,
}

/// Binds what an answer says, and tells it where it was asked for.
#[inline(always)]
pub(super) unsafe fn answer(s: *mut Scratch) {
    // SAFETY: as the caller promises; the callback has the helper's signature, and the context
    // outlives the call.
    unsafe {
        // A response to a standard query, with its question.
        if byte(s, 2) & 0xf8 != 0x80 || word(s, 4) != 1 {
            return;
        }
        if !name(s, HEAD, false) {
            return;
        }
        let event = &raw mut (*s).event;
        let hash = NameBuf::hash(&raw const (*s).name);
        let key = key(s);
        let asked = ASKED.get_ptr(&*key).filter(|asked| (**asked).hash == hash);
        let config = &(*s).config;
        if config.flags & config_flag::NAME_RULES != 0 {
            let trusted = asked.is_some() && (*event).flags & dns_flag::TRUSTED != 0;
            let named = NameBuf::ask(&raw mut (*s).name, &(*s).config);
            let mut records = Records {
                s,
                current: hash,
                way: Way {
                    asked: named.set,
                    aliases: [0; BOUND_ALIASES],
                    flags: config.generation << way_flag::GENERATION
                        | way_flag::USED
                        | if trusted { 0 } else { way_flag::UNTRUSTED },
                },
                at: (&raw const (*s).end).read_volatile() + QUESTION_TAIL,
                left: word(s, 6),
                aliases: 0,
                // What denies is bound whoever says it; what says nothing matters only where
                // the default allows.
                silent: u32::from(
                    named.denies
                        || (trusted
                            && (named.set != 0 || config.flags & config_flag::NET_DENY == 0)),
                ),
            };
            bpf_loop(DNS_ANSWERS as u32, record as *mut c_void, (&raw mut records).cast(), 0);
            if records.left != 0 {
                emit::name_lost();
            }
        }
        let Some(asked) = asked else { return };
        identify(&raw mut (*event).header, &Who { pid: (*asked).pid, exec: (*asked).exec });
        (*event).call = (*asked).call;
        (*event).began = (*asked).began;
        let _ = ASKED.remove(&*key);
        emit::number(&mut (*event).header, Ring::Events, EventKind::Dns);
        send(s, Ring::Events, false);
    }
}

/// Takes one record. Returns 1 to end the loop.
unsafe extern "C" fn record(_index: u64, records: *mut c_void) -> i64 {
    // SAFETY: what `answer` handed over.
    unsafe {
        let c = &mut *records.cast::<Records>();
        let s = c.s;
        if c.left == 0 || !name(s, c.at, true) {
            return 1;
        }
        c.left -= 1;
        let len = (&raw const (*s).len).read_volatile();
        let owner = NameBuf::hash(&raw const (*s).name);
        let tail = (&raw const (*s).end).read_volatile();
        let data = tail + RECORD_TAIL;
        let size = word(s, tail + 8);
        if data + size > len {
            return 1;
        }
        let kind = word(s, tail);
        // Each record of the chain stands behind the one that leads to it (RFC 1034, 4.3.2).
        if owner == c.current && word(s, tail + 2) == IN {
            if kind == CNAME {
                if !name(s, data, true) {
                    return 1;
                }
                c.current = NameBuf::hash(&raw const (*s).name);
                let named = NameBuf::ask(&raw mut (*s).name, &(*s).config);
                if named.denies {
                    c.silent = 1;
                    match c.aliases {
                        0 => c.way.aliases[0] = named.set,
                        1 => c.way.aliases[1] = named.set,
                        _ => {
                            emit::name_lost();
                        }
                    }
                    c.aliases += 1;
                }
            } else if c.silent != 0 && address(s, kind, data, size) {
                bind::bind(&raw const (*s).addr, &c.way, &raw mut (*s).fresh);
            }
        }
        c.at = data + size;
        0
    }
}

/// Brings an address of either family into its buffer; whether the record holds one.
#[inline(always)]
unsafe fn address(s: *mut Scratch, kind: u32, data: u32, size: u32) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        let to = (&raw mut (*s).addr).cast::<u8>();
        let at = match (kind, size) {
            (A, 4) => 12,
            (AAAA, 16) => 0,
            _ => return false,
        };
        let words = to.cast::<u32>();
        words.write_volatile(0);
        words.add(1).write_volatile(0);
        words.add(2).write_volatile(u32::from_ne_bytes([0, 0, 0xff, 0xff]));
        for i in 0..16 {
            if at + i < 16 {
                to.add((at + i) as usize & 15).write_volatile(byte(s, data + i));
            }
        }
        true
    }
}
