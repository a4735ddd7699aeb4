//! How busy the writer is: what waits for it, and how much it takes at once.
//!
//! Invariant: counting costs two additions a group, and no more wait than may, however many arrive at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Upper bounds of the sizes of groups.
const SIZES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// The writer's load, counted since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Load {
    waiting: AtomicUsize,
    requests: AtomicU64,
    sizes: [AtomicU64; SIZES.len()],
}

/// The writer's load at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterLoad {
    /// Requests that wait for the writer.
    pub waiting: usize,
    /// Requests that groups were made of.
    pub requests: u64,
    /// Groups by size: the largest that counts here, and how many there were.
    pub groups: Vec<(u64, u64)>,
}

impl Load {
    /// One more waits, unless `limit` do. Looking and counting are one step: of two that arrive at once at the last
    /// place, one is turned away.
    pub(crate) fn arrives(&self, limit: usize) -> bool {
        let one_more = |waiting| (waiting < limit).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// So many became a group.
    pub(crate) fn taken(&self, size: usize) {
        self.waiting.fetch_sub(size, Ordering::Relaxed);
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        self.requests.fetch_add(size, Ordering::Relaxed);
        let bucket = SIZES.iter().zip(&self.sizes).find(|(bound, _)| size <= **bound);
        if let Some((_, bucket)) = bucket.or(SIZES.iter().zip(&self.sizes).next_back()) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it is now.
    pub(crate) fn now(&self) -> WriterLoad {
        let groups = SIZES.iter().zip(&self.sizes);
        WriterLoad {
            waiting: self.waiting.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            groups: groups.map(|(bound, count)| (*bound, count.load(Ordering::Relaxed))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_by_size() {
        let load = Load::default();
        for size in [1, 3, 4, 256] {
            (0..size).for_each(|_| assert!(load.arrives(300)));
            load.taken(size);
        }
        assert!(load.arrives(1));
        assert!(!load.arrives(1));
        let now = load.now();
        assert_eq!((now.waiting, now.requests), (1, 264));
        let met: Vec<_> = now.groups.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(met, [(1, 1), (4, 2), (256, 1)]);
    }
}
