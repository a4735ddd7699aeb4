//! The messages of `envoy.service.auth.v3.Authorization` that are read and written here, with the field numbers of the
//! published `.proto` files (`envoy/service/auth/v3/*.proto`, `envoy/config/core/v3/base.proto`, `google/rpc/status.proto`).
//! Fields that nothing here reads are left out: they are skipped.
//!
//! Invariant: a number here is the published one; a test holds it against bytes that were written by hand.

use std::collections::HashMap;

/// `envoy.service.auth.v3.CheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckRequest {
    /// What the request is.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// `envoy.service.auth.v3.AttributeContext`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeContext {
    /// The request.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    /// What the configuration of the route says.
    #[prost(map = "string, string", tag = "10")]
    pub context_extensions: HashMap<String, String>,
}

/// `envoy.service.auth.v3.AttributeContext.Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Its HTTP side.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `envoy.service.auth.v3.AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpRequest {
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Headers, those of one name merged.
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// Path and query as they will go on.
    #[prost(string, tag = "4")]
    pub path: String,
    /// The body as text, where it was not packed as bytes.
    #[prost(string, tag = "11")]
    pub body: String,
    /// The body.
    #[prost(bytes = "vec", tag = "12")]
    pub raw_body: Vec<u8>,
    /// Headers as they came (`encode_raw_headers`).
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderMap>,
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderMap {
    /// The headers.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value as text.
    #[prost(string, tag = "2")]
    pub value: String,
    /// The value as bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// Whether it stands beside others of its name; said in so many words, as what is not said has changed its meaning.
    #[prost(message, optional, tag = "2")]
    pub append: Option<BoolValue>,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BoolValue {
    /// The value.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// 0 where the request is allowed (`google.rpc.Code`).
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HttpStatus {
    /// The status.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `envoy.service.auth.v3.DeniedHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeniedHttpResponse {
    /// Its status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Its body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `envoy.service.auth.v3.OkHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OkHttpResponse {
    /// Headers that the request goes on with.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Headers that it goes on without.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
}

/// `envoy.service.auth.v3.CheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckResponse {
    /// Whether it is allowed.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What becomes of the request.
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub http_response: Option<HttpResponse>,
}

/// The `http_response` of a [`CheckResponse`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HttpResponse {
    /// It is answered so.
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    /// It goes on.
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// A field with a length in front of it.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    #[test]
    fn what_envoy_sends_is_read() {
        let entry = |key: &str, value: &str| [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
        let raw = [field(1, b"x-b"), field(3, b"\xff")].concat();
        let http = [
            field(1, b"an id that is skipped"),
            field(2, b"GET"),
            field(3, &entry("x-a", "1")),
            field(4, b"/a?b=c"),
            field(5, b"shop.example"),
            field(6, b"https"),
            // The size, as a number.
            vec![9 << 3, 5],
            field(10, b"HTTP/1.1"),
            field(11, b"text"),
            field(12, b"\x00\xff"),
            field(13, &field(1, &raw)),
        ]
        .concat();
        let attributes = [
            field(1, &[]),
            field(4, &[field(1, &[]), field(2, &http)].concat()),
            field(10, &entry("service", "shop")),
        ]
        .concat();
        let read = CheckRequest::decode(field(1, &attributes).as_slice()).unwrap().attributes.unwrap();
        assert_eq!(read.context_extensions["service"], "shop");
        let http = read.request.unwrap().http.unwrap();
        assert_eq!((http.method.as_str(), http.path.as_str(), http.body.as_str()), ("GET", "/a?b=c", "text"));
        assert_eq!((http.headers["x-a"].as_str(), http.raw_body.as_slice()), ("1", &b"\x00\xff"[..]));
        assert_eq!(http.header_map.unwrap().headers[0].raw_value, b"\xff");
    }

    #[test]
    fn what_envoy_reads_is_written() {
        let header = HeaderValueOption {
            header: Some(HeaderValue { key: "a".into(), value: "b".into(), raw_value: Vec::new() }),
            append: Some(BoolValue { value: false }),
        };
        let written = [field(1, &[field(1, b"a"), field(2, b"b")].concat()), field(2, &[])].concat();
        let ok = OkHttpResponse { headers: vec![header.clone()], headers_to_remove: vec!["c".into()] };
        let response = CheckResponse {
            status: Some(Status { code: 0, message: String::new() }),
            http_response: Some(HttpResponse::Ok(ok)),
        };
        let expected = [field(1, &[]), field(3, &[field(2, &written), field(5, b"c")].concat())].concat();
        assert_eq!(response.encode_to_vec(), expected);
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: 100 }),
            headers: vec![header],
            body: "no".into(),
        };
        let response = CheckResponse {
            status: Some(Status { code: 7, message: "m".into() }),
            http_response: Some(HttpResponse::Denied(denied)),
        };
        let status = [vec![1 << 3, 7], field(2, b"m")].concat();
        let denied = [field(1, &[1 << 3, 100]), field(2, &written), field(3, b"no")].concat();
        assert_eq!(response.encode_to_vec(), [field(1, &status), field(2, &denied)].concat());
    }
}
