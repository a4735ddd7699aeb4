//! A measurement: what connections cost that are kept open and ask nothing.

use crate::stage::PLACET;
use placet_testkit::Server;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// How many connections are kept.
const CONNECTIONS: usize = 10_000;
/// The goal, in MiB, for the whole process.
const GOAL: u64 = 100;

/// What a process has in memory, in MiB: of its own, and all.
fn resident(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    (of("RssAnon:"), of("VmRSS:"))
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
fn ten_thousand_idle_connections_are_kept_and_measured() {
    let server = Server::start(PLACET);
    let address = server.base().strip_prefix("http://").unwrap();
    drop((0..200).map(|_| asked(address)).collect::<Vec<_>>());
    let before = resident(server.id());
    let mut kept: Vec<TcpStream> = (0..CONNECTIONS).map(|_| asked(address)).collect();
    let open = resident(server.id());
    eprintln!(
        "own and whole memory in MiB: {before:?} before, {open:?} with {CONNECTIONS} connections; {} KiB each, the goal is {GOAL} MiB in all",
        (open.0 - before.0) * 1024 / u64::try_from(CONNECTIONS).unwrap(),
    );
    // Each of them is still one that answers.
    for stream in kept.iter_mut().step_by(100) {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 2048]).unwrap() > 0);
    }
}
