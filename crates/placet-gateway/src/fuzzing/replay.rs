//! The fuzz targets about this crate, run over what they begin with: what was found once stays found without the fuzzers.

#[path = "../../../../fuzz/replay.rs"]
mod inputs;

#[path = "../../../../fuzz/fuzz_targets/scrub.rs"]
mod scrub;
#[path = "../../../../fuzz/fuzz_targets/switching.rs"]
mod switching;

inputs::replayed!(scrub, switching);
