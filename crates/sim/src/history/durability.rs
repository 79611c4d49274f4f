//! Turns, what of them is durable, and what that releases: each action and answer must stand on durable events.

use super::changes::compiles;
use super::{PARTITIONS, World};
use crate::house::Asked;
use crate::oracle::judge::Happening;
use crate::oracle::programs::Wish;
use crate::oracle::run::{Phase, Work, job_key};
use crate::wrong::{Wrong, check};
use apex_machine::{Answer, Job, JobKind, Refusal, Released, Reply};
use serde_json::Value;
impl World<'_> {
    pub(super) fn turn(&mut self) -> Result<(), Wrong> {
        let commands = std::mem::take(&mut self.batch);
        let bodies = self.house.step(self.now, commands)?;
        self.bodies.extend(bodies);
        Ok(())
    }

    /// Some of what was decided becomes durable, and is judged.
    pub(super) fn write(&mut self, turns: usize) -> Result<(), Wrong> {
        let durable =
            self.house.write(turns).map_err(|error| Wrong(format!("the log failed on a good day: {error}")))?;
        if self.house.is_out_of_room() {
            self.coverage.fault("no room left");
        }
        self.judge(durable)?;
        self.release(durable)
    }

    pub(super) fn judge(&mut self, durable: u64) -> Result<(), Wrong> {
        check!(durable <= self.bodies.len() as u64, "more is durable than was decided: {durable}");
        while self.ledger.position < durable {
            let body = &self.bodies[self.ledger.position as usize];
            self.ledger.follow(body, &compiles, self.coverage)?;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, durable: u64) -> Result<(), Wrong> {
        let released = self.house.machine.advance(durable);
        self.take(released)
    }

    /// Actions and answers: each must stand on what is durable (invariant 1).
    pub(super) fn take(&mut self, released: Released) -> Result<(), Wrong> {
        for job in released.jobs {
            self.hand_out(job)?;
        }
        for id in released.cancels {
            self.house.asked_to_end.insert(id);
            if let Some(job) = self.house.jobs.get(&id) {
                let judge = &self.ledger.judges[&job.run_id];
                let key = key_of(job);
                let is_wanted =
                    !job.compensation && judge.run.phase == Phase::Running && judge.run.in_flight().contains(&key);
                check!(!is_wanted, "invariant 1: a cancel of {key:?}, which is wanted\n{}", judge.tail());
            }
        }
        for reply in released.replies {
            self.reply(reply)?;
        }
        for ended in released.ended {
            let judge = &self.ledger.judges[&ended.run_id];
            check!(judge.run.phase == Phase::Ended, "invariant 1: run {} is said to have ended", ended.run_id);
            let state = ended.state.as_str();
            check!(judge.run.state() == state, "run {} ended as {state}", ended.run_id);
        }
        Ok(())
    }

    pub(super) fn hand_out(&mut self, job: Job) -> Result<(), Wrong> {
        let judge = self.ledger.judges.get_mut(&job.run_id);
        let judge = judge.ok_or_else(|| Wrong(format!("invariant 1: {job:?} of a run that did not start")))?;
        let (node, attempt) = (job.node.to_string(), u64::from(job.attempt));
        let is_correction = job.kind == JobKind::Correction;
        let suffix = match job.compensation {
            true => "/undo",
            false if is_correction => "/correction",
            false => "",
        };
        let key = format!("{}/{node}{suffix}", job.run_id);
        check!(job.idempotency_key == key, "the key of {job:?} is to be {key}");
        let wanted = if job.compensation {
            let is_wanted = judge.run.undoing_in_flight() == Some((node.as_str(), attempt));
            check!(is_wanted, "invariant 1: {job:?} before its event is durable\n{}", judge.tail());
            judge.run.undoing.as_ref().map(|undoing| undoing.input.clone())
        } else {
            match judge.run.work(&node) {
                Some(Work::Job { attempt: current, input, corrects, .. })
                    if *current == attempt && corrects.is_some() == is_correction =>
                {
                    Some(input.clone()).filter(|input| !input.is_null() && !is_correction)
                }
                _ => return Err(Wrong(format!("invariant 1: {job:?} before its event is durable\n{}", judge.tail()))),
            }
        };
        let input: Value = serde_json::from_slice(&job.input).map_err(|error| Wrong(error.to_string()))?;
        check!(wanted.is_none_or(|wanted| wanted == input), "another input of {job:?}");
        let progress = judge.run.progress.get(&node).map_or_else(Vec::new, |value| value.to_string().into_bytes());
        check!(
            job.compensation || is_correction || *job.progress == *progress,
            "{job:?} does not know how far it was: {progress:?}"
        );
        let is_new = job.compensation || judge.handed_out.insert((job_key(&node, is_correction), attempt));
        check!(is_new, "{job:?} is handed out twice");
        let before = self.house.jobs.insert(job.id, job);
        check!(before.is_none(), "two jobs have one id: {before:?}");
        Ok(())
    }

    pub(super) fn reply(&mut self, reply: Reply) -> Result<(), Wrong> {
        let asked = self.house.asked.remove(&reply.token);
        let asked = asked.ok_or_else(|| Wrong(format!("an answer that nobody waits for: {reply:?}")))?;
        match &reply.outcome {
            Ok(answer) => self.answered(&asked, answer),
            Err(refusal) => {
                self.coverage.refusal(refusal.code);
                if let Asked::Change { wish, .. } = &asked {
                    self.coverage.limit(&refusal.message);
                    if matches!(**wish, Wish::Decide { .. }) {
                        self.coverage.patch(&format!("not approved {}", refusal.code));
                    }
                }
                self.refused(&asked, refusal)
            }
        }
        .map_err(|wrong| Wrong(format!("{asked:?} was answered {:?}: {wrong}", reply.outcome)))
    }

    pub(super) fn answered(&self, asked: &Asked, answer: &Answer) -> Result<(), Wrong> {
        let judge = answer.run_id.and_then(|run_id| self.ledger.judges.get(&run_id));
        if let Some(judge) = judge {
            let durable = judge.history.last().map_or(0, |last| last.offset);
            check!(answer.offset <= durable, "invariant 1: offset {} is not durable", answer.offset);
        }
        match asked {
            Asked::Start(start) => {
                let judge = judge.ok_or_else(|| Wrong("invariant 1: the run is not durable".into()))?;
                check!(answer.existing || answer.run_id == Some(start.run_id), "another run than was asked for");
                let Some(run_id) = answer.run_id.filter(|_| answer.existing) else { return Ok(()) };
                let hash = judge.history[0].text("request_hash");
                let key = judge.history[0].text("idempotency_key");
                check!(key == start.idempotency_key && !key.is_empty(), "invariant 4: run {run_id} has key {key:?}");
                let wanted: String = start.request_hash.iter().map(|byte| format!("{byte:02x}")).collect();
                check!(hash == format!("sha256:{wanted}") || hash.is_empty(), "invariant 4: of another request");
            }
            Asked::Cancel(_) => {
                let is_ending = judge.is_some_and(|judge| judge.run.phase != Phase::Running);
                check!(is_ending, "invariant 1: the run goes on");
            }
            Asked::Pause(_) => {
                let is_said = judge.is_some_and(|judge| judge.history.iter().any(|h| h.name == "RunPaused"));
                check!(is_said, "invariant 1: the pause is not durable");
            }
            Asked::Signal { run_id, sent } => {
                let said = |h: &&Happening| {
                    let is_it = h.payload["payload"] == sent.payload;
                    let has_key = !sent.key.is_empty() && h.text("idempotency_key") == sent.key;
                    h.name == "SignalReceived" && (is_it || answer.existing && has_key)
                };
                let is_said = judge.is_some_and(|judge| judge.history.iter().any(|h| said(&h)));
                check!(is_said, "invariant 1: the signal is not durable in run {run_id}");
            }
            Asked::Resolve { ticket, approve } => {
                let node = ticket.split_once('~').map_or("", |(_, node)| node);
                let judge = judge.ok_or_else(|| Wrong("of no run".into()))?;
                let decided =
                    judge.history.iter().rev().find(|h| h.name == "ApprovalResolved" && h.text("node") == node);
                let decision = if *approve { "approve" } else { "reject" };
                check!(decided.is_some_and(|h| h.text("decision") == decision), "invariant 1: it is not decided so");
            }
            Asked::Result { run_id, node, attempt, compensation } if !answer.existing => {
                let judge = &self.ledger.judges[run_id];
                let key = (node.clone(), u64::from(*attempt));
                let waits = if *compensation {
                    judge.run.undoing_in_flight() == Some((node.as_str(), key.1))
                } else {
                    judge.run.in_flight().contains(&key)
                };
                check!(!waits, "invariant 1: the result is not durable\n{}", judge.tail());
            }
            Asked::Change { run_id, wish, expected, was_at_rest } => {
                self.wish_granted(run_id, wish, expected, *was_at_rest, answer)?
            }
            Asked::Result { .. }
            | Asked::Publish
            | Asked::Schedule
            | Asked::PatchWorkflow
            | Asked::Register
            | Asked::Tag
            | Asked::DropLetter
            | Asked::Resume(_) => {}
        }
        Ok(())
    }

    pub(super) fn refused(&self, asked: &Asked, refusal: &Refusal) -> Result<(), Wrong> {
        let limits = &self.config.limits;
        let fits = match (asked, refusal.code) {
            (Asked::Start(start), "RUN_EXISTS") => self.ledger.judges.contains_key(&start.run_id),
            (Asked::Start(start), "IDEMPOTENCY_KEY_REUSED") => {
                self.ledger.keys.iter().any(|key| key.key == start.idempotency_key)
            }
            (Asked::Start(_), "LIMIT_EXCEEDED") => limits.runs_open_max < 10,
            (Asked::Start(start), "INPUTS_INVALID") => start.inputs.ends_with(b"\"no\"}"),
            (Asked::Start(start), "PARTITION_UNKNOWN") => start.run_id.partition() >= PARTITIONS,
            (Asked::Start(_), "WORKFLOW_NOT_FOUND") => true,
            (Asked::Start(start), "NODE_NOT_FOUND" | "WRITES_NOT_ALLOWED") => {
                self.ledger.replays.contains_key(&start.run_id)
            }
            (Asked::Start(start), "WRONG_STATE") => {
                let replay = self.ledger.replays.get(&start.run_id).filter(|replay| replay.kept.is_some());
                replay.is_some_and(|replay| self.ledger.judges[&replay.origin].is_fast)
            }
            (Asked::Schedule, "SCHEDULE_NOT_FOUND" | "SCHEDULE_INVALID" | "WORKFLOW_NOT_FOUND" | "LIMIT_EXCEEDED") => {
                true
            }
            (Asked::Pause(run_id), "WRONG_STATE") => {
                self.ledger.judges.get(run_id).is_some_and(|judge| judge.run.phase != Phase::Running)
            }
            (Asked::Signal { run_id, .. }, "WRONG_STATE") => {
                self.ledger.judges.get(run_id).is_some_and(|judge| judge.run.phase != Phase::Running)
            }
            (Asked::Signal { .. }, "LIMIT_EXCEEDED") => limits.signals_buffered_max < 10,
            (
                Asked::Cancel(run_id) | Asked::Pause(run_id) | Asked::Resume(run_id) | Asked::Signal { run_id, .. },
                "RUN_NOT_FOUND",
            ) => {
                let judge = self.ledger.judges.get(run_id);
                judge.is_none_or(|judge| judge.run.phase == Phase::Ended && limits.runs_ended_max < 10)
            }
            (
                Asked::Cancel(run_id) | Asked::Pause(run_id) | Asked::Resume(run_id) | Asked::Signal { run_id, .. },
                "RUN_ENDED",
            ) => self.ledger.judges.get(run_id).is_some_and(|judge| judge.run.phase == Phase::Ended),
            (Asked::Resolve { .. }, "TICKET_NOT_FOUND" | "TICKET_RESOLVED") => true,
            (Asked::Change { run_id, wish, expected, was_at_rest }, _) => {
                self.wish_refused(run_id, wish, expected, *was_at_rest, refusal)?;
                true
            }
            (Asked::Register, "WORKFLOW_EXISTS" | "WORKFLOW_INVALID") => true,
            (Asked::Tag, "WORKFLOW_NOT_FOUND" | "TAG_MOVED" | "VALUE_INVALID") => true,
            // What comes of one that is taken is judged; these say why one is not.
            (
                Asked::PatchWorkflow,
                "WORKFLOW_NOT_FOUND"
                | "IDEMPOTENCY_KEY_REUSED"
                | "PATCH_SHAPE_REFUSED"
                | "PATCH_NOT_FOUND"
                | "PATCH_CONFLICT"
                | "WRONG_STATE",
            ) => true,
            (Asked::DropLetter, "DEAD_LETTER_NOT_FOUND") => true,
            _ => false,
        };
        check!(fits, "it is not to be refused");
        Ok(())
    }
}

/// What a job is told by, and its attempt.
pub(super) fn key_of(job: &Job) -> (String, u64) {
    (job_key(&job.node, job.kind == JobKind::Correction), u64::from(job.attempt))
}
