//! A proxy on this machine's loopback between the command and the egress door: it knows the command by a password, and
//! puts the agent's token in its place.
//!
//! So the command holds no token, and what it holds is worth nothing elsewhere or later; and a run may last longer
//! than a token.
//!
//! Invariant: nothing is passed on for who doesn't know the password; each connection passes one request to the door, which
//! alone decides about it.

use super::{isolation::ADDRESS, tokens::Tokens};
use crate::{exit::Failure, output};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::secret::Secret;
use placet_server::clock;
use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener},
    task::JoinHandle,
    time::timeout,
};

/// How long the head of a request may take to come.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// How long to wait where the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Of how many hosts it is told at most that there is no tunnel.
const MAX_TOLD: usize = 100;
/// The longest head.
const MAX_HEAD: usize = 64 * 1024;

/// The proxy.
pub(super) struct Relay {
    /// As the command sees it.
    address: String,
    known: Arc<Known>,
    passing: JoinHandle<()>,
}

struct Known {
    /// `user:password`, as Basic authentication has it.
    credential: Secret,
    /// The user name for the door.
    user: String,
    /// The door's host and port.
    door: String,
    tokens: Arc<Tokens>,
    /// Of which tunnels it was told that there are none.
    told: Mutex<HashSet<String>>,
}

impl Known {
    /// Tells whoever began the run that there is no tunnel to a host, once.
    fn tell(&self, host: &str, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MAX_TOLD && told.insert(host.to_owned()) {
            output::note(&output::escaped(&format!("warning: no tunnel to {host}: {why}")));
        }
    }
}

/// How long the body of an answer is that refuses a tunnel, as far as it is looked at; none where there is a tunnel.
fn refusal_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).unwrap_or_default();
    if status(head).starts_with('2') {
        return None;
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    Some(length.unwrap_or(0).min(MAX_HEAD))
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).and_then(|rest| rest.split(['\r', '\n']).next()).unwrap_or_default()
}

/// Why there is no tunnel, by the head of the door's answer and its body.
fn refused(head: &[u8], body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(serde_json::Value::as_str);
    let why = text("detail").or_else(|| text("title")).or_else(|| text("code"));
    let status = status(std::str::from_utf8(head).unwrap_or_default());
    why.map_or_else(|| format!("the egress door answers {status}"), str::to_owned)
}

impl Relay {
    /// Listens for the command; where it is isolated, at a socket that is passed on to it.
    ///
    /// # Errors
    /// A sentence, where it can't.
    pub(super) async fn start(
        door: &str,
        user: &str,
        socket: Option<&Path>,
        tokens: Arc<Tokens>,
    ) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::unreadable(format!("no proxy can be set up: {why}"));
        let door: reqwest::Url = door.parse().map_err(|_| wrong(format!("`{door}` is no URL")))?;
        let host = door.host_str().ok_or_else(|| wrong("the egress door has no host".to_owned()))?;
        let door = format!("{host}:{}", door.port_or_known_default().unwrap_or(80));
        let credential = Secret::generated("placet:", clock::entropy());
        let known =
            Arc::new(Known { credential, user: user.to_owned(), door, tokens, told: Mutex::default() });
        let failed = |error: io::Error| wrong(error.to_string());
        let (address, passing) = match socket {
            Some(path) => {
                let listener = UnixListener::bind(path).map_err(failed)?;
                (ADDRESS.to_owned(), tokio::spawn(accept_socket(listener, Arc::clone(&known))))
            }
            None => {
                let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                (address.to_string(), tokio::spawn(accept(listener, Arc::clone(&known))))
            }
        };
        Ok(Self { address, known, passing })
    }

    /// What the command is told, with its password.
    pub(super) fn url(&self) -> String {
        format!("http://{}@{}", self.known.credential.expose_str().unwrap_or_default(), self.address)
    }

    /// Takes no more requests.
    pub(super) fn stop(&self) {
        self.passing.abort();
    }
}

async fn accept(listener: TcpListener, known: Arc<Known>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let known = Arc::clone(&known);
                _ = stream.set_nodelay(true);
                // Broken connections are the command's to notice.
                tokio::spawn(async move { _ = pass(stream, &known).await });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn accept_socket(listener: UnixListener, known: Arc<Known>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let known = Arc::clone(&known);
                tokio::spawn(async move { _ = pass(stream, &known).await });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn pass(mut agent: impl AsyncRead + AsyncWrite + Unpin, known: &Known) -> io::Result<()> {
    let Ok(Some((head, rest))) = timeout(HEAD_TIME, read_head(&mut agent)).await.unwrap_or(Ok(None)) else {
        return Ok(());
    };
    let Some(head) = Head::parse(&head) else {
        return answer(&mut agent, "400 Bad Request", "", "this is no request for a proxy").await;
    };
    let shown = head.credential.map(Secret::new);
    if shown.as_ref() != Some(&known.credential) {
        let challenge = "Proxy-Authenticate: Basic realm=\"placet\"\r\n";
        let why = "the proxy of a run is for its command alone";
        return answer(&mut agent, "407 Proxy Authentication Required", challenge, why).await;
    }
    let token = match known.tokens.now().await {
        Ok(token) => token,
        Err(failure) => {
            output::note(&format!("warning: there is no token for the proxy: {failure}"));
            return answer(&mut agent, "502 Bad Gateway", "", "there is no token for the proxy").await;
        }
    };
    let Ok(mut door) = TcpStream::connect(known.door.as_str()).await else {
        return answer(&mut agent, "502 Bad Gateway", "", "the egress door can't be reached").await;
    };
    _ = door.set_nodelay(true);
    let own = format!("{}:{}", known.user, token.expose_str().unwrap_or_default());
    let own = format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(own));
    door.write_all(format!("{}{own}\r\n", head.passed).as_bytes()).await?;
    door.write_all(&rest).await?;
    if let Some(host) = &head.tunnel {
        // Most programs tell nothing of why there is no tunnel.
        let Ok(Some((head, mut rest))) = read_head(&mut door).await else { return Ok(()) };
        if let Some(length) = refusal_length(&head) {
            while rest.len() < length && door.read_buf(&mut rest).await? > 0 {}
            known.tell(host, &refused(&head, &rest));
        }
        agent.write_all(&head).await?;
        agent.write_all(b"\r\n").await?;
        agent.write_all(&rest).await?;
    }
    copy_bidirectional(&mut agent, &mut door).await.map(|_| ())
}

/// Reads to the end of the head; answers that and what came behind it.
async fn read_head(agent: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if agent.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            bytes.truncate(end + 2);
            return Ok(Some((bytes, rest)));
        }
        if bytes.len() > MAX_HEAD {
            return Ok(None);
        }
    }
}

/// The head of a request to a proxy.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// What is passed on of it: all but what is between the command and this proxy.
    passed: String,
    /// What it shows.
    credential: Option<Vec<u8>>,
    /// The host that it wants a tunnel to, where it does.
    tunnel: Option<String>,
}

impl Head {
    fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.split_terminator("\r\n");
        let first = lines.next()?;
        // A line that ends sooner for another program has a second one in it.
        if first.contains(['\n', '\r']) {
            return None;
        }
        let is_connect = first.starts_with("CONNECT ");
        let (mut passed, mut credential) = (format!("{first}\r\n"), None);
        for line in lines {
            let (name, value) = line.split_once(':')?;
            // A line that goes on the one before, or has a space before its colon, two programs read differently.
            if name.is_empty() || name.contains([' ', '\t', '\n', '\r']) || value.contains(['\n', '\r']) {
                return None;
            }
            match name.to_ascii_lowercase().as_str() {
                "proxy-authorization" => {
                    let (scheme, encoded) = value.trim().split_once(' ')?;
                    if credential.is_some() || !scheme.eq_ignore_ascii_case("basic") {
                        return None;
                    }
                    credential = Some(STANDARD.decode(encoded.trim()).ok()?);
                }
                "proxy-connection" => {}
                // One request a connection: the next would come with the password instead of the token.
                "connection" if !is_connect => {}
                _ => {
                    passed.push_str(line);
                    passed.push_str("\r\n");
                }
            }
        }
        if !is_connect {
            passed.push_str("Connection: close\r\n");
        }
        let tunnel =
            first.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        Some(Self { passed, credential, tunnel })
    }
}

async fn answer(
    agent: &mut (impl AsyncWrite + Unpin),
    status: &str,
    headers: &str,
    why: &str,
) -> io::Result<()> {
    let length = why.len() + 1;
    let text = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{why}\n"
    );
    agent.write_all(text.as_bytes()).await?;
    agent.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_the_command_and_its_proxy_stays_there() {
        let head = Head::parse(b"GET http://a/ HTTP/1.1\r\nHost: a\r\nproxy-authorization: Basic YTpi\r\nConnection: keep-alive\r\nProxy-Connection: x\r\nX: y\r\n").unwrap();
        assert_eq!(head.passed, "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\nConnection: close\r\n");
        assert_eq!(head.credential.as_deref(), Some(&b"a:b"[..]));
        let head = Head::parse(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n").unwrap();
        assert_eq!(
            head,
            Head {
                passed: "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n".into(),
                credential: None,
                tunnel: Some("a:443".into()),
            }
        );
        let no =
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\ncontent-length: 42\r\n";
        assert_eq!(refused(no, b"{\"code\": \"not_granted\", \"detail\": \"why\"}"), "why");
        assert_eq!(refused(no, b""), "the egress door answers 403");
        assert_eq!(refusal_length(no), Some(42));
        assert_eq!(refusal_length(b"HTTP/1.1 407\r\nContent-Length: 999999999\r\n"), Some(MAX_HEAD));
        assert_eq!(refusal_length(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n"), None);
        for wrong in [
            &b"GET http://a/ HTTP/1.1\r\nA: b\r\n folded\r\n"[..],
            b"GET http://a/ HTTP/1.1\r\nA : b\r\n",
            b"GET http://a/ HTTP/1.1\r\nA: b\nProxy-Authorization: Basic YTpi\r\n",
            b"GET http://a/ HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\nProxy-Authorization: Basic YTpi\r\n",
            b"GET http://a/ HTTP/1.1\r\nProxy-Authorization: Bearer a\r\n",
            b"GET http://a/ HTTP/1.1\nProxy-Authorization: Basic YTpi\r\nA: b\r\n",
            b"GET http://a/ HTTP/1.1\rA: b\r\n",
            b"GET http://a/\r HTTP/1.1\r\nA: b\r\n",
            b"\xff\r\n",
            b"",
        ] {
            assert_eq!(Head::parse(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }
}
