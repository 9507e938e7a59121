//! A word that is read byte by byte, and told from others without a table.

/// The longest word that is known.
const LONGEST: usize = 24;

/// A known word.
#[derive(Clone, Copy)]
pub struct Word {
    words: [u64; 3],
    len: u32,
}

impl Word {
    /// A word of at most 24 bytes.
    pub const fn of(text: &[u8]) -> Self {
        assert!(text.len() <= LONGEST);
        let (mut words, mut i) = ([0u64; 3], 0);
        while i < text.len() {
            words[0] = words[0] << 8 | words[1] >> 56;
            words[1] = words[1] << 8 | words[2] >> 56;
            words[2] = words[2] << 8 | text[i] as u64;
            i += 1;
        }
        Self { words, len: text.len() as u32 }
    }
}

/// A word so far. It lives in a map value: there the verifier does not tell apart the ways that led
/// to it, which would multiply.
#[repr(C)]
pub struct Token {
    words: [u64; 3],
    len: u32,
    /// Zero.
    reserved: u32,
}

impl Token {
    /// Forgets.
    ///
    /// # Safety
    /// `this` is a map value that nobody else uses: so for all that follow.
    #[inline(always)]
    pub unsafe fn clear(this: *mut Self) {
        // SAFETY: inside the caller's value.
        unsafe {
            for i in 0..3 {
                (&raw mut (*this).words[i]).write_volatile(0);
            }
            (&raw mut (*this).len).write_volatile(0);
        }
    }

    /// Takes the next byte.
    #[inline(always)]
    pub unsafe fn push(this: *mut Self, byte: u8) {
        // SAFETY: inside the caller's value.
        unsafe {
            let get = |i: usize| (&raw const (*this).words[i]).read_volatile();
            let (a, b, c) = (get(0), get(1), get(2));
            (&raw mut (*this).words[0]).write_volatile(a << 8 | b >> 56);
            (&raw mut (*this).words[1]).write_volatile(b << 8 | c >> 56);
            (&raw mut (*this).words[2]).write_volatile(c << 8 | u64::from(byte));
            let len = (&raw const (*this).len).read_volatile();
            (&raw mut (*this).len).write_volatile(len.saturating_add(1));
        }
    }

    /// Makes it one that is no known word, whatever is added.
    #[inline(always)]
    pub unsafe fn spoil(this: *mut Self) {
        // SAFETY: inside the caller's value.
        unsafe { (&raw mut (*this).len).write_volatile(LONGEST as u32 + 1) }
    }

    /// Bytes so far.
    #[inline(always)]
    pub unsafe fn len(this: *const Self) -> u32 {
        // SAFETY: inside the caller's value.
        unsafe { (&raw const (*this).len).read_volatile() }
    }

    /// Whether it is this word.
    #[inline(always)]
    pub unsafe fn is(this: *const Self, word: Word) -> bool {
        // SAFETY: inside the caller's value.
        unsafe {
            let get = |i: usize| (&raw const (*this).words[i]).read_volatile();
            Self::len(this) == word.len
                && get(0) == word.words[0]
                && get(1) == word.words[1]
                && get(2) == word.words[2]
        }
    }
}
