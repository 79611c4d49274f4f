//! Ids of nodes, and tables that are looked up by them.

use std::sync::Arc;

/// The id of a node.
pub type Id = Arc<str>;

/// Looked up only, never walked. Ids are the author's, so the hash has a seed of its own.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// An empty table with room for so many.
pub(crate) fn table<K, V>(count: usize) -> HashMap<K, V> {
    HashMap::with_capacity_and_hasher(count, foldhash::fast::RandomState::default())
}
