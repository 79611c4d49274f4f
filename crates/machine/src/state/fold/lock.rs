//! What records of critical sections change.

use super::{Folding, Unfit};
use crate::event::waiting::{LockAcquired, LockReleased};
use crate::state::locks::Place;
use crate::state::run::{Queued, Run, Wait};
use std::sync::Arc;

impl Folding<'_> {
    pub(super) fn lock_acquired(&mut self, e: &LockAcquired<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        self.clear_wait(scope, slot);
        let (run, at, key) = (self.run.id, self.run.head, (self.run.tenant, Arc::from(e.key)));
        let place = Place { run, scope, slot };
        if e.granted {
            self.run.extra_mut().locks.insert((scope, slot), e.key.into());
            self.index.locks.hold(key, place);
        } else {
            self.node(scope, slot)?.wait = Wait::Lock(Box::new(Queued { key: key.1.clone(), at }));
            self.index.locks.stand(key, at, place);
            self.run.waiting += 1;
        }
        self.run.requested = true;
        Ok((scope, slot))
    }

    pub(super) fn lock_released(&mut self, e: &LockReleased<'_>) -> Result<(u32, u32), Unfit> {
        let (scope, slot) = self.touch(e.node)?;
        self.release_all(|_, of, at| (of, at) == (scope, slot));
        Ok((scope, slot))
    }

    /// Gives back the keys of the nodes that are named.
    pub(super) fn release_all(&mut self, is_named: impl Fn(&Run, u32, u32) -> bool) {
        let Some(extra) = self.run.extra.as_ref().filter(|extra| !extra.locks.is_empty()) else { return };
        let places: Vec<(u32, u32)> = extra.locks.keys().copied().collect();
        for (scope, slot) in places {
            if is_named(self.run, scope, slot)
                && let Some(key) = self.run.extra_mut().locks.remove(&(scope, slot))
            {
                self.index.locks.release(&(self.run.tenant, Arc::from(&*key)));
            }
        }
    }

    /// The nodes of a run that is paused leave the lines that they stand in, and come back to their old places.
    pub(super) fn lines(&mut self, stands: bool) {
        let (run, tenant) = (self.run.id, self.run.tenant);
        for (scope, state) in self.run.scopes.iter().enumerate() {
            for (slot, node) in state.iter().flat_map(|state| state.nodes.iter().enumerate()) {
                let Wait::Lock(queued) = &node.wait else { continue };
                let (key, place) =
                    ((tenant, queued.key.clone()), Place { run, scope: scope as u32, slot: slot as u32 });
                if stands {
                    self.index.locks.stand(key, queued.at, place);
                } else {
                    self.index.locks.leave(&key, queued.at);
                }
            }
        }
    }
}
