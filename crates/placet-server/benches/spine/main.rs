//! What the spine costs, each part beside the floor of this machine, measured in the same run.
//!
//! Run it with `cargo bench -p placet-server --bench spine`; it takes under two minutes. Absolute figures are this
//! machine's; the ratios are what carries over.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark stops where it can't go on"
)]

mod decision;
mod floor;
mod load;
mod subject;

use load::Load;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(2500);

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    println!("(a) the pure decision: 3 policies of 10 rules apply to the agent");
    decision::measure();

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let upstream = floor::upstream().await;
        let subject = subject::start(upstream).await;
        let floor = floor::start(upstream, subject.bytes_per_action().await).await;

        for connections in [16, 64] {
            println!("(b) POST /v1/actions, durable intents, {connections} connections");
            compare(connections, &floor.forward, &subject.act).await;
        }
        for connections in [16, 64] {
            println!("(c) POST /oauth/token, durable grants, {connections} connections");
            compare(connections, &floor.sign, &subject.token).await;
        }
    });
}

/// Runs both in turns and prints the medians and their ratio.
async fn compare(connections: usize, floor: &Load, subject: &Load) {
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(floor.run(connections, ROUND).await);
        ours.push(subject.run(connections, ROUND).await);
    }
    bare.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    ours.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let (bare, ours) = (&bare[ROUNDS / 2], &ours[ROUNDS / 2]);
    println!("    floor   {bare}");
    println!("    placet  {ours}");
    println!("    ratio   {:.2}", ours.per_second / bare.per_second);
}
