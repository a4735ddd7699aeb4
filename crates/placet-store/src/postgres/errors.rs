//! What PostgreSQL's errors mean, by SQLSTATE (the manual's Appendix A), never by message.
//!
//! Invariant: a stored value is in no fault: of the server's words only those about statements and damage are taken.

use crate::fault::Fault;
use rustls::CertificateError;
use std::{error, io};
use tokio_postgres::{Error, error::SqlState};

/// The fault of an error.
pub(crate) fn fault(error: &Error) -> Fault {
    let Some(said) = error.as_db_error() else {
        return if let Some(why) = distrusted(error) {
            Fault::Unavailable(why)
        } else if error.is_closed() || lost(error) {
            Fault::Unavailable("the connection was lost")
        } else {
            // A parameter that its column can't take, or an answer that nobody understands.
            Fault::Statement(error.to_string())
        };
    };
    let code = said.code();
    let class = code.code().get(..2).unwrap_or_default();
    if *code == SqlState::UNIQUE_VIOLATION {
        // SQLite tells these two apart; a primary key's index has this end of name unless somebody named it.
        let primary = said.constraint().is_some_and(|name| name.ends_with("_pkey"));
        return Fault::Conflict(if primary { "primary key" } else { "unique" });
    }
    match class {
        "23" => Fault::Conflict(match *code {
            SqlState::FOREIGN_KEY_VIOLATION => "foreign key",
            SqlState::CHECK_VIOLATION => "check",
            SqlState::NOT_NULL_VIOLATION => "not null",
            _ => "other",
        }),
        // Deadlocks, serialization failures, and locks that were waited for in vain.
        "40" => Fault::Busy,
        _ if *code == SqlState::LOCK_NOT_AVAILABLE => Fault::Busy,
        "53" if *code == SqlState::DISK_FULL => Fault::Full,
        "53" => Fault::Unavailable("the server has no resources left"),
        "57" if *code == SqlState::QUERY_CANCELED => Fault::Unavailable("a statement took too long"),
        "57" => Fault::Unavailable("the server is being stopped or started"),
        "08" | "25" | "26" => Fault::Unavailable("the connection can't be used"),
        "28" => Fault::Unavailable("the server refuses the user or the password"),
        "3D" => Fault::Unavailable("the server has no such database"),
        "58" => Fault::Io(format!("the database server reports {}", code.code())),
        "XX" => Fault::Corrupt(format!("the database server reports {}", code.code())),
        _ => Fault::Statement(format!("{} ({})", said.message(), code.code())),
    }
}

/// Whether the connection is of no use any more.
pub(crate) fn ends_connection(error: &Error) -> bool {
    let Some(said) = error.as_db_error() else { return error.is_closed() || lost(error) };
    let code = said.code();
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "25" | "26" | "28" | "3D")
        || (class == "57" && *code != SqlState::QUERY_CANCELED)
        || (class == "53" && *code != SqlState::DISK_FULL)
}

/// Whether reading from or writing to the socket failed.
fn lost(error: &Error) -> bool {
    causes(error).any(|cause| cause.is::<io::Error>())
}

/// Why the server's certificate is not believed, if that is what is wrong.
fn distrusted(error: &Error) -> Option<&'static str> {
    let of_tls = |cause: &(dyn error::Error + 'static)| {
        // An error of the socket has it inside of it, and not as its cause.
        let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inside.and_then(|inside| inside.downcast_ref()).or_else(|| cause.downcast_ref());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => Some(why.clone()),
            _ => None,
        }
    };
    causes(error).find_map(of_tls).map(|why| match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is for another name"
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate comes from no authority that is trusted: `sslrootcert` in the URL names one"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired"
        }
        _ => "the server's certificate is not one that is believed",
    })
}

/// What an error comes from, nearest first.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn error::Error + 'static)> {
    std::iter::successors(error::Error::source(error), |inner| inner.source())
}
