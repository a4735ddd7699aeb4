//! Answers and uploads that go on as they come.

use crate::upstream::{Reply, SECRET, Upstream, answer, call, gateway};
use bytes::Bytes;
use http_body_util::Full;
use placet_core::call::{Auth, Method, UpstreamCall};
use placet_core::secret::Secret;
use placet_core::service::UploadPace;
use placet_gateway::{
    Credential, Gateway, GatewayConfig, Happened, NotSent, Piece, StreamedAnswer, Unknown, Upload,
    UpstreamFailure,
};
use std::time::Duration;
use tokio::time::Instant;

fn credential() -> Credential {
    Credential::new(&Auth::Bearer, &Secret::new(SECRET)).unwrap()
}

async fn open(gateway: &Gateway, upstream: &Upstream) -> Result<StreamedAnswer, UpstreamFailure> {
    let route = upstream.route();
    gateway.open(call(&route, Method::Get, None), None, &route, &credential()).await
}

fn impatient() -> Gateway {
    let time = Duration::from_millis(200);
    Gateway::new(GatewayConfig { total_timeout: time, stream_idle_timeout: time, ..GatewayConfig::default() })
        .unwrap()
}

/// All pieces: the bytes, and the trailers if there were any.
async fn all(mut answer: StreamedAnswer) -> Result<(Vec<u8>, Vec<(String, String)>), UpstreamFailure> {
    let (mut bytes, mut trailers) = (Vec::new(), Vec::new());
    while let Some(piece) = answer.next().await? {
        match piece {
            Piece::Data(data) => bytes.extend_from_slice(&data),
            Piece::Trailers(found) => trailers = found,
        }
    }
    Ok((bytes, trailers))
}

#[tokio::test]
async fn what_waits_for_the_next_piece_goes_out_before_the_trailers() {
    let body = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: etag\r\n\r\n\
                8\r\nx canary\r\n0\r\netag: \"1\"\r\n\r\n";
    let upstream = Upstream::fixed(Reply::Close(body.into())).await;
    let answer = open(&gateway(), &upstream).await.unwrap();
    assert_eq!(answer.trailers().collect::<Vec<_>>(), ["etag"]);
    let (bytes, trailers) = all(answer).await.unwrap();
    assert_eq!(
        (bytes.as_slice(), trailers),
        (&b"x canary"[..], vec![("etag".to_owned(), "\"1\"".to_owned())])
    );
}

#[tokio::test]
async fn a_secret_is_gone_from_trailers_too() {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, format!("u:{SECRET}"));
    let body = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: etag, x-request-id\r\n\r\n\
         2\r\nok\r\n0\r\netag: \"{SECRET}\"\r\nx-request-id: {encoded}\r\n\r\n"
    );
    let upstream = Upstream::fixed(Reply::Close(body.into())).await;
    let (bytes, trailers) = all(open(&gateway(), &upstream).await.unwrap()).await.unwrap();
    assert_eq!(bytes, b"ok");
    assert!(trailers.iter().any(|(name, value)| name == "etag" && value == "\"[scrubbed]\""), "{trailers:?}");
    let told = format!("{trailers:?}");
    assert!(!told.contains("canary") && !told.contains(&encoded[8..30]), "{told}");
}

#[tokio::test]
async fn an_upstream_that_stops_in_the_middle_is_not_waited_for_for_ever() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
    let upstream = Upstream::fixed(Reply::Hang(head.into())).await;
    let failure = all(open(&impatient(), &upstream).await.unwrap()).await.unwrap_err();
    let UpstreamFailure::Unknown { status, reason, .. } = failure else { panic!("{failure}") };
    assert_eq!((status, reason), (Some(200), Unknown::TimedOut));
    let upstream = Upstream::fixed(Reply::Hang(Vec::new())).await;
    let failure = open(&impatient(), &upstream).await.unwrap_err();
    assert!(matches!(failure, UpstreamFailure::Unknown { status: None, reason: Unknown::TimedOut, .. }));
}

#[tokio::test]
async fn an_upload_may_take_longer_than_any_one_of_its_pieces() {
    let upstream = Upstream::start(|_, _| Reply::Keep(answer("200 OK", "", "ok"))).await;
    let route = upstream.route();
    let streamed = |method| UpstreamCall { streamed: true, ..call(&route, method, None) };
    let gateway = impatient();
    let pieces = |count: usize, pause: u64| {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            for _ in 0..count {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if sender.send(Bytes::from_static(b"12345")).await.is_err() {
                    return;
                }
            }
        });
        let stream = Receiving(receiver);
        Upload::new(stream, Some(u64::try_from(count * 5).unwrap()))
    };
    let began = Instant::now();
    let answer =
        gateway.open(streamed(Method::Put), Some(pieces(6, 60)), &route, &credential()).await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(300) && answer.status() == 200);
    let failure =
        gateway.open(streamed(Method::Put), Some(pieces(2, 2000)), &route, &credential()).await.unwrap_err();
    assert_eq!(failure.happened(), Happened::Unknown);
    // Nor may it take its time with small ones: nobody waits for longer than what came is worth.
    let pace = UploadPace { pause: Duration::from_millis(180), rate: 1024 };
    let (slow, began) = (upstream.route().taking_uploads_at(pace), Instant::now());
    let credential = credential();
    let sent = gateway.open(streamed(Method::Put), Some(pieces(1000, 30)), &slow, &credential);
    let failure = sent.await.unwrap_err();
    assert!(
        matches!(failure, UpstreamFailure::Unknown { status: None, reason: Unknown::SlowUpload, .. }),
        "{failure}"
    );
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // A body where none is declared, and none where one is, are no calls.
    let full = || Upload::new(Full::new(Bytes::from_static(b"x")), Some(1));
    for (call, upload) in [(call(&route, Method::Put, None), Some(full())), (streamed(Method::Put), None)] {
        let failure = gateway.open(call, upload, &route, &credential).await.unwrap_err();
        assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::BadCall, .. }), "{failure}");
    }
    // So are headers that are not listed.
    for name in ["cookie", "host", "range", "authorization", "content-type", "Accept"] {
        let call =
            UpstreamCall { headers: vec![(name.into(), "x".into())], ..call(&route, Method::Get, None) };
        let failure = gateway.open(call, None, &route, &credential).await.unwrap_err();
        assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::BadCall, .. }), "{name}");
    }
}

/// What comes through a channel, as a body.
struct Receiving(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Receiving {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(hyper::body::Frame::data(piece))))
    }
}
