//! A raw HTTP/1 upstream on a free port, a resolver that lies, and short ways to call through a gateway.

use placet_core::call::{Auth, Method, UpstreamCall};
use placet_core::secret::Secret;
use placet_gateway::{Gateway, GatewayConfig, Resolve, Route, UpstreamFailure, UpstreamResponse};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

pub(crate) const SECRET: &str = "canary_4eC39HqL/yjW+DarjtT1=zdp7dc";

/// What the upstream does after it has read a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Write and wait for the next request on this connection.
    Keep(Vec<u8>),
    /// Write and close.
    Close(Vec<u8>),
    /// Write, and then nothing ever again.
    Hang(Vec<u8>),
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    closed: Arc<tokio::sync::Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    /// Starts one; `answer` gets the request's text and its number, from 0.
    pub(crate) async fn start(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let closed = Arc::new(tokio::sync::Semaphore::new(0));
        let answer = Arc::new(answer);
        let task = tokio::spawn({
            let (requests, connections, closed) = (requests.clone(), connections.clone(), closed.clone());
            async move {
                let mut serving = tokio::task::JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (requests, answer, closed) = (requests.clone(), answer.clone(), closed.clone());
                    serving.spawn(async move {
                        let _ = serve(stream, &requests, &*answer).await;
                        closed.add_permits(1);
                    });
                }
            }
        });
        Self { address, requests, connections, closed, task }
    }

    /// One that always answers `reply`.
    pub(crate) async fn fixed(reply: Reply) -> Self {
        Self::start(move |_, _| reply.clone()).await
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until one more connection has been closed by the upstream.
    pub(crate) async fn one_closed(&self) {
        self.closed.acquire().await.unwrap().forget();
    }

    pub(crate) fn route(&self) -> Route {
        Route::new(&format!("http://{}", self.address), false).unwrap()
    }

    /// Sends `GET /x` with [`SECRET`] as bearer.
    pub(crate) async fn get(&self) -> Result<UpstreamResponse, UpstreamFailure> {
        perform(&gateway(), &self.route(), call(&self.route(), Method::Get, None)).await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: &Mutex<Vec<String>>,
    answer: &(dyn Fn(&str, usize) -> Reply + Send + Sync),
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            if let Some(length) = whole_request(&buffer) {
                break String::from_utf8(buffer.drain(..length).collect()).unwrap();
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let number = {
            let mut requests = requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        match answer(&request, number) {
            Reply::Keep(bytes) => stream.write_all(&bytes).await?,
            Reply::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Hang(bytes) => {
                stream.write_all(&bytes).await?;
                std::future::pending::<()>().await;
            }
        }
    }
}

fn whole_request(buffer: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(buffer);
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head]
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    (buffer.len() >= head + length).then_some(head + length)
}

/// An answer with the given header lines (each ending in CRLF) and body, with its length.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

pub(crate) fn gateway() -> Gateway {
    Gateway::new(GatewayConfig::default()).unwrap()
}

pub(crate) fn call(route: &Route, method: Method, body: Option<&str>) -> UpstreamCall {
    UpstreamCall {
        fixed: Vec::new(),
        method,
        origin: route.origin().to_owned(),
        target: "/x?a=%2F".to_owned(),
        headers: Vec::new(),
        body: body.map(|body| body.as_bytes().to_vec()),
        streamed: false,
    }
}

pub(crate) fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) async fn perform(
    gateway: &Gateway,
    route: &Route,
    call: UpstreamCall,
) -> Result<UpstreamResponse, UpstreamFailure> {
    gateway.perform(call, route, &Auth::Bearer, &Secret::new(SECRET), later()).await
}

/// Answers each look-up with the next list, the last one for ever, and counts.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) answers: Vec<Vec<SocketAddr>>,
    pub(crate) asked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(answers: Vec<Vec<SocketAddr>>) -> Arc<Self> {
        Arc::new(Self { answers, asked: AtomicUsize::new(0) })
    }

    pub(crate) fn gateway(self: &Arc<Self>) -> Gateway {
        let resolver: Arc<dyn Resolve> = self.clone();
        Gateway::new(GatewayConfig { resolver: Some(resolver), ..GatewayConfig::default() }).unwrap()
    }
}

impl Resolve for Scripted {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
        _port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.get(asked).or(self.answers.last()).cloned();
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}
