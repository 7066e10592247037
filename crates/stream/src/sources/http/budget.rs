//! Memory that the bodies of all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that are left for bodies.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicUsize,
    /// So much of each request counts for nothing: the large ones do not keep the small ones out.
    free: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize, free: usize) -> Arc<Budget> {
        Arc::new(Budget { left: AtomicUsize::new(bytes), free })
    }

    /// What a request that has nothing yet holds.
    pub(super) fn hold(self: &Arc<Budget>) -> Held {
        Held { budget: self.clone(), bytes: 0, counted: 0 }
    }
}

/// Memory of one request, given back when this is dropped.
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
    counted: usize,
}

impl Held {
    /// Takes `more` bytes, if they are left.
    #[must_use]
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let bytes = self.bytes.saturating_add(more);
        let counted = bytes.saturating_sub(self.budget.free);
        let missing = counted - self.counted;
        let less = |left: usize| left.checked_sub(missing);
        if missing > 0 && self.budget.left.fetch_update(Relaxed, Relaxed, less).is_err() {
            return false;
        }
        (self.bytes, self.counted) = (bytes, counted);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.counted, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_share_and_small_ones_always_fit() {
        let budget = Budget::new(100, 10);
        let mut large = budget.hold();
        assert!(large.grow(60) && large.grow(50) && !large.grow(1));
        let mut small = budget.hold();
        assert!(small.grow(10) && !small.grow(1));
        drop(large);
        assert!(small.grow(100) && !small.grow(1));
        drop(small);
        assert_eq!(budget.left.load(Relaxed), 100);
        assert!(!budget.hold().grow(usize::MAX));
    }
}
