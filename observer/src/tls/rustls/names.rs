//! What a Rust program's symbols say its functions are.

use std::fmt::{self, Write};

use memchr::memmem;
use rustc_demangle::try_demangle;

use super::SENDS;

const CRATE: &[u8] = b"rustls";
/// Longer names are none of these.
const LONGEST: usize = 256;

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// One of [`SENDS`].
    Sends(usize),
    /// What is given what was decrypted.
    Receives,
    /// What ends a connection's state, or what has it at its beginning.
    Ends,
}

/// Whether a symbol can be one of these.
pub(super) fn may_matter(symbol: &[u8]) -> bool {
    memmem::find(symbol, CRATE).is_some()
}

impl Name {
    /// What the function of this symbol is, if it matters. Compilers name functions as they always did, or as RFC
    /// 2603 says, and what stands between the words differs with it.
    pub(super) fn of(symbol: &[u8]) -> Option<Self> {
        let mut name = Bounded(String::new());
        // Without the hash at the end.
        write!(name, "{:#}", try_demangle(std::str::from_utf8(symbol).ok()?).ok()?).ok()?;
        let name = name.0;
        let method = name
            .strip_prefix("rustls::common_state::CommonState::")
            .or_else(|| name.strip_prefix("<rustls::common_state::CommonState>::"));
        if let Some(method) = method {
            let is = |sends: &str| sends.strip_prefix("CommonState::") == Some(method);
            return SENDS.iter().position(|sends| is(sends)).map(Self::Sends);
        }
        if let Some(of) = name.strip_prefix("core::ptr::drop_in_place") {
            let of = of.strip_prefix("::").unwrap_or(of);
            let holds = of == "<rustls::common_state::CommonState>"
                || of == "<rustls::client::client_conn::ClientConnection>"
                || of == "<rustls::client::client_conn::connection::ClientConnection>"
                || of.starts_with("<rustls::conn::ConnectionCommon<");
            return holds.then_some(Self::Ends);
        }
        let (of, method) =
            name.strip_prefix("<rustls::")?.split_once(" as rustls::common_state::State<")?;
        let traffic = ["client::tls12", "client::tls13", "server::tls12", "server::tls13"]
            .iter()
            .any(|place| of.strip_prefix(place) == Some("::ExpectTraffic"));
        (traffic && method.ends_with(">>::handle")).then_some(Self::Receives)
    }
}

/// A text that does not grow without end: what a file makes of its symbols is its own business.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_however_their_compiler_names_them() {
        let data =
            "rustls..common_state..State$LT$rustls..client..client_conn..ClientConnectionData";
        let receives = format!(
            "_ZN141_$LT$rustls..client..tls13..ExpectTraffic$u20$as$u20${data}$GT$$GT$6handle17h92105ed8912ec01dE"
        );
        let quic = receives.replace("141_", "145_").replace("ExpectTraffic", "ExpectQuicTraffic");
        for (symbol, wanted) in [
            (
                "_ZN6rustls12common_state11CommonState20send_appdata_encrypt17hbeff53087ad83ab9E",
                Some(Name::Sends(0)),
            ),
            (
                "_ZN6rustls12common_state11CommonState20send_appdata_encrypt17hbeff53087ad83ab9E.llvm.3865288137060507005",
                Some(Name::Sends(0)),
            ),
            (
                "_ZN6rustls12common_state11CommonState16buffer_plaintext17h60a03956783711f1E",
                Some(Name::Sends(3)),
            ),
            (
                "_RNvMNtCs9cSKvJHMHTo_6rustls12common_stateNtB2_11CommonState20send_appdata_encrypt",
                Some(Name::Sends(0)),
            ),
            ("_ZN6rustls12common_state11CommonState8send_msg17hbeff53087ad83ab9E", None),
            (
                "_ZN6rustls12common_state11CommonState10send_plain28_$u7b$$u7b$closure$u7d$$u7d$17hbeff53087ad83ab9E",
                None,
            ),
            ("_ZN5other12common_state11CommonState10send_plain17hbeff53087ad83ab9E", None),
            (&receives, Some(Name::Receives)),
            (&quic, None),
            (
                "_ZN4core3ptr54drop_in_place$LT$rustls..common_state..CommonState$GT$17hc943cc9fba5d05c1E",
                Some(Name::Ends),
            ),
            (
                "_ZN4core3ptr57drop_in_place$LT$rustls..client..tls13..ExpectTraffic$GT$17h92fd838d7c26c5f5E",
                None,
            ),
            ("rustls", None),
            ("", None),
        ] {
            assert_eq!(Name::of(symbol.as_bytes()), wanted, "{symbol}");
        }
        assert_eq!(Name::of(b"_ZN6rustls\xffE"), None);
    }

    #[test]
    fn a_name_that_grows_without_end_is_none() {
        // RFC 2603: a tuple of two, each of which is the one before.
        let mut symbol = "_RINvC6rustls1fTAhj0_".to_owned();
        for _ in 0..64 {
            symbol.push_str("TBd_Bd_E");
        }
        symbol.push('E');
        assert_eq!(Name::of(symbol.as_bytes()), None);
        assert_eq!(Name::of(["_ZN6rustls", &"1a".repeat(1 << 16), "E"].concat().as_bytes()), None);
    }
}
