//! A machine that rests: it and the oracle must agree on everything that is.

use super::durability::key_of;
use super::{TENANT, World};
use crate::chance::Chance;
use crate::house::folder;
use crate::oracle::run::Phase;
use crate::wrong::{Wrong, check};
use apex_log::disk::faulty::Faults;
use apex_log::{Disk, LogError};
use apex_machine::render::event_json;
use apex_machine::{Command, Job, Machine};

/// Turns without a command in which anything comes to rest.
pub(super) const TURNS_MAX: usize = 5_000;
/// Records that a message shows.
const SHOWN: usize = 12;

impl World<'_> {
    pub(super) fn last_records(&self) -> String {
        let shown = self.bodies.iter().rev().take(SHOWN).rev();
        let shown = shown.filter_map(|body| String::from_utf8(event_json(body).ok()?).ok());
        shown.collect::<Vec<_>>().join("\n  ")
    }

    /// Turns until nothing is left to decide, all of it durable; then machine and oracle must agree on all that is.
    pub(super) fn rest(&mut self) -> Result<(), Wrong> {
        self.catch_up()?;
        self.coverage.command(&Command::Tick);
        self.batch.push((0, Command::Tick));
        let mut at = self.bodies.len();
        for turns in 0.. {
            check!(turns < TURNS_MAX, "it never comes to rest: {}", self.last_records());
            self.turn()?;
            // What ended may have been what a schedule waited for.
            let is_due = self.house.machine.next_due().is_some_and(|due| due <= self.now);
            if !self.house.more && is_due && self.bodies.len() > at {
                at = self.bodies.len();
                self.batch.push((0, Command::Tick));
            } else if !self.house.more {
                break;
            }
        }
        self.write(usize::MAX)?;
        self.check_rest()
    }

    pub(super) fn check_rest(&mut self) -> Result<(), Wrong> {
        self.ledger.forget_offers();
        self.check_definitions()?;
        let machine = &self.house.machine;
        check!(self.house.asked.is_empty(), "nobody answered {:?}", self.house.asked);
        let (mut dues, mut approvals, mut in_flight, mut open) = (Vec::new(), 0, 0, 0);
        for (run_id, judge) in &self.ledger.judges {
            if judge.run.phase == Phase::Ended {
                continue;
            }
            let run = &judge.run;
            let moves = run.moves();
            check!(moves.is_empty(), "invariant 5: run {run_id} rests, but {moves:?}\n{}", judge.tail());
            for key in run.in_flight() {
                // In a failing run what a crash took from its executor is recorded as cancelled, once it goes on.
                let known = judge.handed_out.contains(&key) || (run.paused && judge.lost.contains(&key));
                check!(known, "nobody has {key:?} of run {run_id}\n{}", judge.tail());
            }
            let view = machine.run(TENANT, run_id).ok_or_else(|| Wrong(format!("run {run_id} is gone")))?;
            let state = view.state.as_str();
            check!(state == run.state(), "run {run_id} is {state}, to be {}\n{}", run.state(), judge.tail());
            let done = run.root().decided.len() as u32;
            check!(view.nodes_done == done, "{} nodes are done, to be {done}", view.nodes_done);
            let last = judge.history.last().map_or(0, |last| last.offset);
            check!(view.offset == last, "the offset is {}, to be {last}", view.offset);
            dues.extend(run.dues());
            approvals += run.approvals() as u64;
            let waits = run.in_flight().into_iter().filter(|key| judge.handed_out.contains(key)).count();
            in_flight += waits as u64 + u64::from(run.undoing_in_flight().is_some());
            open += 1;
        }
        let mut moves = self.ledger.moves();
        moves.extend(self.ledger.sets.moves(self.now));
        check!(moves.is_empty(), "all rests, but {moves:?}");
        let counts = machine.counts();
        let have = (counts.runs_open, counts.timers, counts.approvals, counts.jobs_in_flight);
        let want = (open, dues.len() as u64, approvals, in_flight);
        check!(have == want, "runs, timers, approvals, jobs are {have:?}, to be {want:?}");
        dues.extend(self.ledger.schedules.due(&self.ledger.judges));
        dues.extend(self.ledger.sets.dues());
        let (next, want) = (machine.next_due(), dues.iter().min().copied());
        check!(next == want, "the next timer is due at {next:?}, to be {want:?}");
        check!(want.is_none_or(|due| due >= self.now), "a timer was due at {want:?}, it is {}", self.now);
        let is_told = |job: &&Job| self.house.told.contains(&(job.id, job.attempt));
        for job in self.house.jobs.values().filter(|job| !is_told(job)) {
            let judge = &self.ledger.judges[&job.run_id];
            let key = key_of(job);
            let is_awaited = if job.compensation {
                judge.run.undoing_in_flight() == Some((key.0.as_str(), key.1))
            } else {
                judge.run.in_flight().contains(&key)
            };
            let is_failing = judge.run.phase == Phase::Failing && !judge.run.paused && !job.compensation;
            let was_asked = self.house.asked_to_end.contains(&job.id);
            check!(is_awaited || was_asked, "nobody waits for {job:?}, and nobody said so\n{}", judge.tail());
            check!(!is_failing || was_asked, "the run fails, and nobody asked {job:?} to end\n{}", judge.tail());
        }
        self.check_replay()
    }

    /// Replay of the log gives the same state, byte for byte (invariant 2).
    pub(super) fn check_replay(&self) -> Result<(), Wrong> {
        let live = self.house.machine.snapshot();
        let mut machine = Machine::new(self.config.clone());
        let middle = self.bodies.len() / 2;
        for (position, body) in self.bodies.iter().enumerate() {
            if position == middle {
                machine = Machine::restore(self.config.clone(), &machine.snapshot())
                    .map_err(|error| Wrong(format!("invariant 2: {error}")))?;
            }
            machine.apply(position as u64, body).map_err(|error| Wrong(format!("invariant 2: {error}")))?;
        }
        check!(machine.snapshot() == live, "invariant 2: a snapshot and the rest give another state than what lives");
        Ok(())
    }

    pub(super) fn snapshot(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        self.turn()?;
        if self.disk.is_full() {
            // That there is no room for it harms nothing.
            let saved = self.house.save_snapshot(self.house.durable(), &self.house.machine.snapshot());
            let is_refused = saved.is_err_and(|error| error.is_out_of_space());
            check!(is_refused, "a snapshot is saved on a full disk");
        }
        self.catch_up()?;
        self.write(usize::MAX)?;
        if !self.plan.has("snapshot") {
            return Ok(());
        }
        let archives = self.options.archive_after_segments < u64::MAX;
        if archives && chance.one_in(6) && self.plan.has("crash") {
            self.disk.plan(Faults { power_off_at: Some(1 + chance.below(30)), ..Faults::default() });
            // Whether it is there is seen by the next owner.
            let _ = self.house.save_snapshot(self.house.durable(), &self.house.machine.snapshot());
            check!(self.house.wait_archived(), "archives are never made");
            self.coverage.fault("power loss while archiving");
            return self.reopen(chance, false);
        }
        let position = self.house.durable();
        let bytes = self.house.machine.snapshot();
        let saved = self.house.save_snapshot(position, &bytes);
        saved.map_err(|error| Wrong(format!("a snapshot on a good day: {error}")))?;
        check!(self.house.wait_archived(), "archives are never made");
        if archives {
            self.check_archives()?;
        }
        if chance.one_in(2) {
            let start = self.house.trim(position).map_err(|error| Wrong(error.to_string()))?;
            self.first = start;
            if start > 0 {
                self.coverage.fault("trimmed");
                let read = self.house.read(start - 1);
                check!(matches!(read, Err(LogError::Trimmed { .. })), "a trimmed record is read: {read:?}");
            }
        }
        Ok(())
    }

    /// What is in archives is read as what is not.
    fn check_archives(&mut self) -> Result<(), Wrong> {
        let names = self.disk.list(folder()).map_err(|error| Wrong(error.to_string()))?;
        if names.iter().any(|name| name.ends_with(".archive")) {
            self.coverage.fault("archived");
        }
        let read = self.house.scan(self.first).map_err(|error| Wrong(format!("an archive is not read: {error}")))?;
        let wanted = self.bodies.iter().zip(0..).skip(self.first as usize).take(self.house.durable() as usize);
        for ((position, body), (wanted, at)) in read.iter().zip(wanted) {
            check!(*position == at && body == wanted, "invariant 3: record {at} is another one since it is archived");
        }
        check!(read.len() as u64 == self.house.durable() - self.first, "invariant 3: {} records are read", read.len());
        Ok(())
    }
}
