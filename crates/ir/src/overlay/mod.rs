//! Overlays: patches on a definition that nobody rewrites.
//!
//! A patch comes in as JSON Patch (RFC 6902) on the definition that its author saw. [`resolve`] makes operations on
//! ids of it; these are what is logged, ordered, compared ([`conflicts`]), dropped ([`rollback`]) and applied
//! ([`materialize`]). Base and operations always give the same definition and the same IR hash. Knows definitions
//! only: what a run did already is the machine's, and what an author may is said by a
//! [`Grant`] ([`check_security`]). See decision 0015.

mod diff;
mod materialize;
mod operation;
mod parts;
mod patch;
mod pointer;
mod resolve;
mod security;
mod touch;
mod window;

pub use crate::id::Id;
pub use diff::diff;
pub use materialize::{Refusal, Resolved, Standing, materialize, resolve, rollback};
pub use operation::{After, EdgeKey, Operation, read_operations, write_operations};
pub use patch::{Action, Patch, PatchError, PatchLimits, PatchOperation};
pub use pointer::{Pointer, PointerError};
pub use security::{Allowed, Grant, check as check_security, check_approvals};
pub use touch::{Conflict, added_nodes, adds_agent, conflicts, nodes_added};
