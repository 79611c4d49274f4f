//! A schedule: what it starts, when, and what its last time came to.

use super::run::Fault;
use super::symbols::Sym;
use super::{Index, State, Tenant};
use apex_ir::ir::Priority;
use std::sync::Arc;

/// A schedule of a tenant.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) workflow: Box<str>,
    /// At most one of `version` and `tag` is set; neither: the latest.
    pub(crate) version: Box<str>,
    pub(crate) tag: Box<str>,
    pub(crate) inputs: Arc<[u8]>,
    /// Empty: `every_ns` counts.
    pub(crate) cron: Box<str>,
    /// Empty: UTC.
    pub(crate) time_zone: Box<str>,
    pub(crate) every_ns: i64,
    pub(crate) jitter_ns: i64,
    pub(crate) overlap: Overlap,
    pub(crate) catch_up_ns: i64,
    pub(crate) priority: Priority,
    pub(crate) labels: Vec<(Box<str>, Box<str>)>,
    /// The input that gets the time; empty: none.
    pub(crate) time_input: Box<str>,
    pub(crate) changed_ns: i64,
    pub(crate) paused: bool,
    /// The time it fires for next; 0: never again.
    pub(crate) next: i64,
    /// When it does.
    pub(crate) due: i64,
    /// A time that fires when no run of the schedule is open any more; 0: none.
    pub(crate) buffered: i64,
    pub(crate) last: Option<Box<Firing>>,
    /// Cache: the time under which it stands in the index; 0: it does not.
    pub(crate) indexed: i64,
}

/// What a time came to.
#[derive(Debug)]
pub(crate) struct Firing {
    pub(crate) time: i64,
    pub(crate) decided_ns: i64,
    pub(crate) action: Box<str>,
    pub(crate) run: Box<str>,
    pub(crate) error: Option<Box<Fault>>,
}

/// What happens at a time at which a run of the schedule is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// The time is skipped.
    Skip,
    /// One time waits for the end of the run; others are skipped.
    BufferOne,
    /// Another run starts.
    Allow,
}

impl Overlap {
    /// As written in events and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Overlap::Skip => "skip",
            Overlap::BufferOne => "buffer_one",
            Overlap::Allow => "allow",
        }
    }

    /// Reads that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Overlap> {
        [Overlap::Skip, Overlap::BufferOne, Overlap::Allow].into_iter().find(|overlap| overlap.as_str() == text)
    }
}

/// Schedules by the time at which something happens.
pub(crate) type Due = (i64, Sym, Box<str>);

impl Tenant {
    /// Runs of a schedule that are open.
    pub(crate) fn scheduled_open(&self, name: &str) -> u32 {
        self.scheduled.get(name).copied().unwrap_or(0)
    }
}

impl Schedule {
    /// When something happens, with so many of its runs open; 0: never.
    fn wakes(&self, open: u32) -> i64 {
        match self.buffered {
            _ if self.paused => 0,
            buffered if buffered != 0 && open == 0 => 1,
            _ => self.due,
        }
    }
}

impl State {
    /// Brings the index up to date with a schedule, which may have been removed before (`was`).
    pub(crate) fn index_schedule(&mut self, tenant: Sym, name: &str, was: i64) {
        let Some(held) = self.tenants.get_mut(&tenant) else { return };
        let open = held.scheduled_open(name);
        let schedule = held.schedules.get_mut(name);
        let was = schedule.as_ref().map_or(was, |schedule| schedule.indexed);
        let now = schedule.as_ref().map_or(0, |schedule| schedule.wakes(open));
        if let Some(schedule) = schedule {
            schedule.indexed = now;
        }
        let Index { schedules, .. } = &mut self.index;
        if was != 0 {
            schedules.remove(&(was, tenant, name.into()));
        }
        if now != 0 {
            schedules.insert((now, tenant, name.into()));
        }
    }

    /// Makes the index anew.
    pub(crate) fn index_schedules(&mut self) {
        let names = |(&sym, tenant): (&Sym, &Tenant)| tenant.schedules.keys().map(|name| (sym, name.clone())).collect();
        let all: Vec<Vec<(Sym, Box<str>)>> = self.tenants.iter().map(names).collect();
        for (tenant, name) in all.into_iter().flatten() {
            self.index_schedule(tenant, &name, 0);
        }
    }

    /// Counts a run of a schedule that started, or ended.
    pub(crate) fn count_scheduled(&mut self, tenant: Sym, name: &str, starts: bool) {
        let Some(held) = self.tenants.get_mut(&tenant) else { return };
        let open = held.scheduled_open(name);
        let open = if starts { open + 1 } else { open.saturating_sub(1) };
        if open == 0 {
            held.scheduled.remove(name);
        } else {
            held.scheduled.insert(name.into(), open);
        }
        self.index_schedule(tenant, name, 0);
    }
}
