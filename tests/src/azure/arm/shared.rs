//! A value that the test and the server share.

use std::sync::{Arc, Mutex, PoisonError};

/// A value behind a lock. Clones share the value.
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

    /// Reads the value. Requests wait during the call.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        self.write(|value| look(value))
    }

    /// Changes the value. Requests wait during the call, so a call to the double inside it would wait forever.
    pub fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        // A test that panicked while it held the lock must not turn every later response into a panic.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
