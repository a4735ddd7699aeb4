//! WebSockets: an upstream that a test plays message by message, and a client, both with the handshake of a library that
//! Placet does not use for its own.
//!
//! Invariant: nothing is said that the test did not write; what comes is kept as it came.

use crate::RUNTIME;
use futures_util::{SinkExt as _, StreamExt as _};
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config, client_async_with_config,
    tungstenite::{
        Error, Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::{self, HeaderMap, HeaderValue},
        protocol::{
            CloseFrame, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of an open WebSocket.
#[derive(Debug)]
pub struct Talk {
    /// The headers of the request that opened it, or at a client of the answer.
    pub headers: HeaderMap,
    /// The path and query that it was opened at.
    pub target: String,
    socket: WebSocketStream<TcpStream>,
}

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A ping, which was answered.
    Ping,
    /// A pong.
    Pong,
    /// A close with this code (1005 where it has none) and reason.
    Closed(u16, String),
    /// The end of the connection without one.
    Gone,
}

/// An upstream that takes every WebSocket with the first subprotocol that is offered; it ends when dropped.
#[derive(Debug)]
pub struct WebSocketUpstream {
    base: String,
    opened: Receiver<Talk>,
    serving: JoinHandle<()>,
}

impl WebSocketUpstream {
    /// Starts one.
    ///
    /// # Panics
    /// Where no port is free.
    pub fn start() -> Self {
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (tell, opened) = channel();
        let serving = RUNTIME.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tell.clone()));
            }
        });
        Self { base, opened, serving }
    }

    /// Where it answers.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The next WebSocket that was opened.
    ///
    /// # Panics
    /// Where none is.
    pub fn accept(&self) -> Talk {
        self.opened.recv_timeout(PATIENCE).expect("a WebSocket to be opened")
    }

    /// Whether none was opened that has not been accepted.
    pub fn is_quiet(&self) -> bool {
        self.opened.try_recv().is_err()
    }
}

impl Drop for WebSocketUpstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, tell: Sender<Talk>) {
    let (mut headers, mut target) = (HeaderMap::new(), String::new());
    let agree = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        headers.clone_from(request.headers());
        target = request.uri().to_string();
        let offered = request.headers().get("sec-websocket-protocol").and_then(|it| it.to_str().ok());
        if let Some(first) = offered.and_then(|offered| offered.split(',').next()) {
            let first = HeaderValue::from_str(first.trim()).unwrap();
            response.headers_mut().insert("sec-websocket-protocol", first);
        }
        Ok(response)
    };
    if let Ok(socket) = accept_hdr_async_with_config(stream, agree, Some(config())).await {
        // The test may be over.
        _ = tell.send(Talk { headers, target, socket });
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default().write_buffer_size(0)
}

impl Talk {
    /// Opens one at `base` (`http://…`), with headers.
    ///
    /// # Errors
    /// The status, headers and body of another answer; status 0 and what is wrong, where an answer breaks the handshake.
    ///
    /// # Panics
    /// Where nobody answers.
    pub fn open(base: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, (u16, HeaderMap, String)> {
        let host = base.strip_prefix("http://").unwrap();
        let mut request = http::Request::builder()
            .uri(format!("ws://{host}{path}"))
            .header("host", host)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        RUNTIME.block_on(async {
            let stream = TcpStream::connect(host).await.unwrap();
            let opening = client_async_with_config(request, stream, Some(config()));
            match timeout(PATIENCE, opening).await.expect("an answer") {
                Ok((socket, answer)) => {
                    Ok(Self { headers: answer.headers().clone(), target: path.to_owned(), socket })
                }
                Err(Error::Http(answer)) => {
                    let body = answer.body().clone().unwrap_or_default();
                    let body = String::from_utf8_lossy(&body).into_owned();
                    Err((answer.status().as_u16(), answer.headers().clone(), body))
                }
                Err(error) => Err((0, HeaderMap::new(), error.to_string())),
            }
        })
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Says a text.
    pub fn say(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into()));
    }

    /// Says bytes.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.send(Message::binary(bytes.to_vec()));
    }

    /// Says one text in several fragments.
    pub fn say_in_pieces(&mut self, pieces: &[&[u8]]) {
        for (index, piece) in pieces.iter().enumerate() {
            let kind = if index == 0 { Data::Text } else { Data::Continue };
            let last = index + 1 == pieces.len();
            self.send(Message::Frame(Frame::message(piece.to_vec(), OpCode::Data(kind), last)));
        }
    }

    /// Sends a frame that says it is compressed.
    pub fn say_compressed(&mut self, bytes: &[u8]) {
        let mut frame = Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true);
        frame.header_mut().rsv1 = true;
        self.send(Message::Frame(frame));
    }

    /// Pings.
    pub fn ping(&mut self) {
        self.send(Message::Ping(b"here?".to_vec().into()));
    }

    /// Pings so often with the longest ping that there is, and reads nothing of what is answered.
    ///
    /// # Panics
    /// Where the other end stops reading.
    pub fn ping_on(&mut self, times: usize) {
        let ping = Message::Ping(vec![b'.'; 125].into());
        RUNTIME.block_on(async {
            for _ in 0..times {
                let sending = self.socket.feed(ping.clone());
                timeout(PATIENCE, sending).await.expect("the other end to read").expect("an open WebSocket");
            }
            timeout(PATIENCE, self.socket.flush())
                .await
                .expect("the other end to read")
                .expect("an open one");
        });
    }

    /// Closes with a code and a reason.
    pub fn close(&mut self, code: u16, reason: &str) {
        let reason = reason.to_owned().into();
        self.send(Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason })));
    }

    /// Sends; what the other end has ended is heard of when it is listened to.
    fn send(&mut self, message: Message) {
        _ = RUNTIME.block_on(async { timeout(PATIENCE, self.socket.send(message)).await });
    }

    /// What comes next.
    ///
    /// # Panics
    /// Where nothing does.
    pub fn hear(&mut self) -> Heard {
        let next = RUNTIME
            .block_on(async { timeout(PATIENCE, self.socket.next()).await })
            .expect("something to come");
        match next {
            None | Some(Err(_)) => Heard::Gone,
            Some(Ok(Message::Text(text))) => Heard::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(bytes))) => Heard::Bytes(bytes.to_vec()),
            Some(Ok(Message::Ping(_))) => Heard::Ping,
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => Heard::Pong,
            Some(Ok(Message::Close(frame))) => {
                // So that the answer to it goes out.
                _ = RUNTIME.block_on(async { timeout(PATIENCE, self.socket.flush()).await });
                let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                    (u16::from(frame.code), frame.reason.as_str().to_owned())
                });
                Heard::Closed(code, reason)
            }
        }
    }

    /// The text that comes next.
    ///
    /// # Panics
    /// Where something else does.
    pub fn text(&mut self) -> String {
        match self.hear() {
            Heard::Text(text) => text,
            other => panic!("no text came, but {other:?}"),
        }
    }

    /// The JSON that comes next.
    ///
    /// # Panics
    /// Where something else does.
    pub fn json(&mut self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    /// Listens until it is closed, and answers the code.
    pub fn closed(&mut self) -> u16 {
        loop {
            match self.hear() {
                Heard::Closed(code, _) => return code,
                Heard::Gone => return 1006,
                _ => {}
            }
        }
    }
}
