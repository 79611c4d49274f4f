//! The rate of a tool: when its next call may come (GCRA, ITU-T I.371: the theoretical arrival time of each). One that lies
//! in the past says nothing and is forgotten.

use super::symbols::Sym;
use std::collections::{BTreeMap, BTreeSet};

/// A tenant's tool.
type Tool = (Sym, Box<str>);

/// The tools that were called faster than their rate a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    due: BTreeMap<Tool, i64>,
    order: BTreeSet<(i64, Tool)>,
}

impl Rates {
    /// When the next call of a tool is in time, at the full rate; the past where it was not called of late.
    pub(crate) fn due(&self, tenant: Sym, tool: &str) -> i64 {
        self.due.get(&(tenant, tool.into())).copied().unwrap_or(i64::MIN)
    }

    /// A call is made at `now`, or has got its turn.
    pub(crate) fn count(&mut self, now: i64, tenant: Sym, tool: &str, interval_ns: i64) {
        while let Some((due, _)) = self.order.first() {
            if *due > now {
                break;
            }
            if let Some((_, tool)) = self.order.pop_first() {
                self.due.remove(&tool);
            }
        }
        let tool: Tool = (tenant, tool.into());
        let due = self.due.get(&tool).copied().unwrap_or(now).max(now).saturating_add(interval_ns);
        self.set(tool, due);
    }

    pub(super) fn set(&mut self, tool: Tool, due: i64) {
        if let Some(before) = self.due.insert(tool.clone(), due) {
            self.order.remove(&(before, tool.clone()));
        }
        self.order.insert((due, tool));
    }

    /// Forgets those of a tenant.
    pub(super) fn forget(&mut self, tenant: Sym) {
        self.due.retain(|(whose, _), _| *whose != tenant);
        self.order.retain(|(_, (whose, _))| *whose != tenant);
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Tool, i64)> {
        self.due.iter().map(|(tool, &due)| (tool, due))
    }
}
