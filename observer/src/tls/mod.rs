//! Where a file's TLS library takes plaintext in and gives it out: the places to put probes at.
//! Pure: bytes in, offsets out. The files are the agent's as well, so each read is bounded and
//! whatever they hold, this returns.
//!
//! A probe stands at an instruction. One that the kernel must execute out of line costs the agent
//! a second trap, one that it emulates doesn't: so an entry is the first such instruction at which
//! the arguments still stand in their registers, and a return is an instruction of the function,
//! never a return probe: those replace the return address, which Go does not survive.

mod boring;
mod elf;
mod flow;
mod go;
mod library;
mod refs;
mod rustls;

use std::fmt;

use thiserror::Error;

pub use elf::Source;

/// The TLS libraries that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Library {
    /// OpenSSL 1.1 or 3, or what has its functions' names and shapes.
    OpenSsl,
    /// GnuTLS 3.
    GnuTls,
    /// Go's crypto/tls.
    Go,
    /// BoringSSL, found by what its code does.
    BoringSsl,
    /// rustls, where its program has symbols; in others only that it is there.
    Rustls,
}

impl Library {
    /// Its word in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::GnuTls => "gnutls",
            Self::Go => "go",
            Self::BoringSsl => "boringssl",
            Self::Rustls => "rustls",
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// Offset in the file, bytes.
    pub offset: u64,
    /// What the probe is told of the place: [`observer_common::tls_site`] bits.
    pub cookie: u64,
    /// Whether it stands where a call ends.
    pub leaves: bool,
}

/// What a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The library.
    pub library: Library,
    /// Where probes go.
    pub sites: Vec<Site>,
    /// Functions that are held by them.
    pub held: Vec<&'static str>,
    /// Functions that are there and can't be held, each with the reason.
    pub blind: Vec<(&'static str, Blind)>,
}

/// Why a function can't be held.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Blind {
    /// Its bytes are not in the file.
    #[error("its code is not in the file")]
    NoCode,
    /// No instruction of it is its end.
    #[error("no place where it returns")]
    NoReturn,
    /// A Go program's table of functions is older than Go 1.18, cut, or not where it should be.
    #[error("the runtime's table of functions can't be read")]
    Table,
    /// Nothing in a program without symbols does what the function does.
    #[error("no function in the file is like it")]
    Unlike,
    /// More than one does.
    #[error("more than one function in the file is like it")]
    Alike,
    /// What it belongs together with was not found.
    #[error("the other one can't be told")]
    Other,
    /// A Rust program without symbols.
    #[error("the program has no symbols, and its own functions can't be told without")]
    Stripped,
    /// Its version is not in the file, or not known here, or it has several.
    #[error("a version of the library that is not known here, or more than one")]
    Version,
    /// Its compiler is not in the file, or older than what is known here.
    #[error("a compiler of which is not known where it puts arguments")]
    Compiler,
    /// No symbol names it.
    #[error("no function has its name")]
    Unnamed,
    /// More returns than a function has.
    #[error("more than {} places where it returns", flow::LEAVES)]
    Leaves,
}

/// Why a file can't be looked into.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FindError {
    /// It is no ELF file of this machine's kind.
    #[error("no 64-bit ELF file for x86-64")]
    Elf,
    /// It can't be read, or its tables point outside of it.
    #[error("its tables can't be read")]
    Read,
}

/// What was found out about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Its build id (NT_GNU_BUILD_ID), hex; none where it has none.
    pub build_id: Option<String>,
    /// The libraries in it.
    pub found: Vec<Found>,
    /// It is a Go program.
    pub go: bool,
    /// Why the rest of it can't be looked through, beside what was found by its names.
    pub unread: Option<FindError>,
}

/// Looks into a file.
///
/// # Errors
/// When it is no ELF file, or its tables can't be read.
pub fn look(source: &dyn Source) -> Result<Looked, FindError> {
    let image = elf::Image::parse(source)?;
    let mut looked = Looked { build_id: image.build_id(), ..Looked::default() };
    looked.found = library::find(&image)?;
    looked.go = go::is(&image);
    if looked.go {
        looked.found.extend(go::find(&image)?);
    } else if looked.found.iter().all(|found| found.library != Library::OpenSsl) {
        match without_names(&image) {
            Ok(found) => looked.found.extend(found),
            // What was found by its names is told all the same.
            Err(error) if !looked.found.is_empty() => looked.unread = Some(error),
            Err(error) => return Err(error),
        }
    }
    Ok(looked)
}

/// What is told by a file's constants and by what its code does.
fn without_names(image: &elf::Image<'_>) -> Result<Vec<Found>, FindError> {
    let (texts, words) = refs::texts(image, boring::SOURCE, &rustls::words())?;
    let rustls = words.iter().all(|&there| there);
    let rustls = rustls.then(|| rustls::find(image)).transpose()?;
    Ok(boring::find(image, &texts)?.into_iter().chain(rustls).collect())
}

#[cfg(test)]
mod tests;
