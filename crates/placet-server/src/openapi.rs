//! `/openapi.json`: the interface as an OpenAPI 3.1 document, written from the routes and a table of what each takes
//! and answers.
//!
//! The paths and methods are those that the router is built from ([`crate::routes()`]); a test fails where one of them
//! is not in the table, or the table names one that is gone, and others hold the table against the real answers.
//!
//! Invariant: the document is the same for everybody, and says nothing about an installation.

pub mod document;
mod operations;
pub mod shape;

pub use operations::operations;

/// How a caller shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Nobody has to.
    Anybody,
    /// An agent's client id and secret (RFC 6749 §2.3.1).
    Client,
    /// An agent's access token.
    Agent,
    /// A person's session.
    Person,
    /// A bearer of any kind, or a proof in the body.
    MaybeBearer,
    /// A bearer of any kind; what it may do is said by the operation.
    Bearer,
    /// A proxy, with the credentials of a resource server in a header of their own.
    Proxy,
}

/// What one route takes and answers. Shapes are written as [`shape`] reads them.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Method and path, as the router has them.
    pub route: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Who may call it.
    pub caller: Caller,
    /// The parameters of the query.
    pub query: &'static [&'static str],
    /// The body.
    pub takes: Takes,
    /// The statuses of success, each with what comes with it.
    pub gives: &'static [(u16, Gives)],
}

/// The body of a request.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// None.
    Nothing,
    /// A JSON object of this shape.
    Json(&'static str),
    /// The same, which may have further members.
    OpenJson(&'static str),
    /// The first, or no body at all.
    MaybeJson(&'static str),
    /// A form of this shape, or a JSON object with the same members.
    Form(&'static str),
    /// A document in YAML or JSON.
    Document,
    /// Anything: it is passed on.
    Anything,
}

/// The body of an answer.
#[derive(Debug, Clone, Copy)]
pub enum Gives {
    /// None.
    Nothing,
    /// A JSON object of this shape, which may have further members.
    Json(&'static str),
    /// The same under a media type of its own.
    JsonAs(&'static str, &'static str),
    /// The same, or `text/event-stream`: messages, of which the last is that.
    JsonOrEvents(&'static str),
    /// Text of this media type.
    Text(&'static str),
    /// Anything: it comes from somewhere else.
    Anything,
}
