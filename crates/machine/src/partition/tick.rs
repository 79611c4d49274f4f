//! Time: what is due, in the order of its time.

use crate::machine::Machine;
use crate::state::Timer;
use std::ops::Bound;

impl Machine {
    /// Fires what is due, as far as the turn has room. `true`: there is more.
    pub(crate) fn fire_due(&mut self) -> bool {
        // A timer that stays where it was (its run is set aside) is passed over, not met again.
        let mut after: Option<Timer> = None;
        loop {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.state.index.timers.range((from, Bound::Unbounded)).next().copied();
            let Some(timer) = next.filter(|timer| timer.due <= self.now) else { break };
            if !self.has_room() {
                return true;
            }
            self.fire(&timer);
            after = Some(timer);
        }
        while let Some((due, tenant, name)) = self.state.index.schedules.first() {
            if *due > self.now {
                break;
            }
            if !self.has_room() {
                return true;
            }
            let (tenant, name) = (*tenant, name.clone());
            self.fire_schedule(tenant, &name);
        }
        self.patch_some()
    }
}
