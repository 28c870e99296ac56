//! Random values: tokens, ids, jitter.
//!
//! A simulation runs a whole fleet on one thread, and a seed determines all its values: after [`seed_thread`], the
//! random values of the thread derive from the seed. Only simulations call it.

use std::cell::RefCell;
use std::marker::PhantomData;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng as _};
use uuid::Uuid;

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// While it exists, the random values of this thread derive from a seed.
#[derive(Debug)]
pub struct SeedGuard(PhantomData<*const ()>);

/// Derives the random values of this thread from a seed, until the guard is dropped.
#[must_use]
pub fn seed_thread(seed: u64) -> SeedGuard {
    SEEDED.set(Some(StdRng::seed_from_u64(seed)));
    SeedGuard(PhantomData)
}

impl Drop for SeedGuard {
    fn drop(&mut self) {
        SEEDED.set(None);
    }
}

/// A random UUID of version 4.
#[must_use]
pub fn random_uuid() -> Uuid {
    from_seed(|random| uuid::Builder::from_random_bytes(random.random()).into_uuid()).unwrap_or_else(Uuid::new_v4)
}

/// A random number.
#[must_use]
pub fn random_u64() -> u64 {
    from_seed(Rng::random).unwrap_or_else(rand::random)
}

/// A random number from 0 to 1.
#[must_use]
pub fn random_fraction() -> f64 {
    from_seed(Rng::random).unwrap_or_else(rand::random)
}

fn from_seed<T>(draw: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map(draw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_guard_makes_values_deterministic() {
        let draw = || (random_uuid(), random_u64(), random_fraction().to_bits());
        let seeded = |n| {
            let _held = seed_thread(n);
            draw()
        };
        assert_eq!(seeded(1), seeded(1));
        assert_ne!(seeded(1), seeded(2));
        assert_ne!(draw(), draw());
        assert_eq!(seeded(3).0.get_version_num(), 4);
    }
}
