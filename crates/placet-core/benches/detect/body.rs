//! Bodies of one length, and the time that one pass over them takes, for benchmarks of what searches answers.

use std::time::{Duration, Instant};

/// How long each is, in bytes.
const LENGTH: usize = 1 << 20;

/// `piece` again and again.
pub(crate) fn filled(piece: &str) -> Vec<u8> {
    piece.bytes().cycle().take(LENGTH).collect()
}

/// The shortest of several runs: what it takes where nothing is in the way.
pub(crate) fn shortest(mut run: impl FnMut()) -> Duration {
    let measure = |run: &mut dyn FnMut()| {
        let began = Instant::now();
        run();
        began.elapsed()
    };
    (0..30).map(|_| measure(&mut run)).min().unwrap_or_default()
}
