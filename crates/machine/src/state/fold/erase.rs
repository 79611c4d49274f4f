//! What is forgotten: a tenant, or a run. What ran for a run goes with it.

use super::Unfit;
use crate::event::registry::Erased;
use crate::id::RunId;
use crate::state::State;
use crate::state::symbols::Sym;
use std::collections::BTreeSet;

impl State {
    pub(super) fn erased(&mut self, tenant: Sym, e: &Erased<'_>) -> Result<(), Unfit> {
        if e.run_id.is_empty() {
            return self.forget_tenant(tenant);
        }
        let run = RunId::parse(e.run_id).ok_or("no run is erased")?;
        let runs = self.family(&run);
        self.forget_runs(tenant, &runs);
        Ok(())
    }

    /// An ended run and those that ran for it, at any depth.
    pub(crate) fn family(&self, root: &RunId) -> BTreeSet<RunId> {
        let mut family = BTreeSet::from([*root]);
        loop {
            let before = family.len();
            let children = self
                .ended
                .iter()
                .filter(|(_, run)| run.parent.as_ref().is_some_and(|parent| family.contains(&parent.run)));
            let children: Vec<RunId> = children.map(|(&id, _)| id).collect();
            family.extend(children);
            // One level each time; how deep they stand is bounded.
            if family.len() == before {
                return family;
            }
        }
    }

    fn forget_tenant(&mut self, tenant: Sym) -> Result<(), Unfit> {
        let Some(held) = self.tenants.get(&tenant) else { return Ok(()) };
        if held.open > 0 {
            return Err("a tenant with open runs is erased".into());
        }
        let runs = held.runs.clone();
        self.forget_runs(tenant, &runs);
        self.letters.forget(|whose, _| whose == tenant);
        self.breakers.forget(tenant);
        self.rates.forget(tenant);
        self.expiring.retain(|_, (whose, _)| *whose != tenant);
        self.index.schedules.retain(|(_, whose, _)| *whose != tenant);
        self.index.patching.retain(|(_, whose, _)| *whose != tenant);
        if let Some(held) = self.tenants.remove(&tenant) {
            self.keys -= held.keys.len();
            self.registry.versions -= held.workflows.values().map(|workflow| workflow.versions.len()).sum::<usize>();
        }
        Ok(())
    }

    fn forget_runs(&mut self, tenant: Sym, runs: &BTreeSet<RunId>) {
        self.ended.retain(|id, _| !runs.contains(id));
        self.ended_order.retain(|id| !runs.contains(id));
        self.letters.forget(|_, run| runs.contains(&run));
        self.expiring.retain(|(_, run), _| !runs.contains(run));
        let Some(held) = self.tenants.get_mut(&tenant) else { return };
        held.runs.retain(|id| !runs.contains(id));
        let before = held.keys.len();
        held.keys.retain(|_, key| !runs.contains(&key.run_id));
        self.keys -= before - held.keys.len();
    }
}
