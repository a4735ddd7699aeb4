//! A measurement: what connections cost that are kept open and ask nothing.

use crate::stage::PLACET;
use placet_testkit::{Server, until};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// How many connections are kept.
const CONNECTIONS: usize = 10_000;
/// The goal, in MiB, for the whole process.
const GOAL: u64 = 100;

/// What a process has in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Asks once and keeps the connection.
fn asked(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 2048]);
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the server hung up");
        answer.extend_from_slice(&chunk[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    stream
}

#[test]
#[ignore = "a measurement, which wants 10,000 open files: cargo test -p placet --test it idle:: -- --ignored --nocapture"]
fn ten_thousand_idle_connections_take_less_than_100_mib() {
    let server = Server::start(PLACET);
    let address = server.base().strip_prefix("http://").unwrap();
    drop((0..200).map(|_| asked(address)).collect::<Vec<_>>());
    let before = resident(server.id());
    let kept: Vec<TcpStream> = (0..CONNECTIONS).map(|_| asked(address)).collect();
    let open = resident(server.id());
    // Those that have been idle for a while may cost less than those that have just asked.
    let after = until("what is idle to be put away", || {
        let now = resident(server.id());
        (now / 1024 < GOAL).then_some(now)
    });
    let each = after.saturating_sub(before) * 1024 / u64::try_from(kept.len()).unwrap();
    eprintln!(
        "{} MiB before, {} MiB with {CONNECTIONS} connections that have just asked, {} MiB when they are idle: {each} bytes each",
        before / 1024,
        open / 1024,
        after / 1024,
    );
    assert!(kept.iter().all(|stream| stream.peer_addr().is_ok()));
}
