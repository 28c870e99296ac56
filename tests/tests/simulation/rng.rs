//! What a seed decides, number by number.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Numbers by a seed. Asked in the same order, they are the same.
pub(crate) struct SimRng(Mutex<StdRng>);

impl SimRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    fn random(&self) -> MutexGuard<'_, StdRng> {
        self.0.lock().unwrap()
    }

    /// Whether something happens that does so in this share of all cases.
    pub(crate) fn chance(&self, share: f64) -> bool {
        // Drawn even where the answer is clear, so that a rate of nothing leaves all other numbers as they are.
        self.random().random::<f64>() < share
    }

    pub(crate) fn number(&self, range: Range<u64>) -> u64 {
        self.random().random_range(range)
    }

    pub(crate) fn index(&self, length: usize) -> usize {
        self.random().random_range(0..length)
    }

    /// One of these; none where there are none.
    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.index(from.len())) }
    }

    pub(crate) fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    pub(crate) fn seconds(&self, range: Range<u64>) -> Duration {
        self.millis(range.start * 1000..range.end * 1000)
    }

    /// A rate up to `most`; none at all in one case of three.
    pub(crate) fn rate(&self, most: f64) -> f64 {
        let (none, rate) = (self.chance(1.0 / 3.0), self.random().random::<f64>() * most);
        if none { 0.0 } else { rate }
    }
}
