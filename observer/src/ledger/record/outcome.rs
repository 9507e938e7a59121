//! How a call ended.

use super::super::json::{Fields, int};
use crate::model::{Outcome, Reason, Status};

pub(super) fn outcome(outcome: &Outcome) -> Fields<'_> {
    let mut out = Fields::new();
    let status = match outcome.status {
        Status::Ok => "ok",
        Status::Failed => "failed",
        Status::Unknown => "unknown",
    };
    out.insert("status", status);
    match outcome.reason {
        Reason::None => {}
        Reason::Errno(errno) => {
            out.insert("errno", errno);
            if let Some(name) = errno_name(errno) {
                out.insert("error", name);
            }
        }
        Reason::Exit(exit) => {
            out.insert("exit", exit);
        }
        Reason::Signal(signal) => {
            out.insert("signal", signal);
        }
        Reason::Rcode(rcode) => {
            out.insert("rcode", rcode);
        }
        Reason::Unseen(why) => {
            out.insert("reason", why);
        }
        Reason::Http { status, note } => {
            out.insert("http_status", status);
            out.insert_some("reason", note);
        }
    }
    out.insert_some("duration_ns", outcome.duration_ns.map(int));
    out
}

/// The names of the errors that calls end with (errno(3)).
fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EIO => "EIO",
        libc::E2BIG => "E2BIG",
        libc::ENOEXEC => "ENOEXEC",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::ENOTDIR => "ENOTDIR",
        libc::EISDIR => "EISDIR",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ETXTBSY => "ETXTBSY",
        libc::ELOOP => "ELOOP",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ELIBBAD => "ELIBBAD",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENOBUFS => "ENOBUFS",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EPROTOTYPE => "EPROTOTYPE",
        _ => return None,
    })
}
