//! The policy: a language, its meaning, and its compiler to kernel tables.
//!
//! Pure: it reads no file and asks no clock. Whatever can't be enforced is an error here, never a
//! rule that silently does nothing.

pub mod compile;

/// The most bytes that a rule's argument may have.
pub const MAX_ARG: usize = 126;
/// The most rules with arguments that may apply to one program.
pub const MAX_GROUP_RULES: usize = 16;
