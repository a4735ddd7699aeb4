//! The fuzz targets about this crate, run over what they begin with: what was found once stays found without the fuzzers.

#[path = "../../../../fuzz/replay.rs"]
mod inputs;

#[path = "../../../../fuzz/fuzz_targets/check.rs"]
mod check;
#[path = "../../../../fuzz/fuzz_targets/handshake.rs"]
mod handshake;
#[path = "../../../../fuzz/fuzz_targets/tunnel.rs"]
mod tunnel;

inputs::replayed!(check, handshake, tunnel);
