//! The language's messages, and the tables held against the meaning of the rules.

mod agree;
mod compiled;
mod messages;
