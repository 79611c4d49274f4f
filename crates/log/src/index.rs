//! All segments, oldest first.

use std::sync::{Arc, RwLock};

use crate::error::LogError;
use crate::queue::unpoisoned;
use crate::seal::Keyring;
use crate::segment::{Block, Segment};

pub(crate) struct Index {
    segments: RwLock<Vec<Arc<Segment>>>,
    keyring: Arc<Keyring>,
}

impl Index {
    pub(crate) fn new(segments: Vec<Arc<Segment>>, keyring: Arc<Keyring>) -> Self {
        Index { segments: RwLock::new(segments), keyring }
    }

    /// Neighbouring records from `position` on, opened; see [`Segment::block`].
    ///
    /// # Errors
    /// `Trimmed`, `Damage`, `Io`.
    pub(crate) fn read(&self, position: u64, count_max: u64, bytes_max: u32, into: &mut Block) -> Result<(), LogError> {
        self.seek(position)?.block(position, count_max, bytes_max, &self.keyring, into)
    }

    /// The segment in which `position` is or would be.
    ///
    /// # Errors
    /// `Trimmed`.
    pub(crate) fn seek(&self, position: u64) -> Result<Arc<Segment>, LogError> {
        let segments = unpoisoned(self.segments.read());
        let after = segments.partition_point(|segment| segment.base <= position);
        let found = after.checked_sub(1).and_then(|number| segments.get(number)).cloned();
        let start = segments.first().map_or(0, |first| first.base);
        found.ok_or(LogError::Trimmed { start })
    }

    pub(crate) fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        unpoisoned(self.segments.read()).clone()
    }

    /// Adds the newest. It takes the place of one with the same base, as its file did, and of the records that recovery
    /// wrote again at its beginning.
    pub(crate) fn push(&self, segment: Arc<Segment>) {
        let mut segments = unpoisoned(self.segments.write());
        segments.retain(|old| old.base != segment.base);
        if let Some(old) = segments.last() {
            old.seal(segment.base);
        }
        segments.push(segment);
    }

    /// Those of which every record is below `position`, each with the position after its last one.
    pub(crate) fn below(&self, position: u64) -> Vec<(Arc<Segment>, u64)> {
        let segments = unpoisoned(self.segments.read());
        let sealed = segments.windows(2).take_while(|pair| pair[1].base <= position);
        sealed.map(|pair| (Arc::clone(&pair[0]), pair[1].base)).collect()
    }

    pub(crate) fn holds(&self, segment: &Arc<Segment>) -> bool {
        unpoisoned(self.segments.read()).iter().any(|held| Arc::ptr_eq(held, segment))
    }

    /// Puts an archive in the place of its segment.
    pub(crate) fn replace(&self, segment: &Arc<Segment>, archive: Arc<Segment>) {
        if let Some(held) = unpoisoned(self.segments.write()).iter_mut().find(|held| Arc::ptr_eq(held, segment)) {
            *held = archive;
        }
    }

    pub(crate) fn archives(&self) -> u64 {
        unpoisoned(self.segments.read()).iter().filter(|segment| segment.is_archive()).count() as u64
    }

    pub(crate) fn drop_first(&self, count: usize) {
        unpoisoned(self.segments.write()).drain(..count);
    }

    pub(crate) fn base_at(&self, index: usize) -> Option<u64> {
        unpoisoned(self.segments.read()).get(index).map(|segment| segment.base)
    }

    pub(crate) fn len(&self) -> u64 {
        unpoisoned(self.segments.read()).len() as u64
    }
}
