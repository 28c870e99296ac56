//! Arguments of a call that outlive whoever makes it: taken as owned values, and lent again as the call wants them.

use std::borrow::Borrow;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use goldfleet_model::message::QueueName;
use goldfleet_ports::blob_store::{Checksums, Fence};

/// An argument, as a value of its own.
pub(crate) trait Own {
    type Owned: Clone + Send + Sync + 'static;
    fn own(self) -> Self::Owned;
}

/// An owned argument, as a call wants it.
pub(crate) trait Lend<'a, A> {
    fn lend(&'a self) -> A;
}

impl<T: ToOwned<Owned: Clone + Send + Sync + 'static> + ?Sized> Own for &T {
    type Owned = T::Owned;
    fn own(self) -> T::Owned {
        self.to_owned()
    }
}

impl<'a, O: Borrow<T>, T: ?Sized> Lend<'a, &'a T> for O {
    fn lend(&'a self) -> &'a T {
        self.borrow()
    }
}

impl<T: ToOwned<Owned: Clone + Send + Sync + 'static> + ?Sized> Own for Option<&T> {
    type Owned = Option<T::Owned>;
    fn own(self) -> Option<T::Owned> {
        self.map(ToOwned::to_owned)
    }
}

impl<'a, O: Borrow<T>, T: ?Sized> Lend<'a, Option<&'a T>> for Option<O> {
    fn lend(&'a self) -> Option<&'a T> {
        self.as_ref().map(Borrow::borrow)
    }
}

/// What is passed by value is cloned.
macro_rules! by_value {
    ($($type:ty),*) => { $(
        impl Own for $type {
            type Owned = $type;
            fn own(self) -> $type {
                self
            }
        }

        impl Lend<'_, $type> for $type {
            fn lend(&self) -> $type {
                self.clone()
            }
        }
    )* };
}

by_value!(u64, usize, Duration, Fence, QueueName, Range<u64>, Option<Range<u64>>, Bytes, Checksums);
