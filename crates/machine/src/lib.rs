//! What a run does: commands in, a turn out (events and actions). Pure, deterministic, replayable.
//!
//! Holds the events and their records, the fold of events into state, the decisions for one run (`run/`) and for many
//! (`partition/`). May know `apex-ir`, its arguments and nothing else: no clock, no file, no thread, no randomness
//! (kept so by `clippy.toml`), so the same inputs always give the same events. State changes only by the fold, live
//! and in replay; every prefix of the records is a legal state.
//!
//! In: [`Command`]s and `now`. Out: [`Turn`]s of records to make durable, then what their durability releases
//! ([`Released`]), and views for readers.

pub mod action;
pub mod command;
pub mod config;
pub mod erasure;
pub mod error;
pub mod history;
pub mod id;
pub mod record;
pub mod render;
pub mod view;

mod cron;
mod event;
mod machine;
mod partition;
mod run;
mod state;
mod time;

pub use action::{Answer, Ended, Job, JobKind, Refusal, Released, Reply, Turn};
pub use command::{Command, Fidelity};
pub use config::{Config, Limits};
pub use error::{BadRecord, ReplayError, RestoreError};
pub use id::{RunId, partition_of_key};
pub use machine::Machine;
pub use record::Header;
pub use state::snapshot::Capture;
pub use view::{RunState, RunView};
