//! What comes back to the agent.

use crate::upstream::{Reply, SECRET, Upstream, answer, call, gateway, perform};
use placet_core::call::Method;
use placet_gateway::{
    Gateway, GatewayConfig, Happened, ResponseBody, Unknown, Unreadable, UpstreamFailure, UpstreamResponse,
};
use serde_json::json;

async fn got(bytes: impl Into<Vec<u8>>) -> Result<UpstreamResponse, UpstreamFailure> {
    Upstream::fixed(Reply::Close(bytes.into())).await.get().await
}

fn headers(response: &UpstreamResponse) -> Vec<(&str, &str)> {
    response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn a_redirect_is_answered_and_its_location_scrubbed() {
    let upstream = Upstream::start(|_, _| {
        let location = format!("location: http://127.0.0.1:1/?token={SECRET}&x=1\r\n");
        Reply::Keep(answer("302 Found", &location, ""))
    })
    .await;
    let response = upstream.get().await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(headers(&response), [("location", "http://127.0.0.1:1/?token=[scrubbed]&x=1")]);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn only_listed_headers_are_shown() {
    let lines = "content-type: text/plain\r\nETag: \"1\"\r\nSet-Cookie: a=b\r\nWWW-Authenticate: Basic\r\n\
                 Proxy-Authenticate: Basic\r\nX-RateLimit-Remaining: 3\r\nx-foo: 1\r\nServer: x\r\n\
                 Connection: x-request-id , ETag\r\nX-Request-Id: 7\r\nlink: <a>\r\nlink: <b>\r\nkeep-alive: 5\r\n";
    let response = got(answer("200 OK", lines, "x")).await.unwrap();
    let expected =
        [("content-type", "text/plain"), ("x-ratelimit-remaining", "3"), ("link", "<a>"), ("link", "<b>")];
    assert_eq!(headers(&response), expected);
}

#[tokio::test]
async fn json_is_json_and_numbers_keep_their_text() {
    let body = r#"{"amount": 12345678901234567890.120, "t": "\u0041"}"#;
    for kind in ["application/json", "application/problem+json; charset=utf-8", "Application/JSON"] {
        let response = got(answer("200 OK", &format!("content-type: {kind}\r\n"), body)).await.unwrap();
        let ResponseBody::Json(value) = response.body else { panic!("{:?}", response.body) };
        assert_eq!(value["amount"].to_string(), "12345678901234567890.120");
        assert_eq!(value["t"], "A");
    }
    // What is not JSON, or does not say that it is, is text.
    let cases = [("application/json", "{\"a\":1} x"), ("application/json", ""), ("text/plain", "{\"a\":1}")];
    for (kind, body) in cases {
        let response = got(answer("200 OK", &format!("content-type: {kind}\r\n"), body)).await.unwrap();
        assert_eq!(response.body, ResponseBody::Text(body.into()));
    }
    let response = got(answer("200 OK", "", b"\xff\x00")).await.unwrap();
    assert_eq!(response.body, ResponseBody::Bytes(vec![0xff, 0]));
}

#[tokio::test]
async fn an_echoed_credential_is_gone_from_headers_and_body() {
    let upstream = Upstream::start(|request, _| {
        let lines: Vec<&str> = request.lines().filter(|line| !line.is_empty()).collect();
        let body = json!({"headers": lines, SECRET: 1}).to_string();
        let echoed =
            format!("content-type: application/json\r\nx-request-id: {SECRET}\r\netag: Bearer {SECRET}\r\n");
        Reply::Keep(answer("401 Unauthorized", &echoed, body))
    })
    .await;
    let response = upstream.get().await.unwrap();
    assert_eq!(response.status, 401);
    assert!(!format!("{response:?}").contains(SECRET));
    let ResponseBody::Json(body) = &response.body else { panic!("{response:?}") };
    assert_eq!(body["[scrubbed]"], 1);
    let lines: Vec<_> = body["headers"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
    assert!(lines.contains(&"authorization: Bearer [scrubbed]"), "{lines:?}");
    assert!(headers(&response).contains(&("etag", "Bearer [scrubbed]")));
}

#[tokio::test]
async fn a_header_whose_name_is_the_secret_is_left_out() {
    // Header names are compared and shown in lower case.
    let line = "x-ratelimit-canary_4ec39hql: 1\r\nx-ratelimit-limit: 2\r\n";
    let upstream = Upstream::fixed(Reply::Keep(answer("200 OK", line, ""))).await;
    let route = upstream.route();
    let secret = placet_core::secret::Secret::new("canary_4eC39HqL");
    let auth = placet_core::call::Auth::Bearer;
    let call = call(&route, Method::Get, None);
    let response = gateway().perform(call, &route, &auth, &secret, crate::upstream::later()).await.unwrap();
    assert_eq!(headers(&response), [("x-ratelimit-limit", "2")]);
}

#[tokio::test]
async fn a_secret_split_across_chunks_is_found() {
    for split in 1..SECRET.len() {
        let (a, b) = SECRET.split_at(split);
        let chunks =
            format!("{:x}\r\n{a}\r\n{:x};ext=1\r\n{b}\r\n0\r\netag: {SECRET}\r\n\r\n", a.len(), b.len());
        let response =
            got(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await.unwrap();
        assert_eq!(response.body, ResponseBody::Text("[scrubbed]".into()));
        assert!(response.headers.is_empty(), "trailers are left out");
    }
}

#[tokio::test]
async fn what_cannot_be_searched_is_refused() {
    for line in [
        "content-encoding: gzip\r\n",
        "content-encoding: identity, br\r\n",
        "content-encoding: identity\r\ncontent-encoding: zstd\r\n",
    ] {
        let failure = got(answer("201 Created", line, "x")).await.unwrap_err();
        let UpstreamFailure::Answered { status, reason, .. } = &failure else { panic!("{failure}") };
        assert_eq!((*status, *reason, failure.happened()), (201, Unreadable::Encoded, Happened::Yes));
    }
    let failure = got("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        .await
        .unwrap_err();
    assert!(matches!(failure, UpstreamFailure::Answered { reason: Unreadable::Encoded, .. }), "{failure}");
    // Nothing to search.
    assert_eq!(got(answer("200 OK", "content-encoding: gzip\r\n", "")).await.unwrap().status, 200);
    assert_eq!(got(answer("200 OK", "content-encoding: identity\r\n", "x")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_announced_or_not() {
    let config = || GatewayConfig { max_response_bytes: 100, ..GatewayConfig::default() };
    let body = |length: usize| "x".repeat(length);
    let chunked = |length: usize| {
        let half = length / 2;
        let (a, b) = (body(half), body(length - half));
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
            a.len(),
            b.len()
        )
        .into_bytes()
    };
    let until_close = |length: usize| format!("HTTP/1.0 200 OK\r\n\r\n{}", body(length)).into_bytes();
    let announced = |length: usize| answer("200 OK", "", body(length));
    let forms: [&dyn Fn(usize) -> Vec<u8>; 3] = [&chunked, &until_close, &announced];
    for form in forms {
        for (length, fits) in [(0, true), (100, true), (101, false), (5000, false)] {
            let upstream = Upstream::fixed(Reply::Close(form(length))).await;
            let route = upstream.route();
            let gateway = Gateway::new(config()).unwrap();
            match perform(&gateway, &route, call(&route, Method::Get, None)).await {
                Ok(response) => {
                    assert!(fits);
                    assert_eq!(response.body, ResponseBody::Text(body(length)));
                }
                Err(failure) => {
                    assert!(!fits, "{failure}");
                    let host = upstream.address.to_string();
                    let reason = Unreadable::TooLarge { max: 100 };
                    assert_eq!(failure, UpstreamFailure::Answered { host, status: 200, reason });
                }
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_is_unknown_with_its_status() {
    for cut in ["content-length: 10\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n5\r\nab"] {
        let failure = got(format!("HTTP/1.1 202 Accepted\r\n{cut}")).await.unwrap_err();
        let UpstreamFailure::Unknown { status, reason, .. } = &failure else { panic!("{failure}") };
        assert_eq!((*status, *reason), (Some(202), Unknown::Disconnected));
        assert_eq!(failure.status(), Some(202));
    }
}

#[tokio::test]
async fn what_is_not_http_is_unknown() {
    for bytes in ["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let failure = got(bytes).await.unwrap_err();
        assert!(matches!(failure, UpstreamFailure::Unknown { reason: Unknown::Malformed, .. }), "{failure}");
    }
}

#[tokio::test]
async fn http_1_0_and_early_hints_and_empty_answers_are_read() {
    let response = got("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nold").await.unwrap();
    assert_eq!(response.body, ResponseBody::Text("old".into()));
    let hinted = "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let response = got(hinted).await.unwrap();
    assert_eq!(
        (response.status, response.headers.len(), response.body),
        (204, 0, ResponseBody::Text(String::new()))
    );
    let upstream =
        Upstream::fixed(Reply::Keep(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n".to_vec())).await;
    let route = upstream.route();
    let response = perform(&gateway(), &route, call(&route, Method::Head, None)).await.unwrap();
    assert_eq!(response.body, ResponseBody::Text(String::new()));
}
