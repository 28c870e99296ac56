//! What is wrong with a file that an operator wrote: every fault with its line, or its environment variable, and its field.
//!
//! A file is read into a [`Node`], which remembers where each value was written. Reading a type from a node gives a
//! [`FieldError`]; a [`Diagnostic`] is a fault as an operator sees it.

mod de;
mod diagnostic;
mod field_error;
mod node;

pub use de::TAG;
pub use diagnostic::{Diagnostic, join_lines, location};
pub use field_error::{FieldError, Origin};
pub use node::{Node, Value};
