//! Many runs: the registry, the table of jobs, turns, time, look-ups and recovery. Decides nothing within a run.

pub(crate) mod arms;
pub(crate) mod erase;
pub(crate) mod jobs;
pub(crate) mod lookups;
pub(crate) mod patch_set;
mod patch_views;
pub(crate) mod program;
pub(crate) mod recovery;
pub(crate) mod registry;
pub(crate) mod schedule;
pub(crate) mod tick;
pub(crate) mod troubles;
pub(crate) mod turn;
