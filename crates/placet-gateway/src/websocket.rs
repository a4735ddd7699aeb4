//! WebSockets, hop by hop (RFC 6455): the one that is opened to an upstream, with its credential in the request that opens
//! it, and the agent's. Each hop has a handshake, masks, fragments, pings and a close of its own; whole messages go
//! between.
//!
//! No extension is offered or taken, so nothing is compressed and everything can be searched.
//!
//! Invariant: what upstream says leaves here scrubbed, whole message by whole message, however it was cut into fragments;
//! a message that is longer than the limit ends its hop.

use crate::{
    failure::{NotSent, Unknown, UpstreamFailure},
    gateway::{Gateway, not_sent, unknown},
    inject::Credential,
    route::{OpenCall, Route},
    scrub::Scrubber,
    streamed::StreamedAnswer,
};
use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use http::{
    HeaderMap, StatusCode,
    header::{
        CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper_util::rt::TokioIo;
use placet_core::{
    call::{PROTOCOL_HEADER, UpstreamCall},
    websocket,
};
use std::fmt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

type Socket = WebSocketStream<Box<dyn Duplex>>;

/// A connection, whatever it goes through.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// How much is read at a time. Most messages are short, and each hop has one such buffer.
const BUFFER: usize = 8 * 1024;
/// The longest reason of a close (RFC 6455 §5.5: 125 bytes with the code).
const LONGEST_REASON: usize = 123;

/// What a WebSocket is opened with.
#[derive(Debug)]
pub struct Offer {
    /// What the key of the handshake is made of.
    pub nonce: [u8; 16],
}

/// What became of opening one.
#[derive(Debug)]
pub enum Opened {
    /// It is open.
    Socket {
        /// The subprotocol that upstream chose.
        protocol: Option<String>,
        /// What it says.
        hearing: Hearing,
        /// What is said to it.
        speaking: Speaking,
    },
    /// Upstream answered something else.
    Answer(Box<StreamedAnswer>),
}

/// The half of a hop that messages come from.
pub struct Hearing {
    messages: SplitStream<Socket>,
    /// Of an upstream's.
    scrubber: Option<Scrubber>,
    _open: Option<OpenCall>,
}

/// The half of a hop that messages go to.
pub struct Speaking(SplitSink<Socket, Message>);

/// What comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A whole message of text.
    Text(String),
    /// A whole message of bytes.
    Binary(Bytes),
    /// A sign of life: a ping, which has been answered, or a pong.
    Alive,
    /// The end, as the other side has it: its code and reason, if it gave one.
    Closed(Option<(u16, String)>),
}

/// How a hop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 1000: all is said.
    Normal,
    /// 1001: this side goes away.
    Away,
    /// 1002.
    Protocol,
    /// 1003: a kind of message that isn't taken.
    Unsupported,
    /// 1007: text that is none.
    NotText,
    /// 1008: it may not go on.
    Policy,
    /// 1009: a message that is too long.
    TooLong,
    /// 1011: the other hop failed.
    Failed,
    /// What the other side said, which has been checked to be a code that may be sent.
    As(u16),
}

impl Ending {
    fn code(self) -> CloseCode {
        match self {
            Self::Normal => CloseCode::Normal,
            Self::Away => CloseCode::Away,
            Self::Protocol => CloseCode::Protocol,
            Self::Unsupported => CloseCode::Unsupported,
            Self::NotText => CloseCode::Invalid,
            Self::Policy => CloseCode::Policy,
            Self::TooLong => CloseCode::Size,
            Self::Failed => CloseCode::Error,
            Self::As(code) => match CloseCode::from(code) {
                code if code.is_allowed() => code,
                _ => CloseCode::Normal,
            },
        }
    }
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The connection is gone.
    Lost,
    /// A message longer than the limit.
    TooLong,
    /// Text that is not UTF-8.
    NotText,
    /// Frames that the standard doesn't have: compressed ones among them.
    Protocol,
}

impl Broken {
    /// How its side is told.
    pub fn ending(self) -> Ending {
        match self {
            Self::Lost => Ending::Away,
            Self::TooLong => Ending::TooLong,
            Self::NotText => Ending::NotText,
            Self::Protocol => Ending::Protocol,
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLong,
            Error::Utf8(_) => Self::NotText,
            Error::Protocol(
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            ) => Self::Lost,
            Error::Protocol(_) => Self::Protocol,
            _ => Self::Lost,
        }
    }
}

impl Gateway {
    /// Opens a WebSocket to an upstream by `call`, and answers when upstream has: within the time that it has for an
    /// answer.
    ///
    /// # Errors
    /// As [`send`](Self::send); an answer that breaks the handshake is [`Unknown::Malformed`].
    pub async fn websocket(
        &self,
        mut call: UpstreamCall,
        offer: Offer,
        route: &Route,
        credential: &Credential,
    ) -> Result<Opened, UpstreamFailure> {
        let key = websocket::key(offer.nonce);
        // About the connection, and so not among what the request itself is.
        let protocols = call.headers.iter().position(|(name, _)| name == PROTOCOL_HEADER);
        let protocols = protocols.map(|at| call.headers.remove(at).1).unwrap_or_default();
        let protocols: Vec<String> = websocket::items(&protocols).map(str::to_owned).collect();
        let about = handshake(&key, &protocols).ok_or_else(|| not_sent(route, NotSent::BadCall))?;
        let (mut response, open) = self.begin_alone(call, about, route, credential).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let idle = self.stream_idle_timeout();
            return StreamedAnswer::new(response, credential.scrubber(), idle, route.host(), open)
                .map(|answer| Opened::Answer(Box::new(answer)));
        }
        let status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        let malformed = || unknown(route, status, Unknown::Malformed);
        let protocol = agreed(response.headers(), &key, &protocols).ok_or_else(malformed)?;
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(|_| malformed())?;
        let (mut hearing, speaking) =
            hop(Box::new(TokioIo::new(upgraded)), Role::Client, self.max_response_bytes()).await;
        hearing.scrubber = Some(credential.scrubber().clone());
        hearing._open = Some(open);
        Ok(Opened::Socket { protocol, hearing, speaking })
    }
}

/// The agent's hop, over the connection that was switched over; `max` is the longest message that it may send.
pub async fn agent(connection: Box<dyn Duplex>, max: usize) -> (Hearing, Speaking) {
    hop(connection, Role::Server, max).await
}

/// How much may wait to be read by the other side of a hop, at the least, in bytes: more than any message.
const UNREAD: usize = 4 * 1024 * 1024;

async fn hop(connection: Box<dyn Duplex>, role: Role, max: usize) -> (Hearing, Speaking) {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        // Answers to pings that nobody reads stay here; beyond this only the newest is kept.
        .max_write_buffer_size(max.saturating_mul(4).max(UNREAD))
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    let socket = WebSocketStream::from_raw_socket(connection, role, Some(config)).await;
    let (speaking, messages) = socket.split();
    (Hearing { messages, scrubber: None, _open: None }, Speaking(speaking))
}

/// The headers that ask for a WebSocket. No extension is among them.
pub(crate) fn handshake(key: &str, protocols: &[String]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = vec![
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_VERSION, HeaderValue::from_static(websocket::VERSION)),
        (SEC_WEBSOCKET_KEY, HeaderValue::from_str(key).ok()?),
    ];
    if !protocols.is_empty() {
        headers.push((SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&protocols.join(", ")).ok()?));
    }
    Some(headers)
}

/// The subprotocol that an answer agrees on, if it is an answer to this handshake (RFC 6455 §4.1): with nothing that was
/// not asked for.
pub(crate) fn agreed(headers: &HeaderMap, key: &str, offered: &[String]) -> Option<Option<String>> {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let upgrade = one(UPGRADE)?.eq_ignore_ascii_case("websocket");
    let connection = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let switched = connection.flat_map(websocket::items).any(|item| item.eq_ignore_ascii_case("upgrade"));
    let accepted = one(SEC_WEBSOCKET_ACCEPT)? == websocket::accept(key);
    if !upgrade || !switched || !accepted || headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return None;
    }
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Some(None);
    }
    let chosen = one(SEC_WEBSOCKET_PROTOCOL)?;
    offered.iter().find(|offer| *offer == chosen).map(|chosen| Some(chosen.clone()))
}

impl Hearing {
    /// What comes next.
    ///
    /// # Errors
    /// [`Broken`], and from then on nothing comes.
    pub async fn next(&mut self) -> Result<Said, Broken> {
        let Some(message) = self.messages.next().await else { return Err(Broken::Lost) };
        Ok(match message? {
            Message::Text(text) => Said::Text(self.scrubbed(text.as_str())),
            Message::Binary(bytes) => {
                let scrubbed = self.scrubber.as_ref().and_then(|scrubber| scrubber.scrub_bytes(&bytes));
                Said::Binary(scrubbed.map_or(bytes, Bytes::from))
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Said::Alive,
            Message::Close(frame) => {
                Said::Closed(frame.map(|frame| (u16::from(frame.code), self.scrubbed(frame.reason.as_str()))))
            }
        })
    }

    fn scrubbed(&self, text: &str) -> String {
        let Some(scrubber) = &self.scrubber else { return text.to_owned() };
        let out = scrubber.scrub_body(Bytes::copy_from_slice(text.as_bytes()), true);
        // Every form of a secret is ASCII, so what is left is UTF-8 again; should it not be, nothing of it goes out.
        std::str::from_utf8(&out).map_or_else(|_| crate::scrub::SCRUBBED.to_owned(), str::to_owned)
    }
}

impl Speaking {
    /// Sends a message of text, masked anew where the other side is an upstream.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn text(&mut self, text: String) -> Result<(), Broken> {
        self.0.send(Message::text(text)).await.map_err(Broken::from)
    }

    /// Sends a message of bytes.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn binary(&mut self, bytes: Bytes) -> Result<(), Broken> {
        self.0.send(Message::Binary(bytes)).await.map_err(Broken::from)
    }

    /// Says that this is the end, and closes. What the other side has ended already stays ended.
    pub async fn end(&mut self, ending: Ending, reason: &str) {
        let mut reason = reason.to_owned();
        let mut length = reason.len().min(LONGEST_REASON);
        while !reason.is_char_boundary(length) {
            length -= 1;
        }
        reason.truncate(length);
        let frame = CloseFrame { code: ending.code(), reason: reason.into() };
        _ = self.0.send(Message::Close(Some(frame))).await;
        _ = self.0.close().await;
    }
}

impl fmt::Debug for Hearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hearing(…)")
    }
}

impl fmt::Debug for Speaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Speaking(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_to_this_handshake_with_nothing_that_was_not_asked_for() {
        let key = websocket::key([7; 16]);
        let accept = websocket::accept(&key);
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", &accept),
        ];
        let answer = |more: &[(&str, &str)], without: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in good.iter().filter(|(name, _)| *name != without).chain(more) {
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            agreed(&headers, &key, &["v1".to_owned(), "v2".to_owned()])
        };
        assert_eq!(answer(&[], ""), Some(None));
        assert_eq!(answer(&[("sec-websocket-protocol", "v2")], ""), Some(Some("v2".to_owned())));
        for without in ["upgrade", "connection", "sec-websocket-accept"] {
            assert_eq!(answer(&[], without), None, "{without}");
        }
        for more in [
            ("sec-websocket-protocol", "v3"),
            ("sec-websocket-protocol", "v1, v2"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-accept", accept.as_str()),
        ] {
            assert_eq!(answer(&[more], ""), None, "{more:?}");
        }
        assert_eq!(
            answer(&[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")], "sec-websocket-accept"),
            None
        );
    }
}
