//! Upstreams that offer HTTP/2: spoken to in it, many calls on one connection, by the same rules as in HTTP/1.1.

use crate::tls::{certified, trusting};
use crate::upstream::{SECRET, call, perform};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use placet_core::call::{Auth, Method, UpstreamCall};
use placet_core::secret::Secret;
use placet_gateway::{
    Credential, Gateway, Piece, ResponseBody, Route, StreamedAnswer, Unknown, Upload, UpstreamFailure,
};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a test does with a request: gives pieces for a body that goes on as long as the sender is kept.
type Frames = mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::io::Error>>;
type Answering = Arc<dyn Fn(&Request<()>) -> (HeaderMap, Frames) + Send + Sync>;

struct Receiving(Frames);

impl hyper::body::Body for Receiving {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx)
    }
}

/// A request, and its body.
type Seen = (Request<()>, Bytes);

/// An upstream that offers both versions.
struct Upstream {
    gateway: Gateway,
    route: Route,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    async fn start(answer: impl Fn(&Request<()>) -> (HeaderMap, Frames) + Send + Sync + 'static) -> Self {
        let (acceptor, root) = certified(&["localhost"], &[b"h2", b"http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (connections, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let answer: Answering = Arc::new(answer);
        tokio::spawn({
            let (connections, seen) = (Arc::clone(&connections), Arc::clone(&seen));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let stream = acceptor.accept(stream).await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            let request = Request::from_parts(head, ());
                            let (headers, frames) = answer(&request);
                            seen.lock().unwrap().push((request, body));
                            let mut response = Response::new(Receiving(frames));
                            *response.headers_mut() = headers;
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    tokio::spawn(async move {
                        let io = TokioIo::new(stream);
                        if http2 {
                            let mut http = http2::Builder::new(TokioExecutor::new());
                            _ = http.max_concurrent_streams(1000).serve_connection(io, service).await;
                        } else {
                            _ = http1::Builder::new().serve_connection(io, service).await;
                        }
                    });
                }
            }
        });
        let (gateway, route) = (trusting(vec![root]), Route::new(&base, false).unwrap());
        Self { gateway, route, connections, seen }
    }

    async fn open(
        &self,
        call: UpstreamCall,
        upload: Option<Upload>,
    ) -> Result<StreamedAnswer, UpstreamFailure> {
        let credential = Credential::new(&Auth::Bearer, &Secret::new(SECRET)).unwrap();
        self.gateway.open(call, upload, &self.route, &credential).await
    }

    fn versions(&self, version: Version) -> usize {
        self.seen.lock().unwrap().iter().filter(|(request, _)| request.version() == version).count()
    }
}

fn whole(text: &str) -> Frames {
    let (sender, frames) = mpsc::unbounded_channel();
    sender.send(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))).unwrap();
    frames
}

#[tokio::test]
async fn an_upstream_that_offers_http2_is_spoken_to_in_it_on_one_connection() {
    let upstream = Upstream::start(|_| (HeaderMap::new(), whole(&format!("it was {SECRET}.")))).await;
    // The first dials; whoever comes while it does may dial as well.
    perform(&upstream.gateway, &upstream.route, call(&upstream.route, Method::Get, None)).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (gateway, route) = (upstream.gateway.clone(), upstream.route.clone());
        all.spawn(async move {
            let call = call(&route, Method::Post, Some("{}"));
            perform(&gateway, &route, call).await.unwrap()
        });
    }
    for answer in all.join_all().await {
        assert_eq!(answer.body, ResponseBody::Text("it was [scrubbed].".into()));
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    assert_eq!(upstream.versions(Version::HTTP_2), 21);
    let seen = upstream.seen.lock().unwrap();
    let (request, body) = seen.last().unwrap();
    assert_eq!((request.method().as_str(), &body[..]), ("POST", &b"{}"[..]));
    assert_eq!(request.uri().authority().unwrap().as_str(), upstream.route.host());
    assert_eq!(request.uri().path_and_query().unwrap().as_str(), "/x?a=%2F");
    let mut names: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    // Nothing of HTTP/1 (RFC 9113 §8.2.2), and the authority is said once.
    assert_eq!(
        names,
        ["accept", "accept-encoding", "authorization", "content-length", "content-type", "user-agent"]
    );
}

#[tokio::test]
async fn trailers_of_grpc_pass_without_the_secret() {
    let upstream = Upstream::start(|_| {
        let (sender, frames) = mpsc::unbounded_channel();
        // A message of gRPC: not compressed, of this length.
        let message = format!("\0\0\0\0\x22{SECRET}");
        for part in message.as_bytes().chunks(7) {
            sender.send(Ok(Frame::data(Bytes::copy_from_slice(part)))).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("7"));
        trailers.insert(
            "grpc-message",
            HeaderValue::from_str(&SECRET.replace('/', "%2F").replace('=', "%3D")).unwrap(),
        );
        trailers.insert("set-cookie", HeaderValue::from_static("a=b"));
        sender.send(Ok(Frame::trailers(trailers))).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        (headers, frames)
    })
    .await;
    let call = UpstreamCall {
        streamed: true,
        headers: vec![("content-type".into(), "application/grpc".into())],
        ..call(&upstream.route, Method::Post, None)
    };
    let upload = Upload::new(http_body_util::Full::new(Bytes::from_static(b"\0\0\0\0\0")), None);
    let mut answer = upstream.open(call, Some(upload)).await.unwrap();
    let (mut bytes, mut trailers) = (Vec::new(), Vec::new());
    while let Some(piece) = answer.next().await.unwrap() {
        match piece {
            Piece::Data(data) => bytes.extend_from_slice(&data),
            Piece::Trailers(found) => trailers = found,
        }
    }
    assert_eq!(bytes, b"\0\0\0\0\x22[scrubbed]");
    let expected = [("grpc-status", "7"), ("grpc-message", "[scrubbed]")];
    assert_eq!(trailers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let seen = upstream.seen.lock().unwrap();
    assert_eq!(seen[0].0.headers().get("te").unwrap(), "trailers");
    assert_eq!(&seen[0].1[..], b"\0\0\0\0\0");
}

#[tokio::test]
async fn a_stream_that_is_reset_is_no_whole_answer() {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let upstream = Upstream::start(move |_| {
        let (sender, frames) = mpsc::unbounded_channel();
        sender.send(Ok(Frame::data(Bytes::from_static(b"first\n")))).unwrap();
        *keep.lock().unwrap() = Some(sender);
        (HeaderMap::new(), frames)
    })
    .await;
    let mut answer = upstream.open(call(&upstream.route, Method::Get, None), None).await.unwrap();
    assert!(matches!(answer.next().await, Ok(Some(Piece::Data(_)))));
    let sender = kept.lock().unwrap().take().unwrap();
    sender.send(Err(std::io::Error::other("reset"))).unwrap();
    let failure = answer.next().await.unwrap_err();
    assert!(
        matches!(failure, UpstreamFailure::Unknown { status: Some(200), reason: Unknown::Disconnected, .. }),
        "{failure}"
    );
}

#[tokio::test]
async fn where_many_streams_are_open_further_calls_do_not_wait_for_them() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let upstream = Upstream::start(move |request| {
        if request.method() == http::Method::POST {
            return (HeaderMap::new(), whole("done"));
        }
        let (sender, frames) = mpsc::unbounded_channel();
        sender.send(Ok(Frame::data(Bytes::from_static(b"event\n")))).unwrap();
        keep.lock().unwrap().push(sender);
        (HeaderMap::new(), frames)
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..70 {
        let mut answer = upstream.open(call(&upstream.route, Method::Get, None), None).await.unwrap();
        assert!(matches!(answer.next().await, Ok(Some(Piece::Data(_)))));
        open.push(answer);
    }
    assert_eq!((upstream.versions(Version::HTTP_2), upstream.versions(Version::HTTP_11)), (64, 6));
    let answer = perform(&upstream.gateway, &upstream.route, call(&upstream.route, Method::Post, Some("{}")));
    assert_eq!(answer.await.unwrap().body, ResponseBody::Text("done".into()));
    // When they have ended, it is HTTP/2 again.
    drop(open);
    kept.lock().unwrap().clear();
    let before = upstream.versions(Version::HTTP_2);
    perform(&upstream.gateway, &upstream.route, call(&upstream.route, Method::Post, Some("{}")))
        .await
        .unwrap();
    assert_eq!(upstream.versions(Version::HTTP_2), before + 1);
}
