//! What records of patches change.

use super::{Folding, Unfit};
use crate::event::patch::{PatchApplied, PatchRolledBack};
use crate::state::run::Layer;

/// A patch in force.
pub(super) fn layer(number: u32, operations: &[u8], epoch: u32) -> Layer {
    Layer { number, operations: operations.into(), epoch, dropped: 0, key: "".into(), request_hash: [0; 32] }
}

impl Folding<'_> {
    pub(super) fn patch_applied(&mut self, e: &PatchApplied<'_>) -> Result<(u32, u32), Unfit> {
        let (key, request_hash) = (e.idempotency_key.into(), e.request_hash.0);
        let layer = Layer { key, request_hash, ..layer(e.number, e.operations.0, e.epoch) };
        self.run.extra_mut().layers.push(layer);
        self.goes_on_under(e.epoch, e.definition_hash.0, e.nodes_total, e.due.0)
    }

    pub(super) fn patch_rolled_back(&mut self, e: &PatchRolledBack<'_>) -> Result<(u32, u32), Unfit> {
        let layers = &mut self.run.extra_mut().layers;
        let layer = layers.iter_mut().find(|layer| layer.number == e.number && layer.dropped == 0);
        layer.ok_or_else(|| format!("there is no patch {} to drop", e.number))?.dropped = e.epoch;
        self.goes_on_under(e.epoch, e.definition_hash.0, e.nodes_total, e.due.0)
    }
}
