//! Arguments of a call that outlive the caller: they are copied to owned values, and borrowed again for the call.

use std::borrow::Borrow;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use goldfleet_model::graph::GateCondition;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::OperationState;
use goldfleet_ports::blob_store::{Checksums, Fence};
use goldfleet_ports::resources::MachineAction;
use jiff::Timestamp;

/// An argument that can be copied to an owned value.
pub(crate) trait ToOwnedArg {
    type Owned: Clone + Send + Sync + 'static;
    fn to_owned_arg(self) -> Self::Owned;
}

/// An owned argument that can be passed to a call.
pub(crate) trait AsArg<'a, A> {
    fn as_arg(&'a self) -> A;
}

impl<T: ToOwned<Owned: Clone + Send + Sync + 'static> + ?Sized> ToOwnedArg for &T {
    type Owned = T::Owned;
    fn to_owned_arg(self) -> T::Owned {
        self.to_owned()
    }
}

impl<'a, O: Borrow<T>, T: ?Sized> AsArg<'a, &'a T> for O {
    fn as_arg(&'a self) -> &'a T {
        self.borrow()
    }
}

impl<T: ToOwned<Owned: Clone + Send + Sync + 'static> + ?Sized> ToOwnedArg for Option<&T> {
    type Owned = Option<T::Owned>;
    fn to_owned_arg(self) -> Option<T::Owned> {
        self.map(ToOwned::to_owned)
    }
}

impl<'a, O: Borrow<T>, T: ?Sized> AsArg<'a, Option<&'a T>> for Option<O> {
    fn as_arg(&'a self) -> Option<&'a T> {
        self.as_ref().map(Borrow::borrow)
    }
}

/// Arguments that are passed by value are cloned.
macro_rules! by_value {
    ($($type:ty),*) => { $(
        impl ToOwnedArg for $type {
            type Owned = $type;
            fn to_owned_arg(self) -> $type {
                self
            }
        }

        impl AsArg<'_, $type> for $type {
            fn as_arg(&self) -> $type {
                self.clone()
            }
        }
    )* };
}

by_value!(u32, u64, usize, Duration, Fence, QueueName, Range<u64>, Option<Range<u64>>, Bytes, Checksums);
by_value!(Option<u64>, Option<Checksums>);
by_value!(GateCondition, MachineAction, OperationState, Timestamp);
