//! What the spine costs, each part beside the floor of this machine, measured in the same run.
//!
//! Run it with `cargo bench -p placet-server --bench spine`; it takes about two minutes. Other things are measured instead
//! with `-- scale` (how the number of agents tells), `-- proxy` (the proxy door alone), `-- nginx` (the proxy door beside
//! nginx, and the MCP door beside the upstream itself), `-- idle` (what idle connections cost in memory); with
//! `-- profile` there is nothing but load at the proxy door, for a profiler. With `postgres://USER@HOST:PORT/` the data
//! is in the databases `placet_subject` and `placet_floor` of that server, which have to be there and empty. Absolute figures
//! are this machine's; the ratios are what carries over.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark stops where it can't go on"
)]

#[path = "../../../placet-core/benches/decide/decision.rs"]
mod decision;
mod floor;
mod idle;
mod load;
mod nginx;
mod population;
mod reverse;
mod scale;
mod subject;

use load::{Load, Rate};
use placet_store::Database;
use std::{path::Path, time::Duration};
use subject::Subject;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(2500);

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    let arguments: Vec<_> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let behind = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(Path::new(&arguments[at + 1]))
    };
    if let Some(directory) = behind(scale::GROW) {
        return runtime.block_on(scale::grow(directory));
    }
    if let Some(directory) = behind(scale::OPEN) {
        return runtime.block_on(scale::open(directory));
    }
    if let Some(directory) = behind(idle::SERVE) {
        return runtime.block_on(idle::serve(directory));
    }
    if arguments.iter().any(|argument| argument == "idle") {
        let directory = tempfile::tempdir().unwrap();
        return runtime.block_on(idle::measure(directory.path()));
    }
    if arguments.iter().any(|argument| argument == "scale") {
        return scale::measure();
    }
    let only_proxy = arguments.iter().any(|argument| argument == "proxy");
    if !only_proxy && !["nginx", "profile"].iter().any(|one| arguments.iter().any(|argument| argument == one))
    {
        println!("(a) the pure decision, and loading policies");
        decision::measure();
    }

    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let upstream = floor::upstream().await;
        let subject = Subject::start(directory.path(), upstream).await;
        if arguments.iter().any(|argument| argument == "nginx") {
            return nginx::measure(directory.path(), upstream, &subject).await;
        }
        if arguments.iter().any(|argument| argument == "profile") {
            println!("    placet  {}", subject.proxied.run(16, None, 4 * ROUND).await);
            return;
        }
        let reverse = reverse::start(upstream).await;
        for connections in [16, 64] {
            println!(
                "(d) POST /proxy/…, durable intents, against a bare reverse proxy, {connections} connections"
            );
            compare(connections, &reverse, &subject.proxied).await;
        }
        if only_proxy {
            return;
        }
        let floor = floor::start(upstream, subject.bytes_per_action().await).await;

        for connections in [16, 64] {
            println!("(b) POST /v1/actions, durable intents, {connections} connections");
            compare(connections, &floor.forward, &subject.act).await;
        }
        for connections in [16, 64] {
            println!("(c) POST /oauth/token, durable grants, {connections} connections");
            compare(connections, &floor.sign, &subject.token).await;
        }
        subject.stop().await;
    });
}

/// Where data is kept: in `file`, or in the database of this name on the server that the arguments name.
fn database(file: &Path, name: &str) -> Database {
    match std::env::args().find(|argument| argument.starts_with("postgres://")) {
        Some(server) => Database::postgres(&format!("{server}{name}")).unwrap(),
        None => Database::sqlite(file),
    }
}

/// Runs both in turns and prints the medians and their ratio.
async fn compare(connections: usize, floor: &Load, subject: &Load) {
    let (bare, ours) = by_turns(connections, None, floor, subject).await;
    println!("    floor   {bare}");
    println!("    placet  {ours}");
    println!("    ratio   {:.2}", ours.per_second / bare.per_second);
}

/// Runs both in turns; of each the round in the middle.
async fn by_turns(connections: usize, pace: Option<f64>, floor: &Load, subject: &Load) -> (Rate, Rate) {
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(floor.run(connections, pace, ROUND).await);
        ours.push(subject.run(connections, pace, ROUND).await);
    }
    let middle = |mut rates: Vec<Rate>| {
        rates.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        rates.swap_remove(ROUNDS / 2)
    };
    (middle(bare), middle(ours))
}
