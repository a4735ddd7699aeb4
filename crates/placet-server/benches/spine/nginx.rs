//! The proxy door beside nginx as a plain reverse proxy (Debian's package), before the same upstream: at full load, and how
//! long answers take at half of what nginx can do; and what a call at the MCP door adds to the upstream's own answer.
//!
//! nginx decides, records and scrubs nothing. Placet checks the token, decides by a policy of ten rules, commits its intent,
//! adds the credential, and scrubs the answer.

use crate::{load::Load, reverse, subject::Subject};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const CONNECTIONS: usize = 16;
/// nginx's own temporary files, which it makes at its start whether it needs them or not.
const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// A running nginx with its directory; it ends with this.
struct Nginx(Child, PathBuf);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end where it is told to, and not where it is killed.
        let told = command(&self.1).args(["-s", "stop"]).status();
        if !told.is_ok_and(|told| told.success()) {
            _ = self.0.kill();
        }
        _ = self.0.wait();
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf")).arg("-e").arg("stderr");
    command.stdin(Stdio::null());
    command
}

/// Measures all of it, as far as there is an nginx.
pub(crate) async fn measure(directory: &Path, upstream: SocketAddr, subject: &Subject) {
    println!("(e) POST /mcp, tools/call, one at a time, against the upstream itself");
    let direct =
        Load::new(upstream, reverse::PATH, "content-type: application/json\r\n", reverse::BODY, "200");
    let before = subject.took().await;
    let (bare, ours) = crate::by_turns(1, None, &direct, &subject.called).await;
    let after = subject.took().await;
    println!("    floor   {bare}\n    placet  {ours}");
    println!("    added at p50 {:.2?}", ours.p50.saturating_sub(bare.p50));
    for (what, before, after) in
        [("the commit of its intent", before[0], after[0]), ("the upstream's answer", before[1], after[1])]
    {
        let mean = Duration::from_secs_f64((after.1 - before.1) / (after.0 - before.0));
        println!("    of which {what}, on average, {mean:.2?}");
    }
    let Some((_nginx, nginx)) = start(directory, upstream).await else {
        println!("(f) there is no nginx here to measure beside: apt-get install nginx");
        return;
    };
    println!("(f) POST /proxy/…, durable intents, against nginx, {CONNECTIONS} connections");
    let (bare, ours) = crate::by_turns(CONNECTIONS, None, &nginx, &subject.proxied).await;
    println!("    nginx   {bare}\n    placet  {ours}");
    println!("    ratio   {:.2}", ours.per_second / bare.per_second);
    for (whose, full) in [("nginx", bare.per_second), ("Placet", ours.per_second)] {
        println!("    at half of what {whose} can do, {:.0}/s", full / 2.0);
        let (bare, ours) = crate::by_turns(CONNECTIONS, Some(full / 2.0), &nginx, &subject.proxied).await;
        println!("    nginx   {bare}\n    placet  {ours}");
        println!("    added at p99 {:.2?}", ours.p99.saturating_sub(bare.p99));
    }
}

/// Starts nginx before `upstream`.
async fn start(directory: &Path, upstream: SocketAddr) -> Option<(Nginx, Load)> {
    let home = directory.join("nginx");
    fs::create_dir_all(&home).unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let temporary: String =
        TEMPORARY.iter().map(|kind| format!("{kind}_temp_path {}/{kind};\n", home.display())).collect();
    let configuration = format!(
        "daemon off; worker_processes auto; pid {home}/pid; error_log stderr error;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; keepalive_requests 1000000000; tcp_nodelay on;
            {temporary}
            upstream shop {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
            server {{
                listen {listen};
                location / {{
                    proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection \"\";
                    proxy_set_header Authorization \"Bearer upstream-secret-0123456789\";
                }}
            }}
        }}",
        home = home.display()
    );
    fs::write(home.join("nginx.conf"), configuration).unwrap();
    let nginx = Nginx(command(&home).spawn().ok()?, home);
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(listen).await.is_ok() {
            let load =
                Load::new(listen, reverse::PATH, "content-type: application/json\r\n", reverse::BODY, "200");
            load.once().await;
            return Some((nginx, load));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}
