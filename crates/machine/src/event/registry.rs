//! What happens to definitions.

use super::wire::{Hash, Json, Time, message};

message! {
    /// A version of a workflow stands in the registry, for good.
    WorkflowRegistered<'a> {
        1 name: &'a str,
        2 version: &'a str,
        3 hash: Hash,
        4 definition: Json<'a>,
    }
}

message! {
    /// A tag points at a version.
    WorkflowTagged<'a> {
        1 name: &'a str,
        2 tag: &'a str,
        3 version: &'a str,
        4 previous_version: &'a str,
    }
}

message! {
    /// A breaker is `open`, `half_open` or `closed` from now on; until `due` an open one lets nothing through, a half-open
    /// one no more than its probes.
    BreakerChanged<'a> {
        1 name: &'a str,
        2 state: &'a str,
        3 due: Time,
    }
}

message! {
    /// A dead letter is listed no more: it was dropped, or tried again as the run `retried_as`.
    DeadLetterDropped<'a> {
        1 run_id: &'a str,
        2 node: &'a str,
        3 by: &'a str,
        4 retried_as: &'a str,
    }
}
