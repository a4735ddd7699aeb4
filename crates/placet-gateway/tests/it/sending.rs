//! Connections, time, and what is known after a failure.

use crate::upstream::{Reply, SECRET, Scripted, Upstream, answer, call, gateway, later, perform};
use placet_core::call::{Auth, Method};
use placet_core::secret::Secret;
use placet_gateway::{
    Gateway, GatewayConfig, Happened, NotSent, ResponseBody, Route, Unknown, UpstreamFailure,
};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

fn ok() -> Reply {
    Reply::Keep(answer("200 OK", "", "fine"))
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let upstream = Upstream::fixed(ok()).await;
    let gateway = gateway();
    for _ in 0..20 {
        let route = upstream.route();
        let response = perform(&gateway, &route, call(&route, Method::Post, Some("{}"))).await.unwrap();
        assert_eq!(response.body, ResponseBody::Text("fine".into()));
        // The connection goes back to the pool in a task of its own.
        tokio::task::yield_now().await;
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (20, 1));
}

#[tokio::test]
async fn a_post_on_a_connection_that_went_stale_is_sent_once() {
    // The upstream keeps the connection in what it says and closes it after each answer.
    let upstream = Upstream::fixed(Reply::Close(answer("200 OK", "", "fine"))).await;
    let gateway = gateway();
    let route = upstream.route();
    let mut answered = 0;
    for round in 1..=50 {
        match perform(&gateway, &route, call(&route, Method::Post, Some("{}"))).await {
            Ok(_) => {
                answered += 1;
                if round % 2 == 0 {
                    upstream.one_closed().await;
                }
            }
            // Written into the closed connection: nobody knows, and it must not be tried again.
            Err(failure) => assert_eq!(failure.happened(), Happened::Unknown, "{failure}"),
        }
    }
    assert!(answered > 0);
    assert_eq!(upstream.requests().len(), answered, "no request arrived twice or unanswered");
}

#[tokio::test]
async fn an_upstream_that_reads_and_hangs_up_gets_the_request_once() {
    let upstream =
        Upstream::start(|_, number| if number == 0 { ok() } else { Reply::Close(Vec::new()) }).await;
    let gateway = gateway();
    let route = upstream.route();
    perform(&gateway, &route, call(&route, Method::Get, None)).await.unwrap();
    tokio::task::yield_now().await;
    for method in [Method::Post, Method::Get] {
        let before = upstream.requests().len();
        let failure = perform(&gateway, &route, call(&route, method, None)).await.unwrap_err();
        let host = upstream.address.to_string();
        assert_eq!(failure, UpstreamFailure::Unknown { host, status: None, reason: Unknown::Disconnected });
        assert_eq!(upstream.requests().len(), before + 1);
    }
}

#[tokio::test]
async fn a_permitted_connection_serves_no_stricter_route() {
    let upstream = Upstream::fixed(ok()).await;
    let gateway = Scripted::new(vec![vec![upstream.address]]).gateway();
    let url = format!("http://inside.example:{}", upstream.address.port());
    let (open, strict) = (Route::new(&url, true).unwrap(), Route::new(&url, false).unwrap());
    perform(&gateway, &open, call(&open, Method::Get, None)).await.unwrap();
    let failure = perform(&gateway, &strict, call(&strict, Method::Get, None)).await.unwrap_err();
    assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::Forbidden(_), .. }), "{failure}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn silence_is_unknown_and_keeps_the_status_it_had() {
    let cases: [(&[u8], Option<u16>); 3] = [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\nab", Some(201)),
    ];
    for (written, status) in cases {
        let upstream = Upstream::fixed(Reply::Hang(written.to_vec())).await;
        let route = upstream.route();
        // What the time is for is the answer: setting up TLS can take longer than that.
        let gateway = gateway();
        let soon = Instant::now() + Duration::from_millis(150);
        let call = call(&route, Method::Post, Some("{}"));
        let failure =
            gateway.perform(call, &route, &Auth::Bearer, &Secret::new(SECRET), soon).await.unwrap_err();
        let host = upstream.address.to_string();
        assert_eq!(failure, UpstreamFailure::Unknown { host, status, reason: Unknown::TimedOut });
        assert!(failure.timed_out());
    }
}

#[tokio::test]
async fn the_gateways_own_timeout_holds_without_a_near_deadline() {
    let upstream = Upstream::fixed(Reply::Hang(Vec::new())).await;
    let config = GatewayConfig { total_timeout: Duration::from_millis(100), ..GatewayConfig::default() };
    let route = upstream.route();
    let failure =
        perform(&Gateway::new(config).unwrap(), &route, call(&route, Method::Get, None)).await.unwrap_err();
    assert!(failure.timed_out() && failure.happened() == Happened::Unknown, "{failure}");
}

#[tokio::test]
async fn no_connection_means_not_sent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let route = Route::new(&format!("http://{address}"), false).unwrap();
    let failure = perform(&gateway(), &route, call(&route, Method::Post, Some("{}"))).await.unwrap_err();
    assert_eq!(failure, UpstreamFailure::NotSent { host: address.to_string(), reason: NotSent::Unreachable });
}

#[tokio::test]
async fn no_address_means_not_sent() {
    let route = Route::new("https://nowhere.example", false).unwrap();
    for answers in [vec![], vec![vec![]]] {
        let gateway = Scripted::new(answers).gateway();
        let failure = perform(&gateway, &route, call(&route, Method::Get, None)).await.unwrap_err();
        let host = "nowhere.example".to_owned();
        assert_eq!(failure, UpstreamFailure::NotSent { host, reason: NotSent::NotResolved });
    }
}

#[tokio::test]
async fn a_failed_handshake_means_not_sent() {
    // Answers in plain HTTP: no TLS record.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let plain = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(&answer("400 Bad Request", "", "")).await.unwrap();
        hello
    });
    let route = Route::new(&format!("https://{address}"), false).unwrap();
    let failure = perform(&gateway(), &route, call(&route, Method::Get, None)).await.unwrap_err();
    assert_eq!(failure, UpstreamFailure::NotSent { host: address.to_string(), reason: NotSent::Tls });
    assert_eq!(plain.await.unwrap()[0], 22, "a TLS handshake record was sent and nothing in clear");
}

#[tokio::test]
async fn a_handshake_that_never_ends_means_not_sent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let route = Route::new(&format!("https://{}", listener.local_addr().unwrap()), false).unwrap();
    let by_connect =
        GatewayConfig { connect_timeout: Duration::from_millis(100), ..GatewayConfig::default() };
    let by_total = GatewayConfig { total_timeout: Duration::from_millis(100), ..GatewayConfig::default() };
    for config in [by_connect, by_total] {
        let gateway = Gateway::new(config).unwrap();
        let failure = perform(&gateway, &route, call(&route, Method::Post, None)).await.unwrap_err();
        assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::TimedOut, .. }), "{failure}");
        assert!(failure.timed_out());
    }
}

#[tokio::test]
async fn threat_06_a_name_that_also_points_inside_is_refused_whole() {
    let upstream = Upstream::fixed(ok()).await;
    let public: SocketAddr = "93.184.215.14:80".parse().unwrap();
    for answer in [vec![public, upstream.address], vec![upstream.address, public], vec![upstream.address]] {
        let gateway = Scripted::new(vec![answer]).gateway();
        let route =
            Route::new(&format!("http://rebound.example:{}", upstream.address.port()), false).unwrap();
        let failure = perform(&gateway, &route, call(&route, Method::Get, None)).await.unwrap_err();
        assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::Forbidden(_), .. }));
        assert!(!failure.to_string().contains("127.0.0.1"), "{failure}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn threat_07_a_name_is_looked_up_once_per_connection_and_its_checked_answer_is_dialled() {
    // A second look-up would get the metadata service.
    let upstream = Upstream::fixed(ok()).await;
    let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
    let resolver = Scripted::new(vec![vec![upstream.address], vec![metadata]]);
    let gateway = resolver.gateway();
    let route = Route::new(&format!("http://rebound.example:{}", upstream.address.port()), true).unwrap();
    perform(&gateway, &route, call(&route, Method::Get, None)).await.unwrap();
    assert_eq!((resolver.asked.load(Ordering::SeqCst), upstream.connections()), (1, 1));
    // And where it says so at once, not even `allow_private` helps.
    let gateway = Scripted::new(vec![vec![metadata]]).gateway();
    let failure = perform(&gateway, &route, call(&route, Method::Get, None)).await.unwrap_err();
    assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::Metadata, .. }), "{failure}");
}

#[tokio::test]
async fn localhost_is_permitted_loopback_and_nothing_else() {
    let upstream = Upstream::fixed(ok()).await;
    let route = Route::new(&format!("http://LOCALHOST:{}", upstream.address.port()), false).unwrap();
    perform(&Scripted::new(vec![vec![upstream.address]]).gateway(), &route, call(&route, Method::Get, None))
        .await
        .unwrap();
    let inside = Scripted::new(vec![vec!["10.0.0.1:80".parse().unwrap()]]);
    let failure = perform(&inside.gateway(), &route, call(&route, Method::Get, None)).await.unwrap_err();
    assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::Forbidden(_), .. }), "{failure}");
    // The name alone is what is permitted, nothing below it.
    let below = Route::new(&format!("http://x.localhost:{}", upstream.address.port()), false).unwrap();
    let gateway = Scripted::new(vec![vec![upstream.address]]).gateway();
    assert!(perform(&gateway, &below, call(&below, Method::Get, None)).await.is_err());
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_is_dead() {
    let upstream = Upstream::fixed(ok()).await;
    let dead = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    let gateway = Scripted::new(vec![vec![address, upstream.address]]).gateway();
    let route = Route::new("http://two.example", true).unwrap();
    perform(&gateway, &route, call(&route, Method::Get, None)).await.unwrap();
    assert_eq!(upstream.requests().len(), 1);
    assert!(
        gateway
            .perform(call(&route, Method::Get, None), &route, &Auth::Bearer, &Secret::new(SECRET), later())
            .await
            .is_ok()
    );
}
