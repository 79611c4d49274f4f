//! What the owner of a log has to know of records to erase those of a tenant or a run.

use crate::event::Event;
use crate::id::RunId;
use crate::record::Header;
use std::collections::BTreeSet;

/// The record of an erasure itself, which stays.
const ERASED: u8 = 7;
const RUN_STARTED: u8 = 12;

/// A run and the one that it ran for, where a record says so.
#[must_use]
pub fn child_and_parent(body: &[u8]) -> Option<(RunId, RunId)> {
    let (header, payload) = Header::split(body).ok()?;
    if header.event_type != RUN_STARTED {
        return None;
    }
    match Event::decode(header.event_type, header.event_version, payload).ok()? {
        Event::RunStarted(e) => Some((header.run_id, RunId::parse(e.parent_run)?)),
        _ => None,
    }
}

/// Whether a record goes when a tenant is erased, or some runs of it.
#[must_use]
pub fn goes(body: &[u8], tenant: &str, runs: Option<&BTreeSet<RunId>>) -> bool {
    let Ok(header) = Header::parse(body) else { return false };
    header.tenant == tenant && header.event_type != ERASED && runs.is_none_or(|runs| runs.contains(&header.run_id))
}
