//! Names of hosts, as the policy's table is asked for them.
//!
//! A name's key runs from its last byte to its first, so it is written from the end of a buffer
//! backwards while the name is read forwards; its length need not be known before.

use aya_ebpf::maps::lpm_trie::Key;
use observer_common::{Config, HOST_LEN, NameKey, NameValue, name_flag};

use crate::maps::NAMES;

/// Bytes of a prefix length in front of a key.
const HEAD: usize = 4;
/// Where keys end.
const END: usize = HEAD + HOST_LEN;

/// A name that is being read. It lives in a map value: there the verifier does not tell apart the
/// ways that led to it, which would multiply.
#[repr(C)]
pub struct NameBuf {
    /// FNV-1a of the bytes so far.
    hash: u64,
    /// Bytes so far, dots included.
    len: u32,
    /// Zero.
    reserved: u32,
    /// The key at `END - len`, and room after it for what a look-up reads past it.
    bytes: [u8; END + HOST_LEN],
    /// Zero.
    padding: [u8; 4],
}

/// What the rules say of a name.
#[derive(Clone, Copy)]
pub struct Named {
    /// The set of rules ([`crate::verdict::of_set`]); 0 where none has a word.
    pub set: u32,
    /// Whether one of them denies.
    pub denies: bool,
}

impl NameBuf {
    /// Forgets.
    ///
    /// # Safety
    /// `this` is a map value that nobody else uses: so for all that follow.
    #[inline(always)]
    pub unsafe fn clear(this: *mut Self) {
        // SAFETY: inside the caller's value.
        unsafe {
            (&raw mut (*this).hash).write_volatile(0xcbf2_9ce4_8422_2325);
            (&raw mut (*this).len).write_volatile(0);
        }
    }

    /// Takes the name's next byte, the first one first. A label begins with a dot: `.api.example.com`
    /// is `api.example.com`. Bytes past the bound of a name are dropped, but counted.
    #[inline(always)]
    pub unsafe fn push(this: *mut Self, byte: u8) {
        let byte = if byte.wrapping_sub(b'A') < 26 { byte | 0x20 } else { byte };
        // SAFETY: inside the caller's value, by the bound below.
        unsafe {
            let len = (&raw const (*this).len).read_volatile() as usize;
            let place = (&raw mut (*this).bytes).cast::<u8>();
            // Verifier: the bound must be seen on the value that is used.
            if len < HOST_LEN - 1 {
                place.add(END - 1 - len).write_volatile(byte);
            }
            (&raw mut (*this).len).write_volatile(len as u32 + 1);
            let hash = (&raw const (*this).hash).read_volatile();
            let hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            (&raw mut (*this).hash).write_volatile(hash);
        }
    }

    /// Bytes so far, dots included; a name has at most 254.
    #[inline(always)]
    pub unsafe fn len(this: *const Self) -> u32 {
        // SAFETY: inside the caller's value.
        unsafe { (&raw const (*this).len).read_volatile() }
    }

    /// A hash of the name, to tell it from others.
    #[inline(always)]
    pub unsafe fn hash(this: *const Self) -> u64 {
        // SAFETY: inside the caller's value.
        unsafe { (&raw const (*this).hash).read_volatile() }
    }

    /// What the rules say of the name.
    #[inline(always)]
    pub unsafe fn ask(this: *mut Self, config: &Config) -> Named {
        const NONE: Named = Named { set: 0, denies: false };
        // SAFETY: inside the caller's value, by the bound below; the value found is read at once.
        unsafe {
            let len = (&raw const (*this).len).read_volatile() as usize;
            // Verifier: as above.
            if len == 0 || len > HOST_LEN - 1 {
                return NONE;
            }
            let key = (&raw mut (*this).bytes).cast::<u8>().add(END - HEAD - len);
            let bits = (len as u32 * 8).to_ne_bytes();
            for i in 0..HEAD {
                key.add(i).write_volatile(bits[i]);
            }
            let key = &*key.cast::<Key<NameKey>>();
            let Some(found) = NAMES.get_value_ptr_mut(config.bank(), key) else { return NONE };
            let NameValue { len: own, exact, below, flags } = *found;
            let (set, denies) = if own as usize == len {
                (exact, flags & name_flag::EXACT_DENIES)
            } else {
                (below, flags & name_flag::BELOW_DENIES)
            };
            Named { set, denies: denies != 0 }
        }
    }
}
