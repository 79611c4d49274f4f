//! Patches on workflows, and arms of tags.

use super::changes::changes_plainly;
use super::{TENANT, World};
use crate::chance::Chance;
use crate::definition::WORKFLOWS;
use crate::edits::Draft;
use crate::house::Asked;
use crate::oracle::sets::Wanted;
use apex_machine::Command;
use apex_machine::command::{
    Allowed, Arm, Grant, PatchPolicy, PatchWorkflow, Runs, Selector, TagWorkflow, UnpatchWorkflow,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// A function that authors may not call, at times.
const FORBIDDEN: &str = "forbidden";

impl World<'_> {
    pub(super) fn patch_workflows(&mut self, chance: &mut Chance) {
        let workflow = chance.of_these(&WORKFLOWS);
        match chance.below(6) {
            0..4 => self.patch_workflow(workflow, chance),
            4 => self.unpatch_workflow(workflow, chance),
            _ => self.set_arms(workflow, chance),
        }
    }

    fn some_version(&self, workflow: &str, chance: &mut Chance) -> String {
        let versions = self.ledger.registry.versions(workflow);
        chance.pick(&versions).map_or_else(|| "1".into(), |version| (*version).to_owned())
    }

    fn patch_workflow(&mut self, workflow: &str, chance: &mut Chance) {
        let selector = match chance.below(4) {
            0 => Selector::Version(self.some_version(workflow, chance)),
            1 => Selector::Tag(chance.of_these(&["main", "canary"]).into()),
            _ => Selector::Latest,
        };
        let set = if chance.one_in(3) { "other" } else { "" };
        let Some(version) = self.ledger.registry.select(workflow, &selector) else { return };
        let document = self.ledger.sets.document(workflow, &version.version, set).unwrap_or(&version.document);
        let mut draft = Draft::of(document.clone());
        let mut grant = Grant::all();
        let is_forbidden = chance.one_in(8);
        if is_forbidden {
            grant.functions = Allowed::Only(BTreeSet::new());
        }
        for _ in 0..1 + chance.below(2) {
            self.tokens += 1;
            let id = format!("p{}", self.tokens);
            if is_forbidden {
                draft.calls(FORBIDDEN, &id);
            } else {
                draft.draw(chance, &BTreeSet::new(), &id, 0);
            }
        }
        if chance.one_in(10) {
            draft.spoil(chance);
        }
        if !changes_plainly(document, draft.document.as_ref()) {
            return;
        }
        let wanted = Wanted {
            workflow: workflow.into(),
            selector,
            set: set.into(),
            operations: Value::Array(draft.operations),
            key: if chance.one_in(4) { format!("key{}", chance.below(4)) } else { String::new() },
            forbidden: is_forbidden.then_some(FORBIDDEN),
        };
        let command = PatchWorkflow {
            tenant: TENANT.into(),
            name: workflow.into(),
            selector: wanted.selector.clone(),
            set: wanted.set.clone(),
            operations: wanted.operations.to_string().into_bytes(),
            reason: "so".into(),
            author: "me".into(),
            idempotency_key: wanted.key.clone(),
            policy: PatchPolicy::Apply,
            grant,
            at_once: chance.one_in(4),
        };
        self.ledger.sets.wanted.push(wanted);
        self.ask(Some(Asked::PatchWorkflow), Command::PatchWorkflow(Box::new(command)));
    }

    fn unpatch_workflow(&mut self, workflow: &str, chance: &mut Chance) {
        let taken = self.ledger.sets.droppable(workflow);
        let number = chance.pick(&taken).copied().unwrap_or(1);
        let (tenant, reason, by) = (TENANT.into(), "no".into(), "me".into());
        let patch_id = format!("{workflow}~w{number}");
        let command = UnpatchWorkflow { tenant, patch_id, reason, by, grant: Grant::all() };
        self.ask(Some(Asked::PatchWorkflow), Command::UnpatchWorkflow(command));
    }

    /// Shares of the starts by a tag run something else.
    fn set_arms(&mut self, workflow: &str, chance: &mut Chance) {
        let version = self.some_version(workflow, chance);
        let sets = self.ledger.sets.on(workflow, &version);
        let arms = (0..1 + chance.below(2)).map(|_| {
            let set = chance.pick(&sets).filter(|_| !chance.clone().one_in(3)).cloned();
            let runs = set.map_or_else(|| Runs::Version(self.some_version(workflow, chance)), Runs::Set);
            Arm { runs, share: 1 + chance.below(550) as u32 }
        });
        let arms = arms.collect();
        let tag = chance.of_these(&["main", "canary"]).into();
        let command =
            TagWorkflow { tenant: TENANT.into(), name: workflow.into(), version, tag, expected_version: None, arms };
        self.ask(Some(Asked::Tag), Command::TagWorkflow(command));
    }
}
