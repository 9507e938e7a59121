//! What was decrypted, as a library hands it on from within: rustls, which gives its callers no function
//! that every plaintext goes through.

use observer_common::tls_site;

use crate::emit;

use super::plaintext::{plaintext, words};
use super::session::{came_from, stream_key};
use super::thread::{Frame, Thread};

/// Plaintext of one record at most (RFC 8446, 5.1).
const RECORD: u64 = 1 << 14;
/// What a message's kind has beside its number: the others have a length there.
const IS_KIND: u64 = 1 << 63;

/// A message goes from the record layer to whoever waits for it. It was received by the thread that
/// runs, right before.
#[inline(always)]
pub(super) fn handed_on(thread: *mut Thread, site: u64, arguments: &[u64; 4]) {
    let Some([kind, _, buffer, len]) = words(arguments[3]) else {
        emit::tls_lost();
        return;
    };
    if kind != IS_KIND | site >> tls_site::KIND & 7 || len == 0 {
        return;
    }
    let connection = words(arguments[2]);
    let Some([connection]) = connection.filter(|_| len <= RECORD) else {
        emit::tls_lost();
        return;
    };
    came_from(&stream_key(connection), thread);
    let frame = Frame { connection, buffer, out: 0, stack: 0, cookie: 0, site };
    plaintext(thread, &frame, site, len);
}
