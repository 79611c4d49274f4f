//! What clients, executors and people do in a step.

use super::changes::compiles;
use super::durability::key_of;
use super::{PARTITIONS, SECOND, TENANT, World};
use crate::chance::Chance;
use crate::definition::{WORKFLOWS, definition};
use crate::edits::Draft;
use crate::house::Asked;
use crate::oracle::around::Published;
use crate::oracle::judge::{Decision, Told};
use crate::oracle::replays::Replay;
use crate::oracle::waiting::Sent;
use crate::wrong::Wrong;
use apex_machine::command::{
    CancelRun, ChangeSchedule, DropDeadLetter, Fidelity, Goal, Heartbeat, JobResult, Outcome, Overlap, PauseRun,
    Priority, PublishSignal, PutSchedule, RegisterWorkflow, ReplayRun, ResolveApproval, ResumeRun, ScheduleChange,
    Selector, SignalRun, StartRun, TagWorkflow, Timing,
};
use apex_machine::view::LetterFilter;
use apex_machine::{Command, Header, Job, JobKind, RunId, RunState};
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl World<'_> {
    pub(super) fn act(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        if self.disk.is_full() || self.disk.is_slow() {
            if chance.one_in(8) {
                self.catch_up()?;
            }
        } else if chance.one_in(40) && self.plan.has("disk") {
            self.coverage.fault("slow disk");
            self.disk.slow_down();
        }
        match chance.below(117) {
            0..14 => self.start(chance),
            14..46 => (0..1 + chance.below(4)).for_each(|_| self.executor(chance)),
            46..51 => self.late_results(chance),
            51..54 => self.cancel(chance),
            54..57 => self.signal(chance),
            57..62 => self.decide(chance),
            62 => self.resume_all(),
            63..76 => {
                self.now += chance.below(20) as i64 * SECOND;
                self.ask(None, Command::Tick);
            }
            76 => self.heartbeat(chance),
            77 => self.schedule(chance),
            78 => self.drop_letter(chance),
            79 => self.some_event(chance),
            80..84 => return self.rest(),
            84..88 => return self.snapshot(chance),
            88..91 => self.registry(chance)?,
            91..93 => self.nonsense(chance),
            93 => self.pause(chance),
            94 => self.replay(chance),
            95..101 => return self.fault(chance),
            101..112 => self.change(chance)?,
            _ => self.patch_workflows(chance),
        }
        if chance.one_in(6) {
            return Ok(());
        }
        self.turn()?;
        if chance.one_in(self.lag) {
            let turns = if chance.one_in(3) { 1 } else { usize::MAX };
            self.write(turns)?;
        }
        Ok(())
    }

    pub(super) fn register(&mut self, name: &str, changed: bool) -> Result<(), Wrong> {
        let version = self.versions.get(name).copied().unwrap_or(0) + 1;
        let mut draws = 0;
        loop {
            let seed = self.plan.seed ^ (draws << 40);
            let document = match draws {
                0..20 if version > 1 && version.is_multiple_of(2) => self.next_version(name, version, draws),
                0..200 => Some(definition(seed, name, version, &self.plan.without)),
                // So much is left out that nothing else compiles.
                _ => Some(json!({"name": name, "version": version.to_string(), "edges": [],
                    "nodes": [{"id": "n", "type": "join"}]})),
            };
            if let Some(document) = document.filter(compiles) {
                let definition = document.to_string().into();
                let command = RegisterWorkflow { tenant: TENANT.into(), definition, tag: None };
                self.documents.insert(name.into(), document);
                self.versions.insert(name.into(), version);
                self.ask(Some(Asked::Register), Command::RegisterWorkflow(command.clone()));
                if changed {
                    // Again is fine; another one under this version is not.
                    self.ask(Some(Asked::Register), Command::RegisterWorkflow(command));
                    let other = json!({"name": name, "version": version.to_string(), "edges": [],
                        "nodes": [{"id": "other", "type": "join"}]});
                    let definition = other.to_string().into_bytes();
                    let command = RegisterWorkflow { tenant: TENANT.into(), definition, tag: Some("main".into()) };
                    self.ask(Some(Asked::Register), Command::RegisterWorkflow(command));
                }
                return Ok(());
            }
            draws += 1;
        }
    }

    /// The version before, changed a little: runs may move to it.
    fn next_version(&self, name: &str, version: u64, draws: u64) -> Option<Value> {
        let mut chance = self.chance(name, (version << 8) | draws);
        let mut draft = Draft::of(self.documents.get(name)?.clone());
        let children = ["w2", "w1", "w0"].iter().position(|other| *other == name).unwrap_or(0) as u64;
        for at in 0..1 + chance.below(2) {
            draft.draw(&mut chance, &BTreeSet::new(), &format!("v{version}_{at}"), children);
        }
        let mut document = draft.document?;
        document["version"] = json!(version.to_string());
        Some(document)
    }

    pub(super) fn registry(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        let name = chance.of_these(&WORKFLOWS);
        if chance.one_in(2) {
            return self.register(name, chance.one_in(2));
        }
        let version = 1 + chance.below(self.versions[name] + 1);
        let tag = TagWorkflow {
            tenant: TENANT.into(),
            name: name.into(),
            version: version.to_string(),
            tag: chance.of_these(&["main", "canary"]).into(),
            expected_version: chance.one_in(3).then(|| "1".into()),
            arms: Vec::new(),
        };
        self.ask(Some(Asked::Tag), Command::TagWorkflow(tag));
        Ok(())
    }

    pub(super) fn start(&mut self, chance: &mut Chance) {
        if chance.one_in(4)
            && let Some(again) = chance.pick(&self.starts).cloned()
        {
            // A client that heard nothing asks again, with another id for the run or the same one.
            let mut again = again;
            // Of a run that has left the list nobody knows that its id was used; the gateway draws a new one each time.
            let may_repeat = self.config.limits.runs_ended_max > 10;
            if !may_repeat || chance.one_in(2) {
                again.run_id = self.run_id(chance);
            }
            if chance.one_in(4) {
                again.request_hash = [9; 32];
            }
            self.send_start(again);
            return;
        }
        let workflow = chance.of_these(&WORKFLOWS);
        let selector = match chance.below(6) {
            0 => Selector::Tag("main".into()),
            1 => Selector::Tag("canary".into()),
            2 => Selector::Version((1 + chance.below(self.versions[workflow])).to_string()),
            _ => Selector::Latest,
        };
        let to = self.some_run(chance).map_or_else(|| "nobody".into(), |run| run.to_string());
        let x = if chance.one_in(20) { json!("no") } else { json!(chance.below(4)) };
        let inputs = json!({"to": to, "x": x});
        let key = if chance.one_in(2) { format!("key{}", chance.below(4)) } else { String::new() };
        let goal = chance.one_in(6).then(|| Goal {
            text: "do it".into(),
            entities: b"[]".to_vec(),
            template: "do {NUMBER}".into(),
            source: "cache".into(),
            plan: b"{\"steps\":[]}".to_vec(),
        });
        let start = StartRun {
            tenant: TENANT.into(),
            run_id: self.run_id(chance),
            workflow: workflow.into(),
            selector,
            inputs: inputs.to_string().into_bytes(),
            idempotency_key: key,
            request_hash: [chance.below(2) as u8; 32],
            correlation: "c".into(),
            priority: Priority::Medium,
            labels: Vec::new(),
            fidelity: chance.one_in(3).then_some(Fidelity::Fast),
            goal,
            schedule: String::new(),
        };
        self.starts.push(start.clone());
        self.send_start(start);
    }

    pub(super) fn run_id(&self, chance: &mut Chance) -> RunId {
        let partition = chance.below(u64::from(PARTITIONS)) as u16;
        RunId::new_v7((self.now / 1_000_000) as u64, partition, chance.next())
    }

    pub(super) fn send_start(&mut self, start: StartRun) {
        // The first request with this id is the one whose run it is.
        self.ledger.starts.entry(start.run_id).or_insert_with(|| start.clone());
        self.ask(Some(Asked::Start(Box::new(start.clone()))), Command::StartRun(Box::new(start)));
    }

    /// An executor is done with a job, well or not.
    pub(super) fn executor(&mut self, chance: &mut Chance) {
        let held: Vec<u64> = self.house.jobs.keys().copied().collect();
        let Some(&id) = chance.pick(&held) else { return };
        let outcome = if self.house.asked_to_end.contains(&id) && chance.one_in(2) {
            Outcome::Cancelled { message: "asked to".into() }
        } else {
            self.outcome_of(id, chance)
        };
        self.tell(id, outcome, chance.one_in(12));
    }

    /// An executor says how far it is.
    fn heartbeat(&mut self, chance: &mut Chance) {
        let held: Vec<u64> = self.house.jobs.keys().copied().collect();
        let Some(job) = chance.pick(&held).and_then(|id| self.house.jobs.get(id)).cloned() else { return };
        let (id, attempt, done) = (job.id, job.attempt, chance.below(100));
        if !job.compensation && job.kind != JobKind::Correction {
            let beat = (job.node.to_string(), u64::from(attempt), json!(done));
            self.ledger.offers(job.run_id).beats.push(beat);
        }
        let progress = done.to_string().into_bytes();
        self.ask(None, Command::Heartbeat(Heartbeat { job: id, attempt, progress }));
    }

    /// Someone has looked at what failed for good.
    fn drop_letter(&mut self, chance: &mut Chance) {
        let letters = self.house.machine.dead_letters(TENANT, &LetterFilter::default(), 3, "").items;
        let id = chance.pick(&letters).map_or("no~letter".into(), |letter| letter.id.clone());
        let (by, retried_as) = ("me".into(), String::new());
        let command = DropDeadLetter { tenant: TENANT.into(), id, by, retried_as };
        self.ask(Some(Asked::DropLetter), Command::DropDeadLetter(command));
    }

    /// What comes of a job; a model proposes another input at times.
    pub(super) fn outcome_of(&mut self, job: u64, chance: &mut Chance) -> Outcome {
        let of_kind = |kind| self.house.jobs.get(&job).filter(|job| job.kind == kind);
        if let Some(agent) = of_kind(JobKind::Agent).cloned()
            && self.plan.has("patch")
            && (agent.patching.is_some() && !chance.one_in(3) || chance.one_in(12))
        {
            let output = self.outcome(chance);
            return if let Outcome::Ok(output) = output { self.advice(&agent, output, chance) } else { output };
        }
        let is_correction = of_kind(JobKind::Correction).is_some();
        match chance.below(4) {
            0 | 1 if is_correction => Outcome::Ok(json!({"input": {"x": 9}, "reason": "so"}).to_string().into_bytes()),
            2 if is_correction => Outcome::Ok(b"{\"input\":9}".to_vec()),
            _ => self.outcome(chance),
        }
    }

    pub(super) fn outcome(&mut self, chance: &mut Chance) -> Outcome {
        match chance.below(22) {
            0 | 1 => failed("Broken", None),
            2 => failed("Fatal", None),
            3 => failed("Once", Some(false)),
            4 => Outcome::TimedOut { message: "slow".into() },
            5 => Outcome::Cancelled { message: "stopped".into() },
            6 => {
                self.coverage.fault("result that is no value");
                Outcome::Ok(b"{\"v\":".to_vec())
            }
            7 => Outcome::Ok(json!({"v": "x".repeat(self.large)}).to_string().into_bytes()),
            8 => Outcome::Ok(b"{\"v\":\"text\"}".to_vec()),
            // Of a long one only what is read is kept.
            10 => Outcome::Ok(json!({"v": 2, "more": "x".repeat(400)}).to_string().into_bytes()),
            9 => Outcome::Ok(b"{\"v\":null}".to_vec()),
            _ => Outcome::Ok(format!("{{\"v\":{}}}", chance.below(5)).into_bytes()),
        }
    }

    /// Tells the machine of an outcome; the executor may tell it again.
    pub(super) fn tell(&mut self, id: u64, outcome: Outcome, again: bool) {
        let Some(job) = self.house.jobs.get(&id).cloned() else { return };
        self.house.told.push((id, job.attempt));
        if again {
            self.coverage.fault("result told twice");
        } else {
            self.house.jobs.remove(&id);
        }
        let mut told = told(&job, &outcome, self.large);
        told.patch = self.advised(&job, &outcome).filter(|_| told.status == "ok");
        self.ledger.offers(job.run_id).told.push_back(told);
        let asked = Asked::Result {
            run_id: job.run_id,
            node: key_of(&job).0,
            attempt: job.attempt,
            compensation: job.compensation,
        };
        self.ask(Some(asked), Command::JobResult(JobResult { job: id, attempt: job.attempt, outcome }));
    }

    /// Results of attempts that are over, or never were: they must change nothing (invariant 4).
    pub(super) fn late_results(&mut self, chance: &mut Chance) {
        let Some(&(job, attempt)) = chance.pick(&self.house.told) else { return };
        self.coverage.fault("result of an attempt that is over");
        for (job, attempt) in [(job, attempt), (job, attempt + 7), (job + 99, attempt)] {
            let outcome = Outcome::Ok(b"{\"v\":\"late\"}".to_vec());
            self.ask(None, Command::JobResult(JobResult { job, attempt, outcome }));
        }
    }

    pub(super) fn some_run(&self, chance: &mut Chance) -> Option<RunId> {
        let open: Vec<RunId> = self.ledger.open().map(|(id, _)| *id).collect();
        match chance.below(5) {
            0 => self.ledger.judges.keys().nth(chance.below(self.ledger.judges.len() as u64 + 1) as usize).copied(),
            _ => chance.pick(&open).copied(),
        }
    }

    pub(super) fn cancel(&mut self, chance: &mut Chance) {
        let run_id = self.some_run(chance).unwrap_or_else(|| self.run_id(chance));
        let compensate = !chance.one_in(3);
        self.ledger.offers(run_id).cancels.push_back(compensate);
        let (reason, by) = ("enough".into(), "me".into());
        let command = CancelRun { tenant: TENANT.into(), run_id, reason, compensate, by };
        self.ask(Some(Asked::Cancel(run_id)), Command::CancelRun(command));
    }

    pub(super) fn pause(&mut self, chance: &mut Chance) {
        let run_id = self.some_run(chance).unwrap_or_else(|| self.run_id(chance));
        if chance.one_in(3) {
            return self.resume(run_id);
        }
        self.ledger.offers(run_id).pauses += 1;
        let command = PauseRun { tenant: TENANT.into(), run_id, reason: "wait".into(), by: "me".into() };
        self.ask(Some(Asked::Pause(run_id)), Command::PauseRun(command));
    }

    pub(super) fn resume(&mut self, run_id: RunId) {
        self.ledger.offers(run_id).resumes += 1;
        let command = ResumeRun { tenant: TENANT.into(), run_id, by: "me".into() };
        self.ask(Some(Asked::Resume(run_id)), Command::ResumeRun(command));
    }

    pub(super) fn resume_all(&mut self) {
        let is_paused = |run_id: &RunId| {
            let view = self.house.machine.run(TENANT, run_id);
            view.is_some_and(|view| view.state == RunState::Paused)
        };
        let paused = self.ledger.open().map(|(id, _)| *id).filter(is_paused);
        paused.collect::<Vec<_>>().into_iter().for_each(|run_id| self.resume(run_id));
    }

    /// What a signal carries: no two carry the same.
    fn payload(&mut self, chance: &mut Chance) -> Value {
        self.tokens += 1;
        match chance.below(4) {
            0 => json!({"n": self.tokens}),
            1 => json!({"v": "text", "n": self.tokens}),
            _ => json!({"v": chance.below(4), "n": self.tokens}),
        }
    }

    pub(super) fn signal(&mut self, chance: &mut Chance) {
        let run_id = self.some_run(chance).unwrap_or_else(|| self.run_id(chance));
        let mut sent = Sent { name: signal_name(chance), payload: self.payload(chance), key: String::new() };
        if chance.one_in(3) {
            sent.key = format!("key{}", chance.below(3));
        }
        self.ledger.offers(run_id).signals.push(sent.clone());
        let payload = sent.payload.to_string().into_bytes();
        let (tenant, by) = (TENANT.into(), "me".into());
        let Sent { name, key, .. } = sent.clone();
        let command = SignalRun { tenant, run_id, name, payload, idempotency_key: key, by };
        self.ask(Some(Asked::Signal { run_id, sent }), Command::SignalRun(command));
    }

    fn some_event(&mut self, chance: &mut Chance) {
        let (name, payload) = (signal_name(chance), self.payload(chance));
        let key = if chance.one_in(3) { format!("all{}", chance.below(2)) } else { String::new() };
        self.publish(name, payload, key);
    }

    /// An event for all that wait for it.
    pub(super) fn publish(&mut self, name: String, payload: Value, key: String) {
        let command = PublishSignal {
            tenant: TENANT.into(),
            name: name.clone(),
            payload: payload.to_string().into_bytes(),
            idempotency_key: key.clone(),
            by: "me".into(),
        };
        self.ledger.shared.published.push(Published { name, payload, key, taken: BTreeSet::new() });
        self.ask(Some(Asked::Publish), Command::PublishSignal(command));
    }

    fn schedule(&mut self, chance: &mut Chance) {
        let name = chance.of_these(&["s0", "s1"]).to_owned();
        match chance.below(6) {
            0 => return self.change_schedule(name, ScheduleChange::Pause),
            1 => return self.change_schedule(name, ScheduleChange::Resume),
            2 => return self.change_schedule(name, ScheduleChange::Remove),
            _ => {}
        }
        let cron = Timing::Cron { expression: "* * * * *".into(), time_zone: String::new() };
        let put = PutSchedule {
            tenant: TENANT.into(),
            name,
            workflow: chance.of_these(&WORKFLOWS).into(),
            selector: if chance.one_in(3) { Selector::Tag("main".into()) } else { Selector::Latest },
            inputs: json!({"to": "nobody", "x": chance.below(4)}).to_string().into_bytes(),
            timing: if chance.one_in(4) { cron } else { Timing::Every((10 + chance.below(50) as i64) * SECOND) },
            jitter_ns: chance.below(3) as i64 * 4 * SECOND,
            overlap: [Overlap::Skip, Overlap::BufferOne, Overlap::Allow][chance.below(3) as usize],
            catch_up_ns: (1 + chance.below(60) as i64) * SECOND,
            priority: Priority::Medium,
            labels: Vec::new(),
            time_input: if chance.one_in(2) { "at".into() } else { String::new() },
        };
        self.ledger.schedules.offers.push(put.clone());
        self.ask(Some(Asked::Schedule), Command::PutSchedule(Box::new(put)));
    }

    pub(super) fn change_schedule(&mut self, name: String, change: ScheduleChange) {
        let command = ChangeSchedule { tenant: TENANT.into(), name, change };
        self.ask(Some(Asked::Schedule), Command::ChangeSchedule(command));
    }

    /// A run again, from one of its nodes on or all of it.
    fn replay(&mut self, chance: &mut Chance) {
        let at = chance.below(self.ledger.judges.len() as u64) as usize;
        let Some((origin, judge)) = self.ledger.judges.iter().nth(at) else { return };
        let nodes: Vec<&String> = judge.graph.nodes.keys().collect();
        let from = chance.pick(&nodes).map_or_else(String::new, |node| (*node).clone());
        let from = if chance.one_in(5) { String::new() } else { from };
        let live = chance.one_in(4);
        let kept = (!live).then(|| judge.kept_from(&from, &judge.graph));
        let (version, overlay) = (judge.programs.version.clone(), judge.programs.layers.clone());
        let (origin, started) = (*origin, &judge.history[0]);
        let start = StartRun {
            tenant: TENANT.into(),
            run_id: self.run_id(chance),
            workflow: started.text("workflow").into(),
            selector: Selector::Version(version),
            inputs: started.payload["inputs"].to_string().into_bytes(),
            idempotency_key: if chance.one_in(4) { format!("key{}", chance.below(4)) } else { String::new() },
            request_hash: [7; 32],
            correlation: String::new(),
            priority: Priority::Medium,
            labels: Vec::new(),
            fidelity: None,
            goal: None,
            schedule: String::new(),
        };
        let command = ReplayRun {
            tenant: TENANT.into(),
            run_id: start.run_id,
            origin,
            from: from.clone(),
            live,
            version: None,
            allow_writes: !chance.one_in(4),
            idempotency_key: start.idempotency_key.clone(),
            request_hash: start.request_hash,
            history: self.history_of(&origin),
        };
        self.ledger.replays.insert(start.run_id, Replay { origin, from, kept, overlay });
        self.ledger.starts.insert(start.run_id, start.clone());
        self.ask(Some(Asked::Start(Box::new(start))), Command::ReplayRun(Box::new(command)));
    }

    /// The durable records of a run, each after its length.
    pub(super) fn history_of(&self, run_id: &RunId) -> Vec<u8> {
        let mut packed = Vec::new();
        for body in &self.bodies[..self.ledger.position as usize] {
            if Header::parse(body).is_ok_and(|header| header.run_id == *run_id) {
                packed.extend_from_slice(&(body.len() as u32).to_le_bytes());
                packed.extend_from_slice(body);
            }
        }
        packed
    }

    /// People decide what runs wait for, or what they waited for once.
    pub(super) fn decide(&mut self, chance: &mut Chance) {
        for view in self.house.machine.approvals(TENANT, None, 4, "").items {
            if chance.one_in(2) {
                self.resolve(&view.ticket, chance.one_in(2), chance.one_in(3));
            }
        }
        if chance.one_in(4)
            && let Some((run_id, judge)) = self.ledger.judges.iter().nth(chance.below(6) as usize)
        {
            let asked = judge.history.iter().find(|h| h.name == "ApprovalRequested");
            let node = asked.map_or("n0", |h| h.text("node"));
            let ticket = format!("{run_id}~{node}");
            self.resolve(&ticket, chance.one_in(2), false);
        }
    }

    pub(super) fn resolve(&mut self, ticket: &str, approve: bool, edited: bool) {
        let edits = edited.then(|| b"{\"n\":1}".to_vec());
        let run_id = ticket.split_once('~').and_then(|(run, _)| RunId::parse(run));
        if let Some(run_id) = run_id {
            self.ledger.offers(run_id).decisions.push_back(Decision {
                instance: ticket.split_once('~').map(|(_, node)| node.to_owned()).unwrap_or_default(),
                approve,
                reason: "so".into(),
                edits: if edited { json!({"n": 1}) } else { Value::Null },
            });
        }
        let (reason, by) = ("so".into(), "me".into());
        let command = ResolveApproval { tenant: TENANT.into(), ticket: ticket.into(), approve, reason, edits, by };
        let asked = Asked::Resolve { ticket: ticket.into(), approve };
        self.ask(Some(asked), Command::ResolveApproval(command));
    }

    /// What no client should ask.
    pub(super) fn nonsense(&mut self, chance: &mut Chance) {
        let run_id = self.run_id(chance);
        self.ask(
            Some(Asked::Resolve { ticket: "no~ticket".into(), approve: true }),
            Command::ResolveApproval(ResolveApproval {
                tenant: TENANT.into(),
                ticket: "no~ticket".into(),
                approve: true,
                reason: String::new(),
                edits: None,
                by: String::new(),
            }),
        );
        let definition = b"{\"name\":\"w0\",\"version\":\"9\",\"nodes\":[],\"edges\":[1]}".to_vec();
        let command = RegisterWorkflow { tenant: TENANT.into(), definition, tag: None };
        self.ask(Some(Asked::Register), Command::RegisterWorkflow(command));
        let Some(mut start) = self.starts.first().cloned() else { return };
        start.idempotency_key = String::new();
        if chance.one_in(2) {
            start.run_id = RunId::new_v7(1, PARTITIONS + 1, 1);
        } else {
            start.run_id = run_id;
            start.workflow = "none".into();
        }
        self.ask(Some(Asked::Start(Box::new(start.clone()))), Command::StartRun(Box::new(start)));
    }
}

pub(super) fn failed(kind: &str, retryable: Option<bool>) -> Outcome {
    Outcome::Failed { kind: kind.into(), message: "it broke".into(), retryable }
}

fn signal_name(chance: &mut Chance) -> String {
    if chance.one_in(5) { format!("s{}", chance.below(4)) } else { "s".into() }
}

/// An outcome as it is to be recorded.
fn told(job: &Job, outcome: &Outcome, large: usize) -> Told {
    let (status, output, error, retryable) = match outcome {
        Outcome::Ok(bytes) | Outcome::Patched(bytes, _) if bytes.len() > large => {
            ("error", Value::Null, "LimitExceeded", false)
        }
        Outcome::Ok(bytes) | Outcome::Patched(bytes, _) => match serde_json::from_slice(bytes) {
            Ok(output) => ("ok", output, "", false),
            Err(_) => ("error", Value::Null, "ResultInvalid", false),
        },
        Outcome::Failed { kind, retryable, .. } => ("error", Value::Null, kind.as_str(), *retryable != Some(false)),
        Outcome::TimedOut { .. } => ("timeout", Value::Null, "Timeout", true),
        Outcome::Cancelled { .. } => ("cancelled", Value::Null, "Cancelled", false),
    };
    let (instance, _) = key_of(job);
    Told {
        instance,
        attempt: u64::from(job.attempt),
        compensation: job.compensation,
        status,
        output,
        error: error.into(),
        message: if let Outcome::TimedOut { message } = outcome { message.clone() } else { String::new() },
        retryable,
        patch: None,
    }
}
