//! Dead letters: nodes that failed for good, listed until they are tried again or dropped. They outlive their runs.

use super::codec::codec;
use super::run::Fault;
use super::symbols::{IdMap, Sym};
use crate::id::RunId;
use std::collections::BTreeMap;

/// A node that failed for good.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) run: RunId,
    /// Instance path.
    pub(crate) node: Box<str>,
    pub(crate) attempt: u32,
    pub(crate) error: Fault,
    pub(crate) workflow: Sym,
    pub(crate) version: Sym,
    /// The function, or the type of the node.
    pub(crate) name: Sym,
    pub(crate) time_ns: i64,
}

codec!(Letter { run, node, attempt, error, workflow, version, name, time_ns });

/// All of them, each at the position of its record.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    pub(crate) by_tenant: IdMap<Sym, BTreeMap<u64, Letter>>,
    /// Whose each is, oldest first.
    pub(crate) order: BTreeMap<u64, Sym>,
    places: BTreeMap<(RunId, Box<str>), u64>,
    /// How many left because there were too many.
    pub(crate) pushed_out: u64,
}

impl Letters {
    /// Lists one; the oldest of more than `most` leave.
    pub(crate) fn add(&mut self, tenant: Sym, position: u64, letter: Letter, most: u64) {
        self.put(tenant, position, letter);
        while self.order.len() as u64 > most.max(1) {
            let Some((&oldest, _)) = self.order.first_key_value() else { return };
            self.take(oldest);
            self.pushed_out += 1;
        }
    }

    /// Puts one where it stood.
    pub(crate) fn put(&mut self, tenant: Sym, position: u64, letter: Letter) {
        self.places.insert((letter.run, letter.node.clone()), position);
        self.order.insert(position, tenant);
        self.by_tenant.entry(tenant).or_default().insert(position, letter);
    }

    /// Takes one off the list.
    pub(crate) fn take(&mut self, position: u64) -> Option<Letter> {
        let tenant = self.order.remove(&position)?;
        let letters = self.by_tenant.get_mut(&tenant)?;
        let letter = letters.remove(&position)?;
        if letters.is_empty() {
            self.by_tenant.remove(&tenant);
        }
        self.places.remove(&(letter.run, letter.node.clone()));
        Some(letter)
    }

    /// Takes those of some tenants and runs off the list.
    pub(crate) fn forget(&mut self, goes: impl Fn(Sym, RunId) -> bool) {
        let going: Vec<u64> = self
            .by_tenant
            .iter()
            .flat_map(|(&tenant, letters)| {
                letters.iter().map(move |(&position, letter)| (tenant, position, letter.run))
            })
            .filter(|&(tenant, _, run)| goes(tenant, run))
            .map(|(_, position, _)| position)
            .collect();
        for position in going {
            self.take(position);
        }
    }

    /// The position of the one of a node of a run, if it is this tenant's.
    pub(crate) fn find(&self, tenant: Sym, run: RunId, node: &str) -> Option<u64> {
        let position = *self.places.get(&(run, node.into()))?;
        (self.order.get(&position) == Some(&tenant)).then_some(position)
    }
}
