//! Schedules, judged by what must hold: a time fires once, never early, after the one before, and what became of it is true.

use super::judge::{Happening, Judge, read_time};
use super::run::Phase;
use crate::wrong::{Wrong, check};
use apex_machine::RunId;
use apex_machine::command::{Overlap, PutSchedule, StartRun, Timing};
use serde_json::Value;
use std::collections::BTreeMap;

/// One schedule.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    put: PutSchedule,
    paused: bool,
    /// The time that fires next, and when it does; with jitter.
    next: i64,
    due: i64,
    buffered: Option<i64>,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    standing: BTreeMap<String, Schedule>,
    /// What was asked for.
    pub(crate) offers: Vec<PutSchedule>,
    /// The run of each time that fired.
    fired: BTreeMap<(String, i64), String>,
}

fn every(put: &PutSchedule) -> i64 {
    match put.timing {
        Timing::Every(every) => every,
        // Only every minute is drawn.
        Timing::Cron { .. } => 60 * super::definition::SECOND,
    }
}

impl Schedule {
    fn after(&self, time: i64) -> i64 {
        let every = every(&self.put);
        (time.div_euclid(every) + 1) * every
    }

    fn set(&mut self, h: &Happening, next: i64) -> Result<(), Wrong> {
        let have = h.payload["next"].as_str().and_then(read_time);
        check!(have == Some(next), "the next time is {have:?}, to be {next}");
        let due = h.due().unwrap_or(0);
        let late = next + self.put.jitter_ns.max(1);
        check!((next..late).contains(&due), "it is due at {due}, to be from {next} on, before {late}");
        (self.next, self.due) = (next, due);
        Ok(())
    }
}

impl Schedules {
    pub(crate) fn changed(&mut self, h: &Happening) -> Result<(), Wrong> {
        let name = h.text("name").to_owned();
        match h.text("change") {
            "put" => {
                let is_it = |put: &&PutSchedule| {
                    put.name == name
                        && put.workflow == h.text("workflow")
                        && put.overlap.as_str() == h.text("overlap")
                        && put.jitter_ns == h.payload["jitter_ns"]
                        && put.catch_up_ns == h.payload["catch_up_ns"]
                        && h.text("time_input") == put.time_input
                        && match &put.timing {
                            Timing::Every(every) => h.payload["every_ns"] == *every,
                            Timing::Cron { expression, .. } => h.text("cron") == expression,
                        }
                };
                let put = self.offers.iter().find(is_it).ok_or_else(|| Wrong("nobody asked for it".into()))?.clone();
                let paused = self.standing.get(&name).is_some_and(|standing| standing.paused);
                let mut schedule = Schedule { put, paused, next: 0, due: 0, buffered: None };
                let next = schedule.after(h.time);
                schedule.set(h, next)?;
                self.standing.insert(name, schedule);
            }
            "removed" => {
                let removed = self.standing.remove(&name);
                check!(removed.is_some(), "it is not there");
            }
            change => {
                let schedule = self.standing.get_mut(&name).ok_or_else(|| Wrong("it is not there".into()))?;
                check!(schedule.paused != (change == "paused"), "it is so already");
                schedule.paused = change == "paused";
                schedule.buffered = None;
                let next = schedule.after(h.time);
                schedule.set(h, next)?;
            }
        }
        Ok(())
    }

    /// The start that a schedule asks for, as its run says: of a time that is to fire now.
    pub(crate) fn start(&self, run_id: RunId, h: &Happening) -> Result<StartRun, Wrong> {
        let name = h.text("schedule");
        let schedule = self.standing.get(name).ok_or_else(|| Wrong(format!("there is no schedule {name}")))?;
        let key = h.text("idempotency_key").to_owned();
        let time = key.strip_prefix(&format!("schedule/{name}/")).and_then(read_time);
        let time = time.ok_or_else(|| Wrong(format!("{key} names no time of {name}")))?;
        let is_due = h.time >= schedule.due && time == schedule.next;
        check!(!schedule.paused, "{name} is paused");
        check!(is_due || schedule.buffered == Some(time), "it is not the time for {time}: {schedule:?}");
        let mut inputs: Value = serde_json::from_slice(&schedule.put.inputs).unwrap_or_default();
        if !schedule.put.time_input.is_empty() {
            inputs[&schedule.put.time_input] = apex_machine::render::time(time).into();
        }
        let put = schedule.put.clone();
        Ok(StartRun {
            tenant: put.tenant,
            run_id,
            workflow: put.workflow,
            selector: put.selector,
            inputs: inputs.to_string().into_bytes(),
            idempotency_key: key,
            request_hash: [0; 32],
            correlation: String::new(),
            priority: put.priority,
            labels: Vec::new(),
            fidelity: None,
            goal: None,
            schedule: name.into(),
        })
    }

    /// A time is settled.
    pub(crate) fn fired(
        &mut self,
        h: &Happening,
        judges: &BTreeMap<RunId, Judge>,
        is_tight: bool,
    ) -> Result<(), Wrong> {
        let name = h.text("name");
        let time = h.payload["time"].as_str().and_then(read_time).unwrap_or(0);
        let run = h.text("run").to_owned();
        let mine = |judge: &&Judge| judge.history[0].text("schedule") == name;
        let key = format!("schedule/{name}/{}", apex_machine::render::time(time));
        let of_it = judges.values().filter(mine).find(|judge| judge.history[0].text("idempotency_key") == key);
        let others = judges
            .values()
            .filter(mine)
            .filter(|judge| judge.run.phase != Phase::Ended && judge.history[0].text("idempotency_key") != key);
        let open = others.count();
        let schedule = self.standing.get_mut(name).ok_or_else(|| Wrong("it is not there".into()))?;
        check!(!schedule.paused, "it is paused");
        let from_buffer = schedule.buffered == Some(time) && time != schedule.next;
        check!(from_buffer || (time == schedule.next && h.time >= schedule.due), "{time} is not due: {schedule:?}");
        let action = h.text("action");
        let is_late = schedule.due < h.time - schedule.put.catch_up_ns && !from_buffer;
        check!((action == "missed") == is_late, "whether it is too late is wrong: {schedule:?}");
        match action {
            "started" => {
                let judge = of_it.ok_or_else(|| Wrong("invariant 1: its run did not start".into()))?;
                check!(judge.run.id.to_string() == run, "its run is {}", judge.run.id);
                let may = open == 0 || schedule.put.overlap == Overlap::Allow;
                check!(may || judge.history[0].time < h.time, "{open} others are open");
                let before = self.fired.insert((name.into(), time), run);
                check!(before.is_none(), "invariant 5: {time} fires twice, before as {before:?}");
            }
            "skipped" | "buffered" => {
                check!(of_it.is_none(), "invariant 4: a run of {time} started");
                check!(open > 0, "none of its runs is open");
                let buffers = schedule.put.overlap == Overlap::BufferOne && schedule.buffered.is_none();
                check!(schedule.put.overlap != Overlap::Allow, "its runs may overlap");
                check!((action == "buffered") == buffers, "it is to be buffered: {buffers}");
            }
            "failed" => check!(is_tight || h.error_type() != "LIMIT_EXCEEDED", "it is within the limits"),
            _ => check!(action == "missed", "it does not say what became of it"),
        }
        if from_buffer {
            schedule.buffered = None;
            let have = h.payload["next"].as_str().and_then(read_time);
            check!(have == Some(schedule.next), "the next time stays {}", schedule.next);
            return Ok(());
        }
        if action == "buffered" {
            schedule.buffered = Some(time);
        }
        let from = if is_late { time.max(h.time - schedule.put.catch_up_ns - 1) } else { time };
        let next = schedule.after(from);
        schedule.set(h, next)
    }

    /// When the next one is due.
    pub(crate) fn due(&self, judges: &BTreeMap<RunId, Judge>) -> Option<i64> {
        let standing = self.standing.iter().filter(|(_, schedule)| !schedule.paused);
        let dues = standing.map(|(name, schedule)| {
            let is_open = |judge: &Judge| judge.history[0].text("schedule") == name && judge.run.phase != Phase::Ended;
            match schedule.buffered {
                Some(_) if !judges.values().any(is_open) => 1,
                _ => schedule.due,
            }
        });
        dues.min()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.standing.keys().cloned().collect()
    }
}
