//! What records of versions, tags and patches on workflows change.

use super::Unfit;
use crate::event::registry::{
    WorkflowPatchAccepted, WorkflowPatchProposed, WorkflowPatchRejected, WorkflowPatchRolledBack, WorkflowRegistered,
    WorkflowTagged,
};
use crate::record::Header;
use crate::state::patch_set::{Derived, Fate, PatchSet, Patching, Refused, Taken, WorkflowPatch};
use crate::state::symbols::Sym;
use crate::state::trial::{Arm, Outcomes, Trial};
use crate::state::{State, Version, Workflow};

/// The key of a set.
pub(crate) fn set_key(base: &str, set: &str) -> String {
    format!("{base}+{set}")
}

impl State {
    pub(super) fn workflow_registered(
        &mut self,
        tenant: Sym,
        header: &Header<'_>,
        e: &WorkflowRegistered<'_>,
    ) -> Result<(), Unfit> {
        let (name, version) = (self.symbols.intern(e.name), self.symbols.intern(e.version));
        let workflow = self.tenants.entry(tenant).or_default().workflows.entry(name).or_default();
        let mut derived = None;
        if !e.set.is_empty() {
            let key = set_key(e.base_version, e.set);
            let generation = e.generation.0 as u32;
            let patching = workflow.patching.as_mut().ok_or("a version of patches that are not there")?;
            patching.settle(&key, generation);
            let set = patching.sets.get_mut(&*key).ok_or("a version of a set that is not there")?;
            (set.generation, set.head) = (generation, version);
            let base = set.base;
            // What was pointed elsewhere meanwhile stays there.
            let (tags, versions) = (&workflow.tags, &workflow.versions);
            let is_of_set = |at: Sym| {
                at == base
                    || versions.iter().any(|v| v.version == at && v.derived.as_ref().is_some_and(|d| *d.set == *key))
            };
            set.moving.retain(|tag| tags.get(tag).is_some_and(|&at| is_of_set(at)));
            derived = Some(Box::new(Derived { set: key.into(), generation }));
        }
        workflow.versions.push(Version {
            version,
            hash: e.hash.0,
            definition: e.definition.0.into(),
            registered_ns: header.time_ns,
            derived,
        });
        self.registry.versions += 1;
        self.index_patching(tenant, name);
        Ok(())
    }

    pub(super) fn workflow_tagged(
        &mut self,
        tenant: Sym,
        header: &Header<'_>,
        e: &WorkflowTagged<'_>,
    ) -> Result<(), Unfit> {
        let (name, version) = (self.symbols.intern(e.name), self.symbols.intern(e.version));
        let held = self.tenants.entry(tenant).or_default();
        let workflow = held.workflows.get_mut(&name).ok_or("a tag of an unknown workflow")?;
        workflow.tags.insert(e.tag.into(), version);
        for set in workflow.patching.iter_mut().flat_map(|patching| patching.sets.values_mut()) {
            set.moving.remove(e.tag);
        }
        let number = e.test.0 as u64;
        let goes_on = workflow.trials.get(e.tag).is_some_and(|trial| trial.number == number);
        if e.arms.is_empty() {
            workflow.trials.remove(e.tag);
        } else if !goes_on {
            let arm = |arm: &crate::event::registry::TaggedArm<'_>| Arm {
                version: arm.version.into(),
                set: if arm.set.is_empty() { "".into() } else { set_key(arm.base_version, arm.set).into() },
                share: arm.share,
                outcomes: Outcomes::default(),
            };
            let arms = e.arms.iter().map(arm).collect();
            let trial = Trial { number, began_ns: header.time_ns, arms, control: Outcomes::default() };
            workflow.trials.insert(e.tag.into(), Box::new(trial));
        }
        self.index_patching(tenant, name);
        Ok(())
    }

    pub(super) fn workflow_patch_proposed(
        &mut self,
        tenant: Sym,
        header: &Header<'_>,
        e: &WorkflowPatchProposed<'_>,
    ) -> Result<(), Unfit> {
        let (name, base) = (self.symbols.intern(e.name), self.symbols.intern(e.base_version));
        let held = self.tenants.entry(tenant).or_default();
        let workflow = held.workflows.get_mut(&name).ok_or("a patch on an unknown workflow")?;
        let patching = workflow.patching.get_or_insert_default();
        let key = set_key(e.base_version, e.set);
        if !patching.sets.contains_key(&*key) {
            let set = PatchSet { base, generation: 0, head: base, moving: Default::default() };
            patching.sets.insert(key.as_str().into(), set);
        }
        let patch = WorkflowPatch {
            set: key.into(),
            tag: e.tag.into(),
            patch: e.patch.0.into(),
            author: e.author.into(),
            reason: e.reason.into(),
            key: e.idempotency_key.into(),
            request_hash: e.request_hash.0,
            proposed_ns: header.time_ns,
            due: e.due.0,
            grant: e.grant.0.into(),
            fate: Fate::Waiting,
        };
        patching.last = e.number;
        patching.waiting.insert(e.number);
        patching.patches.insert(e.number, patch);
        held.waiting_bytes += e.patch.0.len();
        self.index_patching(tenant, name);
        Ok(())
    }

    pub(super) fn workflow_patch_accepted(&mut self, tenant: Sym, e: &WorkflowPatchAccepted<'_>) -> Result<(), Unfit> {
        let fate = Fate::Taken(Taken {
            operations: e.operations.0.into(),
            generation: 0,
            dropped: false,
            without: 0,
            dropped_reason: "".into(),
        });
        let patching = self.decided(tenant, e.name, e.number, e.batch, fate)?;
        let (set, tag) = patching.patches.get(&e.number).map(|patch| (&patch.set, &patch.tag)).ok_or("no patch")?;
        if let Some(set) = patching.sets.get_mut(set)
            && !tag.is_empty()
        {
            set.moving.insert(tag.clone());
        }
        self.index_named(tenant, e.name);
        Ok(())
    }

    pub(super) fn workflow_patch_rejected(
        &mut self,
        tenant: Sym,
        header: &Header<'_>,
        e: &WorkflowPatchRejected<'_>,
    ) -> Result<(), Unfit> {
        let fate = Fate::Refused(Box::new(Refused {
            gate: e.gate.into(),
            code: e.code.into(),
            message: e.message.into(),
            details: e.details.0.into(),
            decided_ns: header.time_ns,
        }));
        let patching = self.decided(tenant, e.name, e.number, e.batch, fate)?;
        // One that was in its set, and with which there is no version after all, moves nothing.
        let set = patching.patches.get(&e.number).map(|patch| patch.set.clone()).ok_or("no patch")?;
        if patching.is_settled(&set)
            && let Some(set) = patching.sets.get_mut(&set)
        {
            set.moving.clear();
        }
        let is_refused = |patch: &WorkflowPatch| matches!(patch.fate, Fate::Refused(_));
        while patching.patches.values().filter(|patch| is_refused(patch)).count() as u64 > e.kept_max {
            let oldest = patching.patches.iter().find(|(_, patch)| is_refused(patch)).map(|(&number, _)| number);
            let Some(oldest) = oldest else { break };
            patching.patches.remove(&oldest);
        }
        self.index_named(tenant, e.name);
        Ok(())
    }

    /// A patch that waited, or that no version shows yet, has come to something.
    fn decided(
        &mut self,
        tenant: Sym,
        name: &str,
        number: u32,
        batch: u32,
        fate: Fate,
    ) -> Result<&mut Patching, Unfit> {
        let held = self.tenants.entry(tenant).or_default();
        let name = self.symbols.intern(name);
        let workflow = held.workflows.get_mut(&name).ok_or("a patch on an unknown workflow is decided")?;
        let patching = workflow.patching.as_mut().ok_or("a patch that is not there is decided")?;
        let patch = patching.patches.get_mut(&number).ok_or("a patch that is not there is decided")?;
        if patching.waiting.remove(&number) {
            held.waiting_bytes -= patch.patch.len();
        }
        patch.grant = Default::default();
        patch.fate = fate;
        patching.batch = patching.batch.max(batch);
        Ok(patching)
    }

    pub(super) fn workflow_patch_rolled_back(
        &mut self,
        tenant: Sym,
        e: &WorkflowPatchRolledBack<'_>,
    ) -> Result<(), Unfit> {
        let held = self.tenants.entry(tenant).or_default();
        let name = self.symbols.intern(e.name);
        let Workflow { tags, patching, .. } =
            held.workflows.get_mut(&name).ok_or("a patch on an unknown workflow goes")?;
        let patching = patching.as_mut().ok_or("a patch that is not there goes")?;
        let set =
            patching.patches.get(&e.number).map(|patch| patch.set.clone()).ok_or("a patch that is not there goes")?;
        let taken = patching.take_back(e.number).ok_or("a patch that is in no set goes")?;
        taken.dropped = true;
        taken.dropped_reason = e.reason.into();
        let set = patching.sets.get_mut(&set).ok_or("a patch of no set goes")?;
        let head = set.head;
        set.moving.extend(tags.iter().filter(|(_, at)| **at == head).map(|(tag, _)| tag.clone()));
        self.index_patching(tenant, name);
        Ok(())
    }

    fn index_named(&mut self, tenant: Sym, name: &str) {
        let name = self.symbols.intern(name);
        self.index_patching(tenant, name);
    }
}
