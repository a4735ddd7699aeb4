//! One JSON-RPC message: a request, a notification or a response, and the errors that answer it.
//!
//! Invariant: a message has one reading. A batch is none, and neither is a request that could be taken for a response.

use crate::json;
use serde_json::{Map, Value, json};

/// What a client sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// It wants an answer.
    Request(Request),
    /// It wants none.
    Notification {
        /// What happened.
        method: String,
        /// To what.
        params: Map<String, Value>,
    },
    /// It answers something; nothing was asked.
    Response,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its id: a string or an integer.
    pub id: Value,
    /// Its method.
    pub method: String,
    /// Its parameters.
    pub params: Map<String, Value>,
}

/// An error that answers a request.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    /// The code.
    pub code: i32,
    /// A sentence.
    pub message: String,
    /// More for programs.
    pub data: Option<Value>,
    /// The HTTP status where the revision names one.
    pub status: Option<u16>,
}

impl RpcError {
    /// Not JSON.
    pub const PARSE: i32 = -32700;
    /// Not a message.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The parameters are not what the method takes.
    pub const INVALID_PARAMS: i32 = -32602;
    /// Something failed here.
    pub const INTERNAL: i32 = -32603;
    /// It may not be done, or not yet.
    pub const DENIED: i32 = -32001;
    /// Headers and body say different things.
    pub const HEADER_MISMATCH: i32 = -32020;
    /// A revision that is not spoken.
    pub const UNSUPPORTED_VERSION: i32 = -32022;

    /// An error.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, status: None }
    }

    /// The parameters are not what the method takes.
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(Self::INVALID_PARAMS, message)
    }

    /// The request itself lacks what every one of its revision has.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::params(message).refused()
    }

    /// The same with data.
    #[must_use]
    pub fn with(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The same with the HTTP status 400.
    #[must_use]
    pub fn refused(self) -> Self {
        Self { status: Some(400), ..self }
    }

    /// The message that answers the request with this id, or one of which no id could be read.
    pub fn answer(&self, id: Option<&Value>) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some(data), Some(members)) = (&self.data, error.as_object_mut()) {
            members.insert("data".into(), data.clone());
        }
        let mut answer = json!({"jsonrpc": "2.0", "error": error});
        if let (Some(id), Some(members)) = (id, answer.as_object_mut()) {
            members.insert("id".into(), id.clone());
        }
        answer
    }
}

impl Message {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it, and the id that it has all the same.
    pub fn read(bytes: &[u8]) -> Result<Self, (Option<Value>, RpcError)> {
        let value = json::parse(bytes).map_err(|error| {
            (None, RpcError::new(RpcError::PARSE, format!("Parse error: {error}")).refused())
        })?;
        let invalid = |id: Option<&Value>, what: &str| {
            let message = format!("Invalid request: {what}");
            (id.cloned(), RpcError::new(RpcError::INVALID_REQUEST, message).refused())
        };
        let mut members = match value {
            Value::Object(members) => members,
            Value::Array(_) => return Err(invalid(None, "a batch is not taken; send one message")),
            _ => return Err(invalid(None, "it is not an object")),
        };
        let id = members.remove("id");
        let known = id.as_ref().filter(|id| id.is_string() || id.is_i64() || id.is_u64());
        if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(invalid(known, "`jsonrpc` is \"2.0\""));
        }
        let answers = members.contains_key("result") || members.contains_key("error");
        let method = match members.remove("method") {
            Some(Value::String(method)) if !answers => method,
            None if answers => return Ok(Self::Response),
            _ => return Err(invalid(known, "it has a `method`, or else a `result` or an `error`")),
        };
        let params = match members.remove("params") {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(invalid(known, "`params` is an object")),
        };
        match (&id, known) {
            (Some(_), Some(id)) => Ok(Self::Request(Request { id: id.clone(), method, params })),
            (Some(_), None) => Err(invalid(None, "`id` is a string or an integer")),
            (None, _) if method.starts_with("notifications/") => Ok(Self::Notification { method, params }),
            (None, _) => Err(invalid(None, "a request has an `id`")),
        }
    }
}
