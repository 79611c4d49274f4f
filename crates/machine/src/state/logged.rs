//! The operations of a patch as they were logged, and what was read of them.

use crate::state::codec::{Codec, Read, Source, Writer, put_bytes};
use apex_ir::overlay::{Id, added_nodes, read_operations};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Operations on ids, canonical JSON.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logged(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    bytes: Box<[u8]>,
    /// A cache.
    added: OnceLock<Box<[Id]>>,
}

impl Logged {
    /// The ids of the nodes that they add, bodies included.
    pub(crate) fn added(&self) -> &[Id] {
        self.0.added.get_or_init(|| {
            let operations = read_operations(&self.0.bytes).unwrap_or_default();
            operations.iter().flat_map(added_nodes).collect()
        })
    }
}

impl Deref for Logged {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl From<&[u8]> for Logged {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::new(Inner { bytes: bytes.into(), added: OnceLock::new() }))
    }
}

impl Codec for Logged {
    fn put(&self, w: &mut Writer<'_>) {
        put_bytes(self, w);
    }

    fn get(r: &mut Source<'_>) -> Read<Logged> {
        let count = r.count()?;
        Ok(r.take(count)?.into())
    }
}
