//! Libraries with the C calling convention, by the names of their functions.

use iced_x86::Register;
use observer_common::tls_site;

use super::elf::{Image, Symbol};
use super::flow::{Code64, Place};
use super::{Blind, FindError, Found, Library, Site};

/// Connection, buffer, length: the first three arguments (System V ABI).
const ARGUMENTS: [Register; 3] = [Register::RDI, Register::RSI, Register::RDX];
/// The fourth.
const OUT: Register = Register::RCX;

pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) library: Library,
    /// [`tls_site`] bits.
    pub(super) shape: u64,
    /// It may be a wrapper of a function that takes a pointer for the length.
    pub(super) wraps: bool,
}

const fn openssl(name: &'static str, shape: u64, wraps: bool) -> Function {
    Function { name, library: Library::OpenSsl, shape, wraps }
}

const fn gnutls(name: &'static str, shape: u64) -> Function {
    Function { name, library: Library::GnuTls, shape, wraps: false }
}

/// ssl.h of OpenSSL 1.1.0 to 3.5, gnutls.h of 3.0 to 3.8. Looking without taking (SSL_peek) tells
/// the same bytes twice, and is left out.
const FUNCTIONS: [Function; 13] = [
    openssl("SSL_write", tls_site::RESULT_32, true),
    openssl("SSL_write_ex", tls_site::RESULT_32 | tls_site::OUT, true),
    openssl("SSL_write_early_data", tls_site::RESULT_32 | tls_site::OUT, false),
    openssl("SSL_read", tls_site::RESULT_32 | tls_site::RECEIVES, true),
    openssl("SSL_read_ex", tls_site::RESULT_32 | tls_site::OUT | tls_site::RECEIVES, true),
    openssl("SSL_read_early_data", tls_site::RESULT_32 | tls_site::OUT | tls_site::RECEIVES, false),
    // SSL_connect and SSL_accept are calls of it.
    openssl("SSL_do_handshake", tls_site::SHAKES, false),
    openssl("SSL_free", tls_site::FREES, false),
    gnutls("gnutls_record_send", 0),
    gnutls("gnutls_record_send2", 0),
    gnutls("gnutls_record_recv", tls_site::RECEIVES),
    gnutls("gnutls_record_recv_seq", tls_site::RECEIVES),
    gnutls("gnutls_deinit", tls_site::FREES),
];

/// What a library must have to be one.
const NEEDED: [(Library, [&str; 2]); 2] = [
    (Library::OpenSsl, ["SSL_write", "SSL_read"]),
    (Library::GnuTls, ["gnutls_record_send", "gnutls_record_recv"]),
];

/// The libraries in a file.
pub(super) fn find(image: &Image<'_>) -> Result<Vec<Found>, FindError> {
    let names: Vec<&'static str> = FUNCTIONS.iter().map(|function| function.name).collect();
    let symbols = image.symbols(&names)?;
    let mut code = Code64::new(image);
    let mut all = vec![];
    for (library, needed) in NEEDED {
        if !needed.iter().all(|name| symbols.contains_key(name)) {
            continue;
        }
        let mut found = Found { library, sites: vec![], held: vec![], blind: vec![] };
        for function in FUNCTIONS.iter().filter(|function| function.library == library) {
            let Some(&symbol) = symbols.get(function.name) else { continue };
            match sites(image, &mut code, function, symbol) {
                Ok(sites) => {
                    found.sites.extend(sites);
                    found.held.push(function.name);
                }
                // A mere jump to a function that has a name of its own.
                Err(Blind::NoReturn)
                    if function.name == "gnutls_record_send"
                        && symbols.contains_key("gnutls_record_send2") => {}
                Err(blind) => found.blind.push((function.name, blind)),
            }
        }
        found.sites.sort_unstable();
        found.sites.dedup();
        all.push(found);
    }
    Ok(all)
}

/// Where a function's probes go.
pub(super) fn sites(
    image: &Image<'_>,
    code: &mut Code64<'_>,
    function: &Function,
    symbol: Symbol,
) -> Result<Vec<Site>, Blind> {
    if image.offset(symbol.address).is_none() {
        return Err(Blind::NoCode);
    }
    let site = |place: Place, shape: u64, leaves: bool| {
        let offset = image.offset(place.address).ok_or(Blind::NoCode)?;
        let library = (function.library as u64) << tls_site::LIBRARY;
        let depth = u64::from(place.depth) << tls_site::DEPTH;
        Ok(Site { offset, cookie: shape | library | depth, leaves })
    };
    // That they are called is all that is asked for. Some builds leave a handshake by a jump to
    // they know not where.
    let keep = [ARGUMENTS[0], ARGUMENTS[1], ARGUMENTS[2], OUT];
    if function.shape & (tls_site::FREES | tls_site::SHAKES | tls_site::RECORD) != 0 {
        let needs = if function.shape & tls_site::RECORD == 0 { 1 } else { keep.len() };
        let enter = code.entry(symbol.address, &keep[..needs]);
        return Ok(vec![site(enter, function.shape, false)?]);
    }
    let has_out = function.shape & tls_site::OUT != 0;
    if function.wraps
        && let Some((enter, leave)) = code.inner_call(symbol, &ARGUMENTS, OUT, has_out)
    {
        let shape = function.shape | tls_site::OUT;
        return Ok(vec![site(enter, shape, false)?, site(leave, shape, true)?]);
    }
    let enter = code.entry(symbol.address, if has_out { &keep } else { &ARGUMENTS });
    let leaves = code.leaves(symbol)?;
    let mut sites = vec![site(enter, function.shape, false)?];
    for leave in leaves {
        sites.push(site(leave, function.shape, true)?);
    }
    Ok(sites)
}
