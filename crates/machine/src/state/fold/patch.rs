//! What records of patches change.

use super::{Folding, Unfit};
use crate::event::patch::{PatchApplied, PatchProposed, PatchRejected, PatchRolledBack};
use crate::state::logged::Logged;
use crate::state::run::{Layer, NO_SLOT, Proposal, ROOT};

/// A patch in force.
pub(super) fn layer(number: u32, operations: &[u8], epoch: u32) -> Layer {
    let (author, key) = ("".into(), "".into());
    Layer { number, operations: operations.into(), epoch, dropped: 0, author, key, request_hash: [0; 32] }
}

impl Folding<'_> {
    pub(super) fn patch_applied(&mut self, e: &PatchApplied<'_>) -> Result<(u32, u32), Unfit> {
        let (author, key, request_hash) = (e.author.into(), e.idempotency_key.into(), e.request_hash.0);
        let layer = Layer { author, key, request_hash, ..layer(e.number, e.operations.0, e.epoch) };
        let extra = self.run.extra_mut();
        extra.proposals.retain(|proposal| proposal.number != e.number);
        extra.layers.push(layer);
        extra.patches = extra.patches.max(e.number);
        self.goes_on_under(e.epoch, e.definition_hash.0, e.nodes_total, e.due.0)
    }

    pub(super) fn patch_proposed(&mut self, e: &PatchProposed<'_>) -> Result<(u32, u32), Unfit> {
        let epoch = self.run.epoch;
        let extra = self.run.extra_mut();
        extra.patches = extra.patches.max(e.number);
        extra.proposals.push(Proposal {
            number: e.number,
            operations: e.operations.0.into(),
            epoch,
            base_epoch: e.base_epoch,
            author: e.author.into(),
            reason: e.reason.into(),
            key: e.idempotency_key.into(),
            request_hash: e.request_hash.0,
            rejected: false,
        });
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn patch_rejected(&mut self, e: &PatchRejected<'_>) -> Result<(u32, u32), Unfit> {
        let extra = self.run.extra_mut();
        extra.patches = extra.patches.max(e.number);
        if let Some(proposal) = extra.proposals.iter_mut().find(|proposal| proposal.number == e.number) {
            proposal.rejected = true;
            proposal.operations = Logged::default();
        }
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn patch_rolled_back(&mut self, e: &PatchRolledBack<'_>) -> Result<(u32, u32), Unfit> {
        let layers = &mut self.run.extra_mut().layers;
        let layer = layers.iter_mut().find(|layer| layer.number == e.number && layer.dropped == 0);
        layer.ok_or_else(|| format!("there is no patch {} to drop", e.number))?.dropped = e.epoch;
        self.goes_on_under(e.epoch, e.definition_hash.0, e.nodes_total, e.due.0)
    }
}
