//! The oracle: a model of runs of its own, made from the JSON of definitions and from durable events alone.
//!
//! Holds: how a definition reads, the small part of CEL that is drawn, a run and what it may do, a judge that follows
//! the events of a run, and a ledger that follows all records. Knows nothing of the machine's state nor of the compiler.

pub(crate) mod around;
mod breakers;
mod children;
pub(crate) mod definition;
pub(crate) mod expression;
pub(crate) mod judge;
pub(crate) mod ledger;
pub(crate) mod parts;
pub(crate) mod patches;
pub(crate) mod programs;
pub(crate) mod registry;
pub(crate) mod replays;
pub(crate) mod run;
pub(crate) mod schedules;
pub(crate) mod sets;
pub(crate) mod waiting;
