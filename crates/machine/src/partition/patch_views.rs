//! What readers see of patches on workflows, and of the arms of tags.

use crate::command::Selector;
use crate::machine::Machine;
use crate::partition::patch_set::id_of;
use crate::state::patch_set::{Fate, WorkflowPatch};
use crate::state::trial::{CONTROL, Outcomes, WHOLE};
use crate::state::{State, Version, Workflow};
use crate::view::{ArmView, DerivedView, Page, PatchStatus, RefusedView, TagView, WorkflowPatchView};

impl Machine {
    /// Patches on a workflow, newest first; of one patch set where `set` (`<base version>+<name>`) is given. `page`: what
    /// the page before gave as `next`.
    #[must_use]
    pub fn workflow_patches(
        &self,
        tenant: &str,
        name: &str,
        set: &str,
        limit: usize,
        page: &str,
    ) -> Page<WorkflowPatchView> {
        let mut found = Page { items: Vec::new(), next: String::new() };
        let before: u32 = if page.is_empty() { u32::MAX } else { page.parse().unwrap_or(0) };
        let workflow = self.state.workflow(tenant, name);
        let Some((workflow, patching)) = workflow.and_then(|w| Some((w, w.patching.as_ref()?))) else { return found };
        let wanted = |(_, patch): &(&u32, &WorkflowPatch)| set.is_empty() || *patch.set == *set;
        let mut patches = patching.patches.range(..before).rev().filter(wanted);
        for (&number, patch) in patches.by_ref().take(limit.max(1)) {
            found.items.push(self.patch_view(name, workflow, number, patch));
            found.next = number.to_string();
        }
        if patches.next().is_none() {
            found.next.clear();
        }
        found
    }

    /// One of them.
    #[must_use]
    pub fn workflow_patch(&self, tenant: &str, patch_id: &str) -> Option<WorkflowPatchView> {
        let (name, number) = patch_id.rsplit_once("~w")?;
        let number = number.parse().ok()?;
        let workflow = self.state.workflow(tenant, name)?;
        let view = self.patch_view(name, workflow, number, workflow.patching.as_ref()?.patches.get(&number)?);
        (view.patch_id == patch_id).then_some(view)
    }

    fn patch_view(&self, name: &str, workflow: &Workflow, number: u32, patch: &WorkflowPatch) -> WorkflowPatchView {
        let (base, set) = patch.set.rsplit_once('+').unwrap_or_default();
        let mut view = WorkflowPatchView {
            patch_id: id_of(name, number),
            workflow: name.to_owned(),
            base_version: base.to_owned(),
            set: set.to_owned(),
            tag: patch.tag.to_string(),
            operations: patch.patch.clone(),
            author: patch.author.to_string(),
            reason: patch.reason.to_string(),
            proposed_ns: patch.proposed_ns,
            due_ns: patch.due,
            status: PatchStatus::Pending,
            version: String::new(),
            decided_ns: None,
            refused: None,
            rolled_back_in: String::new(),
            rolled_back_reason: String::new(),
        };
        let version =
            |generation: u32| if generation == 0 { String::new() } else { format!("{}.{generation}", patch.set) };
        match &patch.fate {
            Fate::Waiting => {}
            Fate::Taken(taken) => {
                view.version = version(taken.generation);
                view.rolled_back_in = version(taken.without);
                view.rolled_back_reason = taken.dropped_reason.to_string();
                view.status = match (taken.generation, taken.dropped) {
                    (0, _) => PatchStatus::Pending,
                    (_, false) => PatchStatus::Applied,
                    (_, true) => PatchStatus::RolledBack,
                };
                let derived = self.state.symbols.find(&view.version).and_then(|sym| workflow.version(sym));
                view.decided_ns = derived.map(|derived| derived.registered_ns);
            }
            Fate::Refused(refused) => {
                view.status = PatchStatus::Rejected;
                view.decided_ns = Some(refused.decided_ns);
                view.refused = Some(RefusedView {
                    gate: refused.gate.to_string(),
                    code: refused.code.to_string(),
                    message: refused.message.to_string(),
                    details: refused.details.to_vec(),
                });
            }
        }
        view
    }

    /// The arms of a tag, the control first, and what became of their starts. `None`: there is no such tag.
    #[must_use]
    pub fn arms(&self, tenant: &str, name: &str, tag: &str) -> Option<TagView> {
        let at = self.state.select(tenant, name, &Selector::Tag(tag.to_owned()))?;
        let workflow = self.state.workflow(tenant, name)?;
        let version = self.state.symbols.name(at.version).to_string();
        let mut view = TagView { tag: tag.to_owned(), version: version.clone(), began_ns: None, arms: Vec::new() };
        let Some(trial) = workflow.trials.get(tag) else { return Some(view) };
        view.began_ns = Some(trial.began_ns);
        let rest = WHOLE.saturating_sub(trial.arms.iter().map(|arm| arm.share).sum());
        view.arms.push(arm_view(CONTROL, version, "", rest, &trial.control));
        for arm in &trial.arms {
            let head = self.state.head_of(workflow, arm);
            let head = head.map_or_else(String::new, |head| self.state.symbols.name(head).to_string());
            let set = arm.set.rsplit_once('+').map_or("", |(_, set)| set);
            view.arms.push(arm_view(arm.label(), head, set, arm.share, &arm.outcomes));
        }
        Some(view)
    }
}

fn arm_view(arm: &str, version: String, set: &str, share: u32, outcomes: &Outcomes) -> ArmView {
    let Outcomes { started, completed, failed, cancelled, duration_ns, .. } = *outcomes;
    ArmView {
        arm: arm.to_owned(),
        version,
        set: set.to_owned(),
        share,
        started,
        completed,
        failed,
        cancelled,
        duration_sum_ns: duration_ns,
        duration_quantiles_ns: [500, 900, 990].map(|thousandths| outcomes.quantile_ns(thousandths)),
    }
}

impl State {
    /// What a version was derived from; with the list of its patches where the `whole` is wanted.
    pub(crate) fn derived(
        &self,
        name: &str,
        workflow: &Workflow,
        version: &Version,
        whole: bool,
    ) -> Option<DerivedView> {
        let derived = version.derived.as_ref()?;
        let (base, set) = derived.set.rsplit_once('+')?;
        let in_it =
            workflow.patching.iter().filter(|_| whole).flat_map(|patching| patching.taken(&derived.set)).filter(
                |(.., taken)| {
                    let is_after = taken.without != 0 && taken.without <= derived.generation;
                    taken.generation != 0 && taken.generation <= derived.generation && !is_after
                },
            );
        let patches = in_it.map(|(number, ..)| id_of(name, number)).collect();
        Some(DerivedView {
            base_version: base.to_owned(),
            set: set.to_owned(),
            generation: derived.generation,
            patches,
        })
    }
}
