//! Errors in a file that an operator wrote: each with its line or environment variable, and its field.
//!
//! A file is read into a [`Node`], which keeps the location of each value. Reading a type from a node returns a
//! [`FieldError`] if it fails; a [`Diagnostic`] is the error formatted for an operator.

mod de;
mod diagnostic;
mod field_error;
mod node;
mod text;

pub use de::TAG;
pub use diagnostic::{Diagnostic, join_lines, location};
pub use field_error::{FieldError, Origin};
pub use node::{Node, Value};
pub use text::read_text;
