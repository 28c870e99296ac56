//! What is left to chance: tokens, ids, jitter.
//!
//! A simulation runs a whole fleet on one thread and decides all of it by a seed: where [`seed_thread`] was called, this thread's
//! numbers come from that seed. Nothing else calls it.

use std::cell::RefCell;
use std::marker::PhantomData;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng as _};
use uuid::Uuid;

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// For as long as it lives, this thread's chance comes from a seed.
#[derive(Debug)]
pub struct SeedGuard(PhantomData<*const ()>);

/// Lets this thread's chance come from a seed.
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

/// A UUID by chance, of version 4.
#[must_use]
pub fn random_uuid() -> Uuid {
    from_seed(|random| uuid::Builder::from_random_bytes(random.random()).into_uuid()).unwrap_or_else(Uuid::new_v4)
}

/// A number by chance.
#[must_use]
pub fn random_u64() -> u64 {
    from_seed(Rng::random).unwrap_or_else(rand::random)
}

/// A number from 0 to 1 by chance.
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
