//! Reading many records in order, with few large reads.

use std::sync::Arc;

use crate::batch::push_body;
use crate::error::LogError;
use crate::index::Index;
use crate::queue::Queue;
use crate::segment::Block;

/// One read of a scan. On a warm file 256 KiB to 4 MiB make no difference; this keeps a scan small.
const READ_BYTES: u32 = 1 << 20;

/// Where a scan has caught up.
pub(crate) enum End {
    /// At what is durable by then.
    Durable(Arc<Queue>),
    Fixed(u64),
}

/// An iterator over durable records, `(position, body)`, from a position on. `None` means that it has caught up: asked
/// again later it goes on with what became durable since. After an error it stays where it is.
pub struct Scan {
    index: Arc<Index>,
    end: End,
    position: u64,
    block: Block,
    /// The frame of the block that is next.
    cursor: usize,
}

/// Neighbouring records in the form that `append` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanBatch {
    /// Position of the first.
    pub position: u64,
    /// How many.
    pub count: u32,
    /// The bodies, each after its length (u32, LE).
    pub bytes: Vec<u8>,
}

impl Scan {
    pub(crate) fn new(index: Arc<Index>, end: End, position: u64) -> Self {
        Scan { index, end, position, block: Block::default(), cursor: 0 }
    }

    /// The next records as one blob, about `bytes_max` (at least one record, at most one read of 1 MiB unless a record
    /// is larger); `None` when caught up.
    ///
    /// # Errors
    /// As the iterator: `Trimmed`, `Damage`, `Io`.
    pub fn next_batch(&mut self, bytes_max: usize) -> Result<Option<ScanBatch>, LogError> {
        if !self.fill()? {
            return Ok(None);
        }
        let mut batch = ScanBatch { position: self.position, count: 0, bytes: Vec::new() };
        while let Some(body) = self.block.body(self.cursor) {
            if batch.count > 0 && batch.bytes.len() + 4 + body.len() > bytes_max {
                break;
            }
            push_body(&mut batch.bytes, body);
            batch.count += 1;
            self.cursor += 1;
        }
        self.position += u64::from(batch.count);
        Ok(Some(batch))
    }

    /// True if there is a record at the cursor; reads the next block if needed.
    fn fill(&mut self) -> Result<bool, LogError> {
        if self.cursor < self.block.starts.len() {
            return Ok(true);
        }
        let end = match &self.end {
            End::Durable(queue) => queue.durable(),
            End::Fixed(position) => *position,
        };
        let left = end.saturating_sub(self.position);
        if left == 0 {
            return Ok(false);
        }
        self.cursor = 0;
        let outcome = self.index.read(self.position, left, READ_BYTES, &mut self.block);
        if outcome.is_err() {
            self.block.starts.clear();
        }
        outcome.map(|()| !self.block.starts.is_empty())
    }
}

impl Iterator for Scan {
    type Item = Result<(u64, Vec<u8>), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.fill() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        let body = self.block.body(self.cursor)?.to_vec();
        let position = self.position;
        self.cursor += 1;
        self.position += 1;
        Some(Ok((position, body)))
    }
}
