//! What an optimizer pass is written with. A pass is a function of an [`Input`] (a definition, what the compiler
//! knows of it, perhaps a profile) that gives a [`Patch`] or nothing; [`export!`] makes a WASM module of it.
//!
//! Knows the documents of `docs/formats/optimizer.md` and nothing else: no clock, file or randomness, so equal
//! input gives equal output. It is outside the trusted base: what a pass proposes is compiled and checked by the host.

pub mod abi;
#[cfg(feature = "cases")]
pub mod cases;
pub mod graph;
pub mod input;
pub mod merge;
pub mod patch;
pub mod rename;

pub use graph::Graph;
pub use input::{Effect, Input};
pub use patch::{Expected, Patch};
