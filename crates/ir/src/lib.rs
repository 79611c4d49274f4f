//! What a workflow says: a definition goes in, an [`Ir`] or a list of [`Diagnostic`]s comes out.
//!
//! Holds values (JSON bytes), expressions (CEL), the node types, the compiler and the digest. May know nothing but
//! its arguments: no clock, file, thread, randomness or environment (kept so by `clippy.toml`), so the same bytes
//! give the same IR and the same hash on every machine. Never executes a node and never reads a run's state except
//! through [`expressions::Scope`].

pub mod diagnostics;
pub mod digest;
pub mod equivalence;
pub mod expressions;
pub mod facts;
pub mod functions;
pub mod ir;
pub mod limits;
pub mod overlay;
pub mod value;

mod compile;
mod document;
mod id;
mod nodes;
mod schema;

pub use compile::compile;
pub use diagnostics::Diagnostic;
pub use functions::{BreakerSpec, FallbackSpec, FunctionSpec, FunctionTable};
pub use ir::Ir;
pub use limits::Limits;
pub use schema::check_against;
