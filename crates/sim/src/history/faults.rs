//! Bad luck: deaths, failed writes, a lost lease, and the owner that comes after.

use super::{SECOND, World};
use crate::chance::Chance;
use crate::house::House;
use crate::wrong::{Wrong, check};
use apex_log::LogError;
use apex_log::disk::faulty::Faults;
use apex_machine::command::{JobResult, Outcome, SupplyHistory};
use apex_machine::{Command, Config, Machine};
use std::rc::Rc;

impl World<'_> {
    pub(super) fn fault(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        self.turn()?;
        let nth = Some(1 + chance.below(8));
        match chance.below(7) {
            0 if self.plan.has("crash") => {
                self.coverage.fault("kill");
                self.reopen(chance, true)
            }
            1 if self.plan.has("crash") => {
                self.coverage.fault("power loss");
                self.reopen(chance, false)
            }
            2 | 3 if self.plan.has("write") => {
                self.fail_write("power loss while writing", Faults { power_off_at: nth, ..Faults::default() }, chance)
            }
            4 if self.plan.has("write") => self.fail_write(
                "failed sync",
                Faults { fail_sync_at: Some(1 + chance.below(2)), ..Faults::default() },
                chance,
            ),
            5 if self.plan.has("write") => {
                self.fail_write("failed write", Faults { fail_write_at: nth, ..Faults::default() }, chance)
            }
            6 if self.plan.has("lease") => self.lose_lease(chance),
            _ => Ok(()),
        }
    }

    /// The disk is well again, and what waited for it is written.
    pub(super) fn catch_up(&mut self) -> Result<(), Wrong> {
        if self.disk.is_full() || self.disk.is_slow() {
            let durable = self.house.catch_up();
            let durable = durable.map_err(|error| Wrong(format!("the log does not go on by itself: {error}")))?;
            self.judge(durable)?;
            self.release(durable)?;
        }
        Ok(())
    }

    /// A write goes wrong; whatever the log said was durable before stays so, and nothing after is acknowledged.
    pub(super) fn fail_write(&mut self, name: &str, faults: Faults, chance: &mut Chance) -> Result<(), Wrong> {
        self.catch_up()?;
        self.disk.plan(faults);
        while self.house.has_decided() {
            match self.house.write(1 + chance.below(3) as usize) {
                Ok(durable) => {
                    self.judge(durable)?;
                    self.release(durable)?;
                }
                Err(_) => {
                    self.coverage.fault(name);
                    let durable = self.house.durable();
                    check!(durable == self.ledger.position, "invariant 1: a failed write is acknowledged");
                    let again = self.house.write(1);
                    check!(again.is_err(), "after a failed write the log says that {again:?} is durable");
                    return self.reopen(chance, chance.clone().one_in(3));
                }
            }
        }
        self.disk.plan(Faults::default());
        Ok(())
    }

    /// Another process takes the store; the one before has not noticed, and goes on for a while.
    pub(super) fn lose_lease(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        self.coverage.fault("lost lease");
        self.disk.kill();
        let now = self.now;
        let mut stale = self.reown(chance)?;
        let durable = stale.durable();
        let held: Vec<(u64, u32)> = stale.jobs.values().map(|job| (job.id, job.attempt)).collect();
        let results = held.into_iter().map(|(job, attempt)| {
            let outcome = Outcome::Ok(b"{\"v\":\"stale\"}".to_vec());
            (0, Command::JobResult(JobResult { job, attempt, outcome }))
        });
        stale.step(now, results.collect())?;
        stale.step(now + 50 * SECOND, vec![(0, Command::Tick)])?;
        let is_fenced = !stale.has_decided() || stale.write(usize::MAX).is_err();
        check!(is_fenced && stale.durable() == durable, "an owner that lost its lease still writes");
        let released = stale.machine.advance(stale.durable());
        check!(released.jobs.is_empty() && released.ended.is_empty(), "a fenced owner acts: {released:?}");
        Ok(())
    }

    /// The process dies, with its machine or with its power; a new one opens the log.
    pub(super) fn reopen(&mut self, chance: &mut Chance, keeps_power: bool) -> Result<(), Wrong> {
        if keeps_power {
            self.disk.kill()
        } else {
            self.disk.crash()
        }
        self.reown(chance).map(drop)
    }

    /// A new owner; gives the one before.
    pub(super) fn reown(&mut self, chance: &mut Chance) -> Result<House, Wrong> {
        self.batch.clear();
        if chance.one_in(6) && self.plan.has("crash") {
            self.disk.plan(Faults { power_off_at: Some(1 + chance.below(12)), ..Faults::default() });
        }
        // A disk that is full has room for little more than the log needs to begin.
        let fills_up = chance.one_in(60) && self.plan.has("disk");
        let mut options = self.options.clone();
        if fills_up {
            options.first_segment_bytes = 4096;
        }
        let (mut house, recovered) = loop {
            match House::open(&self.disk, &self.config, &options) {
                Ok(opened) => break opened,
                Err(error) if error.is_out_of_space() && self.disk.is_full() => {
                    self.coverage.fault("full disk while opening");
                    self.disk.be_well();
                }
                Err(LogError::Io { .. }) => {
                    self.coverage.fault("power loss while opening");
                    self.disk.crash();
                }
                Err(error) => return Err(Wrong(format!("the log does not open: {error}"))),
            }
        };
        self.disk.plan(Faults::default());
        self.first = recovered.start;
        if fills_up {
            // Before it has written anything: what it has made room for by then follows from nothing.
            self.coverage.fault("full disk");
            self.disk.fill_up();
        }
        check!(recovered.term > self.term, "the term did not rise: {} after {}", recovered.term, self.term);
        self.term = recovered.term;
        if recovered.cut.is_some() {
            self.coverage.fault("torn group cut off");
        }
        let (known, written) = (self.ledger.position, self.bodies.len() as u64);
        check!(recovered.position >= known, "invariant 1: {known} were durable, {} are there", recovered.position);
        check!(recovered.position <= written, "{} records, only {written} were written", recovered.position);
        if recovered.position < written {
            self.coverage.fault("records lost that nobody was told of");
        }
        if recovered.position > known {
            self.coverage.fault("records kept that nobody was told of");
        }
        self.bodies.truncate(recovered.position as usize);
        let read =
            house.scan(recovered.start).map_err(|error| Wrong(format!("what is durable is not read: {error}")))?;
        check!(read.len() as u64 == recovered.position - recovered.start, "invariant 3: {} records", read.len());
        for (position, body) in &read {
            check!(body == &self.bodies[*position as usize], "invariant 3: record {position} is another one");
        }
        self.recover(&mut house, &recovered, &read, chance)?;
        // What the owner before decided, and what became durable all the same.
        self.judge(recovered.position)?;
        self.ledger.change_owner();
        let before = std::mem::replace(&mut self.house, house);
        let released = self.house.machine.recovered();
        self.take(released)?;
        for (_, run_id, origin) in self.house.machine.histories_wanted() {
            let is_gone = chance.one_in(8);
            let history = if is_gone { Vec::new() } else { self.history_of(&origin) };
            // Of an origin that went on it keeps what that gave since then, too.
            let from = self.ledger.replays.get(&run_id).map(|replay| replay.from.clone()).unwrap_or_default();
            let graph = self.ledger.judges.get(&run_id).map(|judge| Rc::clone(&judge.graph));
            let origin = self.ledger.judges.get(&origin).zip(graph);
            let kept = origin.map(|(origin, graph)| origin.kept_from(&from, &graph));
            if let Some(judge) = self.ledger.judges.get_mut(&run_id) {
                judge.is_cut_off |= is_gone;
                judge.kept = kept;
            }
            self.ask(None, Command::SupplyHistory(SupplyHistory { run_id, history }));
        }
        Ok(before)
    }

    /// The state of a new owner: a snapshot and the rest, or all records.
    pub(super) fn recover(
        &mut self,
        house: &mut House,
        recovered: &apex_log::Recovered,
        read: &[(u64, Vec<u8>)],
        chance: &mut Chance,
    ) -> Result<(), Wrong> {
        let config = Config { term: recovered.term, ..self.config.clone() };
        let mut machine = Machine::new(config.clone());
        if let Some((_, bytes)) = recovered.snapshot.as_ref().filter(|_| recovered.start > 0 || !chance.one_in(4)) {
            self.coverage.fault("restored from a snapshot");
            machine =
                Machine::restore(config.clone(), bytes).map_err(|error| Wrong(format!("invariant 2: {error}")))?;
        }
        for (position, body) in
            read.iter().filter(|(position, _)| *position >= machine.position()).cloned().collect::<Vec<_>>()
        {
            machine.apply(position, &body).map_err(|error| Wrong(format!("invariant 2: {error}")))?;
        }
        let mut shadow = Machine::new(config);
        for (position, body) in self.bodies.iter().enumerate() {
            shadow.apply(position as u64, body).map_err(|error| Wrong(format!("invariant 2: {error}")))?;
        }
        check!(machine.snapshot() == shadow.snapshot(), "invariant 2: a snapshot and the rest give another state");
        house.machine = machine;
        Ok(())
    }
}
