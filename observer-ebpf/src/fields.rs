//! The fields of a request that say whom it is for and how long its content is, and the chunks
//! of that.

use crate::authority::name;
use crate::names::NameBuf;
use crate::request::{Request, get, judged_then, method, set, state, unread};
use crate::token::{Token, Word};

/// Digits of a length that are read, in decimal and in hexadecimal.
const DIGITS: u32 = 15;

const HOST: Word = Word::of(b"host");
const CONTENT_LENGTH: Word = Word::of(b"content-length");
const TRANSFER_ENCODING: Word = Word::of(b"transfer-encoding");
const CHUNKED: Word = Word::of(b"chunked");

/// Takes a byte of a field line; a CR before its end is none.
#[inline(always)]
pub unsafe fn field(request: *mut Request, state: u32, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        let token = &raw mut (*request).token;
        let (blank, ends) = (byte == b' ' || byte == b'\t', byte == b'\n');
        match state {
            state::FIELD if ends => head_end(request),
            // A line that goes on with the one before it, which some servers take for its own.
            state::FIELD if blank || byte == b':' => unread(request),
            state::FIELD => {
                Token::clear(token);
                Token::push(token, byte.to_ascii_lowercase());
                set!(request, state, state::FIELD_NAME);
            }
            state::FIELD_NAME if byte == b':' => field_named(request),
            state::FIELD_NAME if byte <= b' ' || byte > b'~' => unread(request),
            state::FIELD_NAME => Token::push(token, byte.to_ascii_lowercase()),
            state::SKIPPED if ends => set!(request, state, state::FIELD),
            state::SKIPPED => {}
            state::HOST | state::HOST_OVER if blank => {}
            state::HOST | state::HOST_OVER if ends => judged_then(request, state::FIELD),
            state::HOST_OVER => unread(request),
            state::HOST => {
                set!(request, state, state::NAME);
                name(request, state::NAME, byte);
            }
            state::LENGTH => length(request, byte),
            state::CODING if ends => {
                if !Token::is(token, CHUNKED) {
                    return unread(request);
                }
                set!(request, chunked, 1);
                set!(request, state, state::FIELD);
            }
            state::CODING if blank => set!(request, gap, u32::from(Token::len(token) != 0)),
            state::CODING if get!(request, gap) != 0 => unread(request),
            state::CODING => Token::push(token, byte.to_ascii_lowercase()),
            _ => name(request, state, byte),
        }
    }
}

/// A field's name is whole. Of each that counts there is one: servers differ in which they take.
#[inline(always)]
unsafe fn field_named(request: *mut Request) {
    // SAFETY: the caller's storage.
    unsafe {
        let token = &raw mut (*request).token;
        set!(request, gap, 0);
        if get!(request, trailer) != 0 {
            set!(request, state, state::SKIPPED);
        } else if Token::is(token, HOST) {
            if get!(request, host) != 0 {
                return unread(request);
            }
            NameBuf::clear(&raw mut (*request).name);
            set!(request, name_len, 0);
            set!(request, dot, 0);
            set!(request, host, 1);
            set!(request, field, 1);
            set!(request, state, state::HOST);
        } else if Token::is(token, CONTENT_LENGTH) {
            if get!(request, length) != 0 {
                return unread(request);
            }
            set!(request, length, 1);
            set!(request, state, state::LENGTH);
        } else if Token::is(token, TRANSFER_ENCODING) {
            if get!(request, chunked) != 0 {
                return unread(request);
            }
            Token::clear(token);
            set!(request, state, state::CODING);
        } else {
            set!(request, state, state::SKIPPED);
        }
    }
}

/// Takes a byte of a content's length.
#[inline(always)]
unsafe fn length(request: *mut Request, byte: u8) {
    // SAFETY: the caller's storage.
    unsafe {
        let digits = get!(request, digits);
        if byte == b' ' || byte == b'\t' {
            set!(request, gap, u32::from(digits != 0));
        } else if byte == b'\n' && digits != 0 {
            set!(request, state, state::FIELD);
        } else if byte.is_ascii_digit() && digits < DIGITS && get!(request, gap) == 0 {
            set!(request, digits, digits + 1);
            set!(request, number, get!(request, number) * 10 + u64::from(byte - b'0'));
        } else {
            unread(request);
        }
    }
}

/// A head ends, or the trailers of a content.
#[inline(always)]
unsafe fn head_end(request: *mut Request) {
    // SAFETY: the caller's storage.
    unsafe {
        if get!(request, trailer) != 0 {
            return set!(request, state, state::LINE);
        }
        let (chunked, length) = (get!(request, chunked) != 0, get!(request, number));
        let both = chunked && (get!(request, length) != 0 || get!(request, new) == 0);
        let tunnel = get!(request, method) == method::CONNECT && (chunked || length != 0);
        if both || tunnel {
            return unread(request);
        }
        set!(request, skip, length);
        set!(request, number, 0);
        set!(request, digits, 0);
        let next = if chunked { state::CHUNK } else { state::LINE };
        if get!(request, host) | get!(request, authority) != 0 {
            set!(request, state, next);
        } else {
            judged_then(request, next);
        }
    }
}

/// Takes a byte between chunks, where nothing but what every server reads alike is read.
#[inline(always)]
pub unsafe fn chunk(request: *mut Request, state: u32, byte: u8, after_cr: bool) {
    // SAFETY: the caller's storage.
    unsafe {
        let (digits, number) = (get!(request, digits), get!(request, number));
        let sized = state == state::CHUNK_OVER || digits != 0;
        if byte == b'\r' && sized {
            return;
        }
        if byte == b'\n' && sized && after_cr {
            let next = match state {
                state::CHUNK_OVER => state::CHUNK,
                _ if number == 0 => state::FIELD,
                _ => state::CHUNK_OVER,
            };
            set!(request, trailer, u32::from(next == state::FIELD));
            set!(request, skip, number);
            set!(request, number, 0);
            set!(request, digits, 0);
            return set!(request, state, next);
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' | b'A'..=b'F' => (byte | 0x20) - b'a' + 10,
            _ => return unread(request),
        };
        if state == state::CHUNK_OVER || digits >= DIGITS {
            return unread(request);
        }
        set!(request, digits, digits + 1);
        set!(request, number, number << 4 | u64::from(digit));
    }
}
