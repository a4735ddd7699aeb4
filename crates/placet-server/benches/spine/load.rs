//! A small HTTP/1.1 load: as many kept-alive connections as asked, one request at a time on each.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Requests to one server, sent over and over.
pub(crate) struct Load {
    address: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    status: &'static str,
}

/// What a run came to.
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.0}/s   p50 {:>7.2?}   p99 {:>7.2?}", self.per_second, self.p50, self.p99)
    }
}

impl Load {
    /// A request with these header lines and body, which is answered with a status line that holds `status`.
    pub(crate) fn new(
        address: SocketAddr,
        path: &str,
        headers: &str,
        body: &str,
        status: &'static str,
    ) -> Self {
        Self::each(address, vec![Self::request(path, headers, body)], status)
    }

    /// These requests in turn, each connection beginning elsewhere.
    pub(crate) fn each(address: SocketAddr, requests: Vec<Vec<u8>>, status: &'static str) -> Self {
        Self { address, requests: Arc::new(requests), status }
    }

    /// The bytes of a request.
    pub(crate) fn request(path: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nhost: bench\r\n{headers}content-length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    /// Sends the first once and answers the body.
    pub(crate) async fn once(&self) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut buffer = Vec::new();
        exchange(&mut stream, &self.requests[0], self.status, &mut buffer).await
    }

    /// Where the requests go.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends each once and answers the bodies.
    pub(crate) async fn all(&self) -> Vec<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (mut buffer, mut answers) = (Vec::new(), Vec::new());
        for request in self.requests.iter() {
            answers.push(exchange(&mut stream, request, self.status, &mut buffer).await);
        }
        answers
    }

    /// Sends them over `connections` connections for `time`, at most `pace` a second where there is one, spread evenly. How long an answer
    /// takes is told from when its request is sent.
    pub(crate) async fn run(&self, connections: usize, pace: Option<f64>, time: Duration) -> Rate {
        let every = pace.map(|pace| Duration::from_secs_f64(connections as f64 / pace));
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..connections)
            .map(|connection| {
                let (address, requests, status, stop) =
                    (self.address, Arc::clone(&self.requests), self.status, Arc::clone(&stop));
                let mut next = connection * requests.len() / connections;
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let (mut taken, mut buffer) = (Vec::with_capacity(65_536), Vec::new());
                    // Not all at once, which would be a burst and no pace.
                    let mut due = Instant::now()
                        + every.unwrap_or_default().mul_f64(connection as f64 / connections as f64);
                    while !stop.load(Ordering::Relaxed) {
                        if let Some(every) = every {
                            // The timer rounds up to a millisecond: what is late by then is sent at once.
                            tokio::time::sleep_until(due.into()).await;
                            due += every;
                        }
                        let began = Instant::now();
                        exchange(&mut stream, &requests[next % requests.len()], status, &mut buffer).await;
                        next += 1;
                        taken.push(began.elapsed());
                    }
                    taken
                })
            })
            .collect();
        let began = Instant::now();
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        let mut taken = Vec::new();
        for task in tasks {
            taken.extend(task.await.unwrap());
        }
        let lasted = began.elapsed();
        taken.sort_unstable();
        let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
        Rate { per_second: taken.len() as f64 / lasted.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

/// One request and its answer; the body.
async fn exchange(stream: &mut TcpStream, request: &[u8], status: &str, buffer: &mut Vec<u8>) -> Vec<u8> {
    stream.write_all(request).await.unwrap();
    buffer.clear();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "the server closed the connection: {}", String::from_utf8_lossy(buffer));
        buffer.extend_from_slice(&chunk[..read]);
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).unwrap();
        let length = head
            .lines()
            .find_map(|line| {
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            })
            .map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap());
        if buffer.len() >= end + 4 + length {
            assert!(
                head.lines().next().unwrap().contains(status),
                "unexpected answer: {}",
                String::from_utf8_lossy(buffer)
            );
            return buffer[end + 4..].to_vec();
        }
    }
}
