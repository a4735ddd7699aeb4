//! What the pure decision and loading policies cost, each beside its floor, measured in the same run.
//!
//! Run it with `cargo bench -p placet-core --bench decide`. Absolute figures are this machine's; the ratios are what
//! carries over. `-- times WHAT NUMBER` does one thing so many times, for a tool that counts instructions:
//! `valgrind --tool=callgrind target/release/deps/decide-… times simple 2000`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "a benchmark stops where it can't go on"
)]

mod decision;
mod times;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    let arguments: Vec<_> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    match arguments.iter().position(|argument| argument == "times") {
        Some(at) => times::repeat(&arguments[at + 1], arguments[at + 2].parse().unwrap()),
        None => decision::measure(),
    }
}
