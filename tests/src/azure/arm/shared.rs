//! A value that the test and the server both have in hand.

use std::sync::{Arc, Mutex, PoisonError};

/// A value behind a lock. Clones are the same value.
#[derive(Debug)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// Shares a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Looks at the value. Requests wait meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        self.write(|value| look(value))
    }

    /// Changes the value. Requests wait meanwhile; what else asks the double from inside would wait forever.
    pub fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        // A test that panicked while it looked must not turn every later answer into a panic as well.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
