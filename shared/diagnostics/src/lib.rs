//! What is wrong with a file that an operator wrote: every fault with its line, or its environment variable, and its field.
//!
//! A file is read into a [`Node`], which remembers where each value was written. Reading a type from a node gives a
//! [`Fault`]; a [`Problem`] is a fault as an operator sees it.

mod de;
mod fault;
mod node;
mod problem;

pub use de::TAG;
pub use fault::{Fault, Origin};
pub use node::{Node, Value};
pub use problem::{Problem, lines, place};
