//! A TCP proxy that can misbehave: say nothing while it keeps its connections, be slow, cut them, or cut one right after
//! it has forwarded certain bytes, so that what was asked for happens and nobody hears of it.
//!
//! Invariant: bytes are forwarded unchanged and in order, or not at all.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// How the proxy treats what passes.
#[derive(Debug, Clone, Default)]
enum Mood {
    /// As a proxy should.
    #[default]
    Forwards,
    /// Holds back everything, both ways; connections stay open and new ones are taken.
    Stalls,
    /// Takes its time over each piece.
    Delays(Duration),
    /// Closes what is open, and whatever comes.
    Refuses,
    /// Forwards what the client sends until these bytes have passed, then drops that connection's answers and closes it;
    /// so often.
    CutsAfter(Vec<u8>, u64),
}

#[derive(Debug, Default)]
struct State {
    mood: Mutex<Mood>,
    open: Mutex<Vec<TcpStream>>,
    cut: AtomicU64,
    accepted: AtomicU64,
}

/// A proxy before one address.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Starts one, on a port of 127.0.0.1 that the system picks.
    ///
    /// # Panics
    /// Where it can't listen.
    pub fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                if matches!(shared.mood(), Mood::Refuses) {
                    _ = client.shutdown(Shutdown::Both);
                    continue;
                }
                let Ok(server) = TcpStream::connect(target) else { continue };
                shared.join(client, server);
            }
        });
        Self { port, state }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forwards again.
    pub fn forward(&self) {
        self.set(Mood::Forwards);
    }

    /// Says nothing any more, and keeps every connection.
    pub fn stall(&self) {
        self.set(Mood::Stalls);
    }

    /// Takes so long over each piece, both ways.
    pub fn delay(&self, each: Duration) {
        self.set(Mood::Delays(each));
    }

    /// Cuts every connection, and those to come.
    pub fn refuse(&self) {
        self.set(Mood::Refuses);
        self.cut();
    }

    /// Cuts every connection that is open.
    pub fn cut(&self) {
        // Not closed: what the other side was sent before, it is to find, and closing might take that back.
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Of the next `times` connections that send `bytes`: forwards these to the server, and cuts the connection before
    /// any answer to them.
    pub fn cut_after(&self, bytes: &[u8], times: u64) {
        self.set(Mood::CutsAfter(bytes.to_vec(), times));
    }

    /// How often it has cut a connection because of [`Proxy::cut_after`].
    pub fn cuts(&self) -> u64 {
        self.state.cut.load(Ordering::SeqCst)
    }

    /// How many connections came.
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    fn set(&self, mood: Mood) {
        *self.state.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }
}

impl State {
    fn mood(&self) -> Mood {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn join(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        for stream in [&client, &server] {
            _ = stream.set_nodelay(true);
            // So that a thread that waits for bytes sees a change of mood.
            _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            let copy = stream.try_clone().unwrap();
            self.open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
        }
        let (to_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let silent = Arc::new(Mutex::new(false));
        let (state, hush) = (Arc::clone(self), Arc::clone(&silent));
        thread::spawn(move || state.pass(client, to_server, true, &hush));
        let state = Arc::clone(self);
        thread::spawn(move || state.pass(server, to_client, false, &silent));
    }

    /// Copies one way until either side ends. What is read while the proxy stalls waits.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, requests: bool, silent: &Mutex<bool>) {
        let mut buffer = vec![0; 64 << 10];
        // The end of what passed, so that bytes are found across pieces.
        let mut tail: Vec<u8> = Vec::new();
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            let piece = buffer.get(..count).unwrap_or_default();
            let mut mood = self.mood();
            while matches!(mood, Mood::Stalls) {
                thread::park_timeout(Duration::from_millis(5));
                mood = self.mood();
            }
            if let Mood::Delays(each) = mood {
                thread::park_timeout(each);
            }
            let mut quiet = silent.lock().unwrap_or_else(PoisonError::into_inner);
            if *quiet && requests {
                break;
            }
            if *quiet {
                // Read to the end and dropped: a socket that takes no answers would end the server's work.
                continue;
            }
            if let (Mood::CutsAfter(bytes, left), true) = (mood, requests) {
                tail.extend_from_slice(piece);
                let found = tail.windows(bytes.len()).any(|window| window == bytes);
                tail.drain(..tail.len().saturating_sub(bytes.len()));
                if found && self.takes(&bytes, left) {
                    // No answer passes from here on; the server gets the bytes, and time to act on them.
                    *quiet = true;
                    drop(quiet);
                    _ = from.shutdown(Shutdown::Both);
                    _ = to.write_all(piece);
                    self.cut.fetch_add(1, Ordering::SeqCst);
                    _ = to.shutdown(Shutdown::Write);
                    return;
                }
            }
            drop(quiet);
            if to.write_all(piece).is_err() {
                break;
            }
        }
        _ = from.shutdown(Shutdown::Both);
        _ = to.shutdown(Shutdown::Both);
    }

    /// Whether this cut is one of those that are wanted; counts it.
    fn takes(&self, bytes: &[u8], left: u64) -> bool {
        let mut mood = self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        *mood = if left > 1 { Mood::CutsAfter(bytes.to_vec(), left - 1) } else { Mood::Forwards };
        left > 0
    }
}
