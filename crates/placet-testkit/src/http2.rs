//! A client that speaks HTTP/2 from its first byte on, without TLS: many requests on one connection, bodies and trailers
//! piece by piece, as a test says.
//!
//! Invariant: nothing is sent that the test did not write, but for what frames it.

use crate::RUNTIME;
use axum::{
    body::Bytes,
    http::{HeaderMap, Request, Response},
};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle, time::timeout};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection; it ends when dropped.
#[derive(Debug)]
pub struct Http2 {
    authority: String,
    sender: SendRequest<Pieces>,
    running: JoinHandle<()>,
}

/// A body that is sent piece by piece; it ends when this is dropped.
#[derive(Debug)]
pub struct Sending(mpsc::UnboundedSender<Result<Frame<Bytes>, io::Error>>);

/// An answer that is on its way.
pub struct Answering {
    head: Option<JoinHandle<Result<Response<Incoming>, String>>>,
    answer: Option<Response<Incoming>>,
    seen: Vec<u8>,
    trailers: HeaderMap,
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answering({} bytes)", self.seen.len())
    }
}

struct Pieces(mpsc::UnboundedReceiver<Result<Frame<Bytes>, io::Error>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx)
    }
}

impl Http2 {
    /// A connection to the server at `base` (`http://…`).
    ///
    /// # Panics
    /// Where nobody listens; so for all methods where the other end does not do what is waited for.
    pub fn connect(base: &str) -> Self {
        let authority = base.strip_prefix("http://").unwrap().to_owned();
        RUNTIME.block_on(async {
            let stream = TcpStream::connect(&authority).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            let running = tokio::spawn(async { _ = connection.await });
            Self { authority, sender, running }
        })
    }

    /// Begins a request whose body follows.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (Sending, Answering) {
        let (sending, pieces) = mpsc::unbounded_channel();
        let mut request = Request::new(Pieces(pieces));
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = format!("http://{}{path}", self.authority).parse().unwrap();
        for (name, value) in headers {
            request
                .headers_mut()
                .append(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let mut sender = self.sender.clone();
        let head = RUNTIME.spawn(async move {
            sender.ready().await.map_err(|error| format!("{error:?}"))?;
            sender.send_request(request).await.map_err(|error| format!("{error:?}"))
        });
        let answering =
            Answering { head: Some(head), answer: None, seen: Vec::new(), trailers: HeaderMap::new() };
        (Sending(sending), answering)
    }

    /// A request without a body.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answering {
        self.ask("GET", path, headers).1
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Sending {
    /// Sends a piece.
    ///
    /// # Panics
    /// Where the connection is gone.
    pub fn data(&self, bytes: impl AsRef<[u8]>) {
        self.0.send(Ok(Frame::data(Bytes::copy_from_slice(bytes.as_ref())))).unwrap();
    }

    /// Sends trailers, after which nothing comes.
    ///
    /// # Panics
    /// Where the connection is gone.
    pub fn trailers(self, name: &'static str, value: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, value.parse().unwrap());
        self.0.send(Ok(Frame::trailers(trailers))).unwrap();
    }

    /// Resets the request in the middle of its body.
    ///
    /// # Panics
    /// Where the connection is gone.
    pub fn break_off(self) {
        self.0.send(Err(io::Error::other("the test breaks off"))).unwrap();
    }
}

impl Answering {
    /// The head, once it is there.
    ///
    /// # Panics
    /// Where none comes.
    pub fn head(&mut self) -> &Response<Incoming> {
        if let Some(head) = self.head.take() {
            let came = RUNTIME.block_on(async { timeout(PATIENCE, head).await });
            let came = came.expect("no answer came").unwrap();
            self.answer = Some(came.unwrap());
        }
        self.answer.as_ref().unwrap()
    }

    /// A header's text.
    pub fn header(&mut self, name: &str) -> Option<String> {
        self.head().headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// Reads until `text` has come; everything that has come so far.
    ///
    /// # Panics
    /// Where it does not come.
    pub fn until(&mut self, text: &str) -> String {
        while !self.text().contains(text) {
            assert_eq!(self.read(), Ok(true), "it ended before {text:?}: {:?}", self.text());
        }
        self.text()
    }

    /// Everything, with the trailers; an error where the answer breaks off.
    ///
    /// # Errors
    /// How it broke off.
    pub fn rest(mut self) -> Result<(String, HeaderMap), String> {
        while self.read()? {}
        Ok((self.text(), self.trailers))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads the next piece; `false` where there is none.
    fn read(&mut self) -> Result<bool, String> {
        self.head();
        let body = self.answer.as_mut().unwrap().body_mut();
        let frame = RUNTIME.block_on(async { timeout(PATIENCE, body.frame()).await });
        match frame.expect("nothing came") {
            None => Ok(false),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(data) => self.seen.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().unwrap(),
                }
                Ok(true)
            }
        }
    }
}
