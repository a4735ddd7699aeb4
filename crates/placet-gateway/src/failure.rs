//! Why there is no answer from upstream, and whether the action may have happened all the same.
//!
//! The caller records the difference: what was provably not sent gives its reservation back; what may have been sent
//! stays reserved and `unknown`, for the reconciler.
//!
//! Invariant: [`UpstreamFailure::NotSent`] only where no byte of the request can have been written. Messages name the
//! host as the administrator wrote it; never a resolved address, never anything upstream said, never the secret.

use crate::address::AddressClass;
use crate::inject::CredentialError;

/// Whether an action that failed was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// No: the request never left, or its transaction was not committed.
    No,
    /// Nobody here can tell.
    Unknown,
    /// Upstream answered, so it acted on the request; its status says how.
    Yes,
}

/// No answer that could be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFailure {
    /// The request never left this machine.
    #[error("the request was not sent to `{host}`: {reason}")]
    NotSent {
        /// Host (and port) as the service's `base_url` names it.
        host: String,
        /// What stood in the way.
        reason: NotSent,
    },
    /// A part of the request may have been written, and no whole answer came.
    #[error("it is unknown whether `{host}` carried out the request: {reason}")]
    Unknown {
        /// Host (and port) as the service's `base_url` names it.
        host: String,
        /// The status, where an answer had begun.
        status: Option<u16>,
        /// What happened.
        reason: Unknown,
    },
    /// What was asked for stood in a transaction that was not committed.
    #[error("`{host}` did nothing: {reason}")]
    Undone {
        /// Host (and port) as the service's `base_url` names it.
        host: String,
        /// What happened.
        reason: Undone,
    },
    /// Upstream answered, and the answer can't be passed on.
    #[error(
        "`{host}` carried out the request (status {status}), but its answer can't be passed on: {reason}"
    )]
    Answered {
        /// Host (and port) as the service's `base_url` names it.
        host: String,
        /// The status upstream answered with.
        status: u16,
        /// What is wrong with the answer.
        reason: Unreadable,
    },
}

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The call's origin is not the service's, or its target is no path and query.
    #[error("the rendered request does not fit the service's `base_url`: correct the service's `path`")]
    BadCall,
    /// The credential can't be put into the request.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The name has no address.
    #[error("its name could not be resolved: check `base_url` and the name server")]
    NotResolved,
    /// An address of the host may not be dialled.
    #[error(
        "it has a {0} address, which this service may not reach: write the literal address in `base_url` or set \
         `allow_private`"
    )]
    Forbidden(AddressClass),
    /// A metadata service's address.
    #[error("it has the address of a metadata service, which is never dialled: check `base_url`")]
    Metadata,
    /// No TCP connection.
    #[error("no connection could be made: check that it is up and reachable")]
    Unreachable,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: check that it speaks TLS 1.2 or 1.3 on this port")]
    Tls,
    /// The certificate was not accepted.
    #[error("its certificate is not valid for this name or not trusted: check the certificate")]
    Certificate,
    /// The upstream refuses this server as a client.
    #[error("it takes no client without a certificate that it knows: give the connection another one")]
    Identity,
    /// The server and the gateway have no revision of the protocol in common, or it did not keep to it.
    #[error("it does not speak the Model Context Protocol as it is spoken here: check the service's `mcp`")]
    Handshake,
    /// Whoever asked called it off before.
    #[error("it was called off: ask again if it is still wanted")]
    CalledOff,
    /// The operator lists no such command.
    #[error(
        "no such command is listed: the operator lists what may be started (`placet serve --mcp-commands`)"
    )]
    NotListed,
    /// A database's address that is not near, and no TLS.
    #[error(
        "it has a public address, and `sslmode=disable` would show credential and data on the way: leave it out"
    )]
    Plain,
    /// A database refuses the session.
    #[error(
        "the database refuses the session (SQLSTATE {sqlstate}): check the user, the password and the database's name"
    )]
    Refused {
        /// Five letters and digits.
        sqlstate: String,
    },
    /// Every session of a login was in use until time ran out.
    #[error("every session of this login was in use: try again later")]
    NoSession,
    /// Time ran out before there was a connection.
    #[error("there was no connection in time: try again later")]
    TimedOut,
}

/// Why it is unknown whether a request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No whole answer before the deadline.
    #[error("no whole answer came in time: look at the upstream before trying again")]
    TimedOut,
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer was complete: look at the upstream before trying again")]
    Disconnected,
    /// The upstream refused the client's certificate, which with TLS 1.3 is said after the request was written.
    #[error(
        "it refused the connection's client certificate, so that it will have done nothing: give the connection \
         another one"
    )]
    Identity,
    /// What came back is not HTTP.
    #[error("the answer is not valid HTTP: look at the upstream before trying again")]
    Malformed,
    /// Whoever asked called it off meanwhile.
    #[error("it was called off before the answer came: look at the upstream before trying again")]
    CalledOff,
    /// Whoever sends the body sent it too slowly, or stopped.
    #[error(
        "its body came too slowly: look at the upstream, then send it again without pauses, or in smaller parts"
    )]
    SlowUpload,
    /// What came back ended, and was no answer to what was asked.
    #[error("what came back does not answer the request: look at the upstream before trying again")]
    NoAnswer,
}

/// Why a transaction was not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// No whole answer before the deadline.
    #[error("there was no answer in time, so its transaction was given up: try again later")]
    TimedOut,
    /// The connection ended before.
    #[error("the connection ended before its transaction was committed: try again")]
    Disconnected,
}

/// Why an answer can't be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The body is longer than the gateway reads.
    #[error("its body is longer than {max} bytes: ask for less at a time")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// The body is compressed although that was ruled out, so it can't be searched for the credential.
    #[error("its body is encoded although `identity` was asked for: configure the upstream not to compress")]
    Encoded,
}

impl UpstreamFailure {
    /// Whether the action may have happened.
    pub fn happened(&self) -> Happened {
        match self {
            Self::NotSent { .. } | Self::Undone { .. } => Happened::No,
            Self::Unknown { .. } => Happened::Unknown,
            Self::Answered { .. } => Happened::Yes,
        }
    }

    /// The status upstream answered with, where it began to answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NotSent { .. } | Self::Undone { .. } => None,
            Self::Unknown { status, .. } => *status,
            Self::Answered { status, .. } => Some(*status),
        }
    }

    /// Whether time ran out (an edge answers 504 rather than 502).
    pub fn timed_out(&self) -> bool {
        matches!(
            self,
            Self::NotSent { reason: NotSent::TimedOut | NotSent::NoSession, .. }
                | Self::Unknown { reason: Unknown::TimedOut, .. }
                | Self::Undone { reason: Undone::TimedOut, .. }
        )
    }
}
