//! Questions on their way out, judged by the name that they ask for.

use observer_common::{Config, Decision, EventKind, PortKey, config_flag, dns_flag, verdict};

use super::message::{byte, key, name, word};
use super::{HEAD, QUESTION_TAIL, Scratch, send};
use crate::emit::{self, Ring};
use crate::maps::{ASKED, PORTS};
use crate::names::{NameBuf, Named};
use crate::packet::TCP;
use crate::verdict::Ruling;

/// Judges a question and tells it; whether it may pass.
#[inline(always)]
pub(super) unsafe fn question(s: *mut Scratch, whole: bool, seq: u32) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        // A standard query (QR and opcode 0) with one question and no answers.
        let plain =
            whole && byte(s, 2) & 0xf8 == 0 && word(s, 4) == 1 && word(s, 6) | word(s, 8) == 0;
        let read = plain
            && (*s).odd == 0
            && name(s, HEAD, false)
            && (&raw const (*s).end).read_volatile() + QUESTION_TAIL
                <= (&raw const (*s).len).read_volatile();
        let config = &(*s).config;
        let ruling = if config.flags & config_flag::NAME_RULES == 0 {
            Ruling::ALLOW
        } else if !read {
            Ruling { verdict: verdict::DENY_UNREAD, rule: 0 }
        } else {
            lookup(NameBuf::ask(&raw mut (*s).name, config), config)
        }
        .under(config);
        let denied = ruling.denies();
        let event = &raw mut (*s).event;
        let hash = NameBuf::hash(&raw const (*s).name);
        let key = key(s);
        if (*event).protocol == TCP {
            // A segment may be sent again: what it asks is told once.
            if denied || !read {
                (*key).id = seq;
                (*key).port = u32::MAX;
            }
            if ASKED.get(&*key).is_some_and(|asked| asked.hash == hash) {
                return !denied;
            }
        }
        let call = emit::new_id();
        (*event).call = call;
        (*event).began = 0;
        (*event).verdict = ruling.verdict;
        (*event).rule = ruling.rule;
        (*event).flags = if read { 0 } else { dns_flag::UNREAD };
        let ring = if denied { Ring::Control } else { Ring::Events };
        emit::number(&mut (*event).header, ring, EventKind::Dns);
        if (read && !denied) || (*key).port == u32::MAX {
            let asked = &raw mut (*s).asked;
            (*asked).call = call;
            (*asked).began = (*event).header.time;
            (*asked).hash = hash;
            (*asked).exec = (*event).header.exec;
            (*asked).pid = (*event).header.pid;
            let _ = ASKED.insert(&*key, &*asked, 0);
        }
        send(s, ring, denied);
        !denied
    }
}

/// Whether a name may be looked up.
#[inline(always)]
fn lookup(named: Named, config: &Config) -> Ruling {
    let key = PortKey { set: named.set, port: PortKey::LOOKUP, protocol: 0 };
    let decision = match PORTS.get_value_ptr_mut(config.bank(), &key) {
        // SAFETY: copied at once; a bank in use is not written.
        Some(found) => unsafe { *found },
        None => Decision::default(),
    };
    Ruling::from(decision, config.flags & config_flag::NET_DENY != 0)
}
