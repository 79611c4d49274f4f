//! What happens to definitions.

use super::wire::{Hash, Json, message};

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
