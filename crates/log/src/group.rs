//! The frames of one commit, before it is known where in which file they go.

use crate::batch::Bodies;
use crate::error::LogError;
use crate::format::{FRAME_BYTES, GENESIS, Hash, TRAILER_BYTES, Trailer, link, push_frame, push_sealed};
use crate::queue::Pending;
use crate::seal::Keyring;

/// Records framed and linked to the chain. Frames do not depend on their place; the trailer does and is added last.
pub(crate) struct Group {
    /// Position of its first record.
    pub(crate) previous: u64,
    pub(crate) count: u32,
    /// The frames, and after `seal` the trailer.
    pub(crate) bytes: Vec<u8>,
    /// Where in `bytes` each frame starts.
    pub(crate) starts: Vec<u32>,
    pub(crate) hash: Hash,
}

impl Group {
    pub(crate) fn new() -> Self {
        Group { previous: 0, count: 0, bytes: Vec::new(), starts: Vec::new(), hash: GENESIS }
    }

    /// Frames the batches, all of which were checked, as the group after `chain`; sealed where the keyring seals.
    pub(crate) fn fill(
        &mut self,
        chain: &Hash,
        previous: u64,
        batches: &[Pending],
        keyring: &Keyring,
    ) -> Result<(), LogError> {
        let seals = keyring.seals();
        self.bytes.clear();
        self.starts.clear();
        for pending in batches {
            self.bytes.reserve(pending.batch.len() + FRAME_BYTES * pending.count as usize + TRAILER_BYTES);
            for body in Bodies(&pending.batch) {
                self.starts.push(self.bytes.len() as u32);
                if seals {
                    let position = previous + self.starts.len() as u64 - 1;
                    push_sealed(&mut self.bytes, keyring, position, body)?;
                } else {
                    push_frame(&mut self.bytes, body);
                }
            }
        }
        self.previous = previous;
        self.count = self.starts.len() as u32;
        self.hash = link(chain, previous, self.count, &self.bytes);
        Ok(())
    }

    /// Adds the trailer for a group that goes to `offset` of the segment with this seed.
    pub(crate) fn seal(&mut self, offset: u64, seed: u32) {
        let trailer = Trailer {
            previous: self.previous,
            count: self.count,
            bytes: self.bytes.len() as u32,
            offset: offset + self.bytes.len() as u64,
            hash: self.hash,
        };
        self.bytes.extend_from_slice(&trailer.encode(seed));
    }

    /// Position after its last record.
    pub(crate) fn end(&self) -> u64 {
        self.previous + u64::from(self.count)
    }
}
