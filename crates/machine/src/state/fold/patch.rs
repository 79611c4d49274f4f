//! What records of patches change.

use super::{Folding, Unfit};
use crate::command::author_kind;
use crate::event::patch::{PatchApplied, PatchProposed, PatchRejected, PatchRolledBack};
use crate::record::Header;
use crate::state::logged::Logged;
use crate::state::run::{EndedPatches, Layer, NO_SLOT, PatchRecord, PatchRefusal, Proposal, ROOT, Run};
use std::sync::Arc;

/// Refusals that the next agent is told of.
const REFUSALS_TOLD: usize = 4;

/// A patch in force.
pub(super) fn layer(number: u32, operations: &[u8], epoch: u32) -> Layer {
    let (author, key) = ("".into(), "".into());
    Layer { number, operations: operations.into(), epoch, dropped: 0, author, key, request_hash: [0; 32] }
}

/// What is kept of the patches of a run that ends.
pub(super) fn ended_patches(run: &mut Run) -> Option<Box<EndedPatches>> {
    let count = run.next_patch() - 1;
    let records = run.extra.as_mut().map(|extra| std::mem::take(&mut extra.patch_records)).unwrap_or_default();
    (count > 0).then(|| Box::new(EndedPatches { count, records }))
}

impl Folding<'_> {
    /// The record that is folded is about a patch.
    fn about_patch(&mut self, header: &Header<'_>, number: u32, refused: bool) {
        let record = PatchRecord { number, offset: header.run_seq, position: self.run.head, refused };
        self.run.extra_mut().patch_records.push(record);
    }

    pub(super) fn patch_applied(&mut self, header: &Header<'_>, e: &PatchApplied<'_>) -> Result<(u32, u32), Unfit> {
        self.about_patch(header, e.number, false);
        let (author, key, request_hash) = (e.author.into(), e.idempotency_key.into(), e.request_hash.0);
        let layer = Layer { author, key, request_hash, ..layer(e.number, e.operations.0, e.epoch) };
        let extra = self.run.extra_mut();
        extra.proposals.retain(|proposal| proposal.number != e.number);
        extra.layers.push(layer);
        extra.patches = extra.patches.max(e.number);
        self.goes_on_under(e.epoch, e.definition_hash.0, e.nodes_total, e.due.0)
    }

    pub(super) fn patch_proposed(&mut self, header: &Header<'_>, e: &PatchProposed<'_>) -> Result<(u32, u32), Unfit> {
        self.about_patch(header, e.number, false);
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

    pub(super) fn patch_rejected(&mut self, header: &Header<'_>, e: &PatchRejected<'_>) -> Result<(u32, u32), Unfit> {
        let extra = self.run.extra_mut();
        extra.patches = extra.patches.max(e.number);
        let proposal = extra.proposals.iter_mut().find(|proposal| proposal.number == e.number);
        let refusal = match &proposal {
            Some(held) => PatchRefusal {
                number: e.number,
                author: held.author.clone(),
                reason: held.reason.clone(),
                code: "".into(),
                message: e.decision_reason.into(),
                details: Arc::default(),
            },
            None => PatchRefusal {
                number: e.number,
                author: e.author.into(),
                reason: e.reason.into(),
                code: e.code.into(),
                message: e.message.into(),
                details: e.details.0.into(),
            },
        };
        let is_in_result = proposal.is_none();
        if let Some(held) = proposal {
            held.rejected = true;
            held.operations = Logged::default();
        }
        if author_kind(&refusal.author) == "agent" {
            extra.refusals.push(refusal);
            let over = extra.refusals.len().saturating_sub(REFUSALS_TOLD);
            extra.refusals.drain(..over);
        }
        self.about_patch(header, e.number, is_in_result);
        let records = &mut self.run.extra_mut().patch_records;
        let refused = records.iter().filter(|record| record.refused).count() as u64;
        if e.kept_max > 0
            && refused > e.kept_max
            && let Some(oldest) = records.iter().position(|record| record.refused)
        {
            records.remove(oldest);
        }
        Ok((ROOT, NO_SLOT))
    }

    pub(super) fn patch_rolled_back(
        &mut self,
        header: &Header<'_>,
        e: &PatchRolledBack<'_>,
    ) -> Result<(u32, u32), Unfit> {
        self.about_patch(header, e.number, false);
        let layers = &mut self.run.extra_mut().layers;
        let layer = layers.iter_mut().find(|layer| layer.number == e.number && layer.dropped == 0);
        layer.ok_or_else(|| format!("there is no patch {} to drop", e.number))?.dropped = e.epoch;
        self.goes_on_under(e.epoch, e.definition_hash.0, e.nodes_total, e.due.0)
    }
}
