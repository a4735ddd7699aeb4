//! HTTP as bytes: a client that sends what a test says, however wrong, and an upstream that a test plays by hand, piece
//! by piece.
//!
//! Invariant: nothing is sent that the test did not write.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    /// A connection to the server at `base` (`http://…`).
    ///
    /// # Panics
    /// Where nobody listens; so for all methods where the other end does not do what is waited for.
    pub fn connect(base: &str) -> Self {
        Self::over(TcpStream::connect(base.strip_prefix("http://").unwrap()).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, seen: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends one chunk (RFC 9112 §7.1); an empty one would be the last.
    pub fn send_chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat());
    }

    /// Says that nothing more will be sent; what comes can still be read.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads until `text` has come; everything that has come so far.
    pub fn until(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen();
            if seen.contains(text) {
                return seen;
            }
            assert!(Instant::now() < end, "waited in vain for {text:?}: {seen:?}");
            assert!(self.read(), "the connection ended before {text:?}: {seen:?}");
        }
    }

    /// Reads until the other end closes; everything that has come.
    pub fn rest(&mut self) -> String {
        while self.read() {}
        self.seen()
    }

    /// Reads so many bytes of what follows the head that has been read, and keeps none of them.
    ///
    /// # Panics
    /// Where nothing comes.
    pub fn drain(&mut self, bytes: u64) -> u64 {
        let seen = self.seen();
        let (_, body) = seen.split_once("\r\n\r\n").expect("the head has been read");
        let mut read = u64::try_from(body.len()).unwrap();
        let mut chunk = vec![0; 65_536];
        while read < bytes {
            match self.stream.read(&mut chunk).expect("something comes") {
                0 => break,
                length => read += u64::try_from(length).unwrap(),
            }
        }
        read
    }

    /// Writes until the other end takes nothing more for a while, at most so many bytes; how many it took.
    ///
    /// # Panics
    /// Where the connection breaks off.
    pub fn write_until_full(&mut self, most: usize) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let (piece, mut written) = ([b'x'; 65_536], 0);
        while written < most {
            match self.stream.write(&piece) {
                Ok(length) => written += length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("{error}"),
            }
        }
        written
    }

    /// The connection itself, for what is no text.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// What has come so far.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads what is there; `false` where the other end has closed.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(length) => {
                self.seen.extend(chunk.iter().take(length));
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}; so far: {:?}", self.seen()),
        }
    }
}

/// An upstream of which the test plays each connection.
#[derive(Debug)]
pub struct RawUpstream {
    listener: TcpListener,
}

impl RawUpstream {
    /// Listens on a free port of loopback.
    ///
    /// # Panics
    /// Where no port is free.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    /// Where it answers; the literal address that a service's `base_url` needs.
    ///
    /// # Panics
    /// Never.
    pub fn base(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// The next connection, with the head of its first request read.
    ///
    /// # Panics
    /// Where none comes.
    pub fn accept(&self) -> Wire {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    let mut wire = Wire::over(stream);
                    wire.until("\r\n\r\n");
                    return wire;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                    thread::park_timeout(Duration::from_millis(2));
                }
                Err(error) => panic!("nobody connected: {error}"),
            }
        }
    }

    /// Whether nobody waits to be accepted.
    ///
    /// # Panics
    /// Where the listener fails.
    pub fn is_quiet(&self) -> bool {
        match self.listener.accept() {
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}
