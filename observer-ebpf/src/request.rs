//! A request as its bytes come (RFC 9112): where its names stand, and where it ends.
//!
//! What is read is in a map value, so that the verifier does not tell apart the ways that led to a
//! byte. A line that is no request's is another protocol's, and all that follows is.

use observer_common::HOST_LEN;

use crate::authority::name;
use crate::fields;
use crate::names::NameBuf;
use crate::token::{Token, Word};
use crate::verdict::Ruling;

/// The longest head that is read.
const HEAD: u32 = 1 << 16;
/// Bytes of a packet that are taken at once.
pub const PIECE: u32 = 128;
/// The longest method.
const METHOD: u32 = 32;

const GET: Word = Word::of(b"GET");
const CONNECT: Word = Word::of(b"CONNECT");
const PRI: Word = Word::of(b"PRI");
const HTTP: Word = Word::of(b"http/");
const HTTP_11: Word = Word::of(b"http/1.1");

/// What the next byte belongs to.
pub mod state {
    /// What may stand before a request: empty lines, and spaces that some servers pass over.
    pub const LINE: u32 = 0;
    pub const METHOD: u32 = 1;
    pub const TARGET: u32 = 2;
    pub const SCHEME: u32 = 3;
    pub const SLASH: u32 = 4;
    pub const SLASHES: u32 = 5;
    /// The rest of a request line: a word in it says whether it is one.
    pub const REST: u32 = 6;
    /// A name, its port, and a literal address; of a target or a field.
    pub const NAME: u32 = 7;
    pub const PORT: u32 = 8;
    pub const LITERAL: u32 = 9;
    /// A field line.
    pub const FIELD: u32 = 10;
    pub const FIELD_NAME: u32 = 11;
    pub const SKIPPED: u32 = 12;
    pub const HOST: u32 = 13;
    pub const HOST_OVER: u32 = 14;
    pub const LENGTH: u32 = 15;
    pub const CODING: u32 = 16;
    /// A chunk's size, and what stands after the chunk.
    pub const CHUNK: u32 = 17;
    pub const CHUNK_OVER: u32 = 18;
    /// The rules are asked for the name, for none, or for what can't be read.
    pub const JUDGE: u32 = 19;
    /// What follows is no HTTP, or nothing that is held.
    pub const OVER: u32 = 20;
    pub const DENIED: u32 = 21;
}

/// Methods that count.
pub mod method {
    pub const OTHER: u32 = 0;
    pub const GET: u32 = 1;
    pub const CONNECT: u32 = 2;
    pub const PRI: u32 = 3;
}

/// A connection's requests. It lives as long as its socket, or until nothing more is held.
#[repr(C)]
pub struct Request {
    pub name: NameBuf,
    pub token: Token,
    pub ruling: Ruling,
    /// Bytes of the connection so far.
    pub raw: u64,
    /// Bytes of content that are stepped over next.
    pub skip: u64,
    /// A number that is being read.
    pub number: u64,
    pub digits: u32,
    /// A [`state`], and the one after a judgement.
    pub state: u32,
    pub next: u32,
    /// Bytes of the head so far.
    pub head: u32,
    /// Whether the last byte was a CR.
    pub cr: u32,
    /// Whether a space ended what was read last.
    pub gap: u32,
    /// A [`method`].
    pub method: u32,
    /// Whether a word of the line begins as HTTP's version does.
    pub http: u32,
    /// Whether the line, or the name, is such that servers differ.
    pub odd: u32,
    /// Whether it is HTTP/1.1.
    pub new: u32,
    /// What was found of the request: its target's authority, its Host, a length, chunks.
    pub authority: u32,
    pub host: u32,
    pub length: u32,
    pub chunked: u32,
    /// Whether these are trailers.
    pub trailer: u32,
    /// Whether a field's name is read, rather than a target's.
    pub field: u32,
    /// What is judged can't be read.
    pub unread: u32,
    /// It is HTTP/2.
    pub preface: u32,
    /// The name as it stands there.
    pub name_len: u32,
    /// A dot waits for the label after it.
    pub dot: u32,
    /// Where the packet's next byte stands, and where it ends.
    pub at: u32,
    pub end: u32,
    /// What is taken of it.
    pub piece_at: u32,
    pub piece_len: u32,
    pub piece: [u8; PIECE as usize],
    pub written: [u8; HOST_LEN],
}

macro_rules! get {
    ($request:expr, $field:ident) => {
        (&raw const (*$request).$field).read_volatile()
    };
}

macro_rules! set {
    ($request:expr, $field:ident, $value:expr) => {
        (&raw mut (*$request).$field).write_volatile($value)
    };
}

pub(crate) use {get, set};

/// What is read from here on can't be held.
#[inline(always)]
pub unsafe fn unread(request: *mut Request) {
    // SAFETY: the caller's storage.
    unsafe {
        set!(request, unread, 1);
        set!(request, state, state::JUDGE);
    }
}

/// Goes on after a judgement.
#[inline(always)]
pub unsafe fn judged_then(request: *mut Request, next: u32) {
    // SAFETY: the caller's storage.
    unsafe {
        set!(request, next, next);
        set!(request, state, state::JUDGE);
    }
}

/// Takes a byte.
#[inline(always)]
pub unsafe fn take(request: *mut Request, state: u32, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        let after_cr = get!(request, cr) != 0;
        set!(request, cr, u32::from(byte == b'\r'));
        if state < state::CHUNK {
            let head = get!(request, head) + 1;
            set!(request, head, head);
            if head > HEAD {
                return unread(request);
            }
        }
        let in_line =
            state <= state::REST || (state <= state::LITERAL && get!(request, field) == 0);
        if in_line {
            if after_cr && byte != b'\n' && state != state::LINE {
                // Some servers end a line here, and others don't.
                set!(request, odd, 1);
                if get!(request, http) != 0 {
                    return unread(request);
                }
            }
            let byte = if byte == b'\r' || byte == b'\t' { b' ' } else { byte };
            return line(request, state, byte);
        }
        if after_cr && byte != b'\n' {
            return unread(request);
        }
        if state >= state::CHUNK {
            return fields::chunk(request, state, byte, after_cr);
        }
        if byte != b'\r' {
            fields::field(request, state, byte);
        }
    }
}

/// Takes a byte of a request line.
#[inline(always)]
unsafe fn line(request: *mut Request, state: u32, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        let token = &raw mut (*request).token;
        let (blank, ends) = (byte == b' ', byte == b'\n');
        match state {
            state::LINE => {
                if !blank && !ends {
                    begin(request);
                    set!(request, state, state::METHOD);
                    visible(request, byte);
                }
            }
            state::METHOD if blank => {
                let method = if Token::is(token, GET) {
                    method::GET
                } else if Token::is(token, CONNECT) {
                    method::CONNECT
                } else if Token::is(token, PRI) {
                    method::PRI
                } else {
                    method::OTHER
                };
                set!(request, method, method);
                set!(request, state, state::TARGET);
            }
            state::METHOD => visible(request, byte),
            state::TARGET if blank => {}
            state::TARGET if ends => set!(request, state, state::OVER),
            state::TARGET if get!(request, method) == method::CONNECT => {
                set!(request, authority, 1);
                set!(request, state, state::NAME);
                name(request, state::NAME, byte);
            }
            state::TARGET if byte == b'/' || byte == b'*' => rest(request, byte),
            state::TARGET => set!(request, state, state::SCHEME),
            state::SCHEME if byte == b':' => set!(request, state, state::SLASH),
            state::SCHEME if byte.is_ascii_alphanumeric() => {}
            state::SLASH if byte == b'/' => set!(request, state, state::SLASHES),
            state::SLASHES if byte == b'/' => {
                set!(request, authority, 1);
                set!(request, state, state::NAME);
            }
            state::SCHEME | state::SLASH | state::SLASHES => {
                set!(request, odd, 1);
                rest(request, byte);
            }
            state::REST => rest(request, byte),
            _ => name(request, state, byte),
        }
    }
}

/// A request begins: forgets the one before.
#[inline(always)]
unsafe fn begin(request: *mut Request) {
    // SAFETY: the caller's storage.
    unsafe {
        Token::clear(&raw mut (*request).token);
        NameBuf::clear(&raw mut (*request).name);
        set!(request, head, 1);
        set!(request, gap, 0);
        set!(request, http, 0);
        set!(request, odd, 0);
        set!(request, authority, 0);
        set!(request, host, 0);
        set!(request, length, 0);
        set!(request, number, 0);
        set!(request, digits, 0);
        set!(request, chunked, 0);
        set!(request, trailer, 0);
        set!(request, field, 0);
        set!(request, name_len, 0);
        set!(request, dot, 0);
    }
}

/// Takes a byte of a method; what has another has none, and is no HTTP.
#[inline(always)]
unsafe fn visible(request: *mut Request, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        let token = &raw mut (*request).token;
        if byte <= b' ' || byte > b'~' || Token::len(token) >= METHOD {
            set!(request, state, state::OVER);
        } else {
            Token::push(token, byte);
        }
    }
}

/// Takes a byte of the rest of a request line.
#[inline(always)]
pub unsafe fn rest(request: *mut Request, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        let token = &raw mut (*request).token;
        if byte == b'\n' {
            return line_end(request);
        }
        if get!(request, state) != state::REST {
            // The rest of a target is no word that counts.
            set!(request, state, state::REST);
            Token::spoil(token);
        }
        if byte == b' ' {
            set!(request, gap, 1);
            return;
        }
        if byte < b' ' || byte == 0x7f {
            set!(request, odd, 1);
        }
        if get!(request, gap) != 0 {
            set!(request, gap, 0);
            if get!(request, http) != 0 {
                set!(request, odd, 1); // a word after the version
            }
            Token::clear(token);
        }
        Token::push(token, byte.to_ascii_lowercase());
        if Token::is(token, HTTP) {
            set!(request, http, 1);
        }
    }
}

/// A line ends that may be a request's.
#[inline(always)]
unsafe fn line_end(request: *mut Request) {
    // SAFETY: the caller's storage.
    unsafe {
        let (http, method) = (get!(request, http) != 0, get!(request, method));
        let odd = get!(request, odd) != 0;
        if !http && (method != method::GET || odd) {
            return set!(request, state, state::OVER);
        }
        if http && method == method::PRI {
            set!(request, preface, 1);
            return set!(request, state, state::JUDGE);
        }
        if odd {
            return unread(request);
        }
        set!(request, new, u32::from(Token::is(&raw const (*request).token, HTTP_11)));
        // Without a version a request has no fields, as in HTTP/0.9.
        let next = if http { state::FIELD } else { state::LINE };
        if http && get!(request, authority) == 0 {
            set!(request, state, next);
        } else {
            judged_then(request, next);
        }
    }
}
