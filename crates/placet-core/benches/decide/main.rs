//! What the pure decision and loading policies cost, each beside its floor, measured in the same run.
//!
//! Run it with `cargo bench -p placet-core --bench decide`. Absolute figures are this machine's; the ratios are what
//! carries over.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "a benchmark stops where it can't go on"
)]

mod decision;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    let arguments: Vec<_> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let only = arguments.iter().position(|argument| argument == "only").map(|at| &*arguments[at + 1]);
    decision::measure(only);
}
