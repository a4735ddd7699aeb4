//! What ten thousand kept-alive connections cost on which something was asked once and nothing is asked now: memory of a
//! process that does nothing else than serve. Run with `-- idle`; it needs 10,100 open files for each of two processes.

use crate::{floor, subject::Subject};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const CONNECTIONS: usize = 10_000;
/// After how long without anything asked all of them are parked.
const QUIET: Duration = Duration::from_secs(8);
/// How often one of them asks once the others are idle.
const ASKED_MEANWHILE: usize = 20_000;
/// The argument after which a directory follows on which a server is started that lasts until it is killed.
pub(crate) const SERVE: &str = "--serve";

/// The process that serves; it ends with this.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Opens the connections, and says how much memory each took.
pub(crate) async fn measure(directory: &Path) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.arg(SERVE).arg(directory).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut serving = Serving(process.spawn().unwrap());
    let mut said = String::new();
    BufReader::new(serving.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address: SocketAddr = said.trim().parse().unwrap();
    let before = memory(serving.0.id());
    let mut open = Vec::with_capacity(CONNECTIONS);
    let mut half = 0;
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await;
        open.push(stream);
        if number + 1 == CONNECTIONS / 2 {
            half = memory(serving.0.id());
        }
    }
    let full = memory(serving.0.id());
    tokio::time::sleep(QUIET).await;
    // The allocator gives back what is free when somebody allocates: there is one that is not idle.
    for _ in 0..ASKED_MEANWHILE {
        ask(&mut open[0]).await;
    }
    let after = memory(serving.0.id());
    println!(
        "(g) {CONNECTIONS} idle connections, KiB: {before} before, {half} with half of them, {full} with all, {after} \
         after {QUIET:?}"
    );
    println!("    each    {:.1} KiB", after.saturating_sub(before) as f64 / CONNECTIONS as f64);
}

async fn ask(stream: &mut TcpStream) {
    let request = b"GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: bench\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = [0; 16 * 1024];
    let mut come = 0;
    while !whole(&answer[..come]) {
        let more = stream.read(&mut answer[come..]).await.unwrap();
        assert!(more > 0, "{}", String::from_utf8_lossy(&answer[..come]));
        come += more;
    }
}

/// Whether an answer with a stated length is there to its end.
fn whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&answer[..end]).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    answer.len() == end + 4 + length.parse::<usize>().unwrap()
}

/// Resident memory of a process, in KiB.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let told = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    told.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Serves until it is killed.
pub(crate) async fn serve(directory: &Path) {
    let subject = Subject::start(directory, floor::upstream().await).await;
    println!("{}", subject.act.address());
    std::future::pending::<()>().await;
}
