//! A world for a machine: a log in memory whose durability lags, an executor, a clock, crashes, all on a seed. After
//! each step it checks the invariants of the architecture (the numbers are those of its list).

#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use apex_machine::command::{
    CancelRun, Command, JobResult, Outcome, Overlap, PutSchedule, RegisterWorkflow, ReplayRun, ResolveApproval,
    Selector, StartRun, SupplyHistory, Timing,
};
use apex_machine::record::{NONE, split_records, verify_chain};
use apex_machine::render::{payload_json, type_name};
use apex_machine::{Config, Header, Job, Machine, Released, Reply, RunId, RunState, RunView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub const SECOND: i64 = 1_000_000_000;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// An event as a reader sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub name: &'static str,
    pub run_id: RunId,
    pub seq: u64,
    /// Of its record in the log. A turn's record holds several.
    pub position: u64,
    pub payload: Value,
}

impl Seen {
    pub fn node(&self) -> &str {
        self.payload["node"].as_str().unwrap_or_default()
    }
}

/// The events in a record: one, or the decisions of a turn.
pub fn read(position: u64, body: &[u8]) -> Vec<Seen> {
    let header = Header::parse(body).unwrap();
    let seen = |name, payload| Seen { name, run_id: header.run_id, seq: header.run_seq, position, payload };
    let name = type_name(header.event_type).unwrap();
    let payload: Value = serde_json::from_slice(&payload_json(body).unwrap()).unwrap();
    if name != "TurnRecorded" {
        return vec![seen(name, payload)];
    }
    let named = |name: &str| (0..=255).filter_map(type_name).find(|known| *known == name).unwrap();
    let decisions = payload["decisions"].as_array().unwrap().iter();
    decisions.map(|one| seen(named(one["type"].as_str().unwrap()), one["payload"].clone())).collect()
}

pub struct World {
    pub config: Config,
    pub machine: Machine,
    /// Replays what the machine records, one record behind nothing.
    pub shadow: Machine,
    pub log: Vec<Vec<u8>>,
    pub seen: Vec<Seen>,
    /// Input and config of every attempt that was handed out: they are the same after a crash.
    pub given: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
    pub durable: u64,
    pub now: i64,
    /// What the executor holds, by job id.
    pub jobs: BTreeMap<u64, Job>,
    pub asked_to_end: BTreeSet<u64>,
    pub replies: Vec<Reply>,
    pub done: Vec<(u64, u32)>,
    pub tokens: u64,
    /// Compare snapshots after each turn.
    pub compares: bool,
    /// Check the chain of each record and replay it.
    pub follows: bool,
}

impl World {
    pub fn new(config: Config) -> World {
        World {
            machine: Machine::new(config.clone()),
            shadow: Machine::new(config.clone()),
            config,
            log: Vec::new(),
            seen: Vec::new(),
            given: BTreeMap::new(),
            durable: 0,
            now: SECOND,
            jobs: BTreeMap::new(),
            asked_to_end: BTreeSet::new(),
            replies: Vec::new(),
            done: Vec::new(),
            tokens: 0,
            compares: true,
            follows: true,
        }
    }

    /// One turn, appended but not durable.
    pub fn turn(&mut self, commands: Vec<(u64, Command)>) -> (u32, bool) {
        let turn = self.machine.step(self.now, commands);
        let bodies = split_records(&turn.records).unwrap();
        assert_eq!(bodies.len(), turn.count as usize);
        for body in bodies {
            let position = self.log.len() as u64;
            if !self.follows {
                self.log.push(body.to_vec());
                self.seen.extend(read(position, body));
                continue;
            }
            let header = Header::parse(body).unwrap();
            let previous = self.log.iter().rev().find(|b| Header::parse(b).unwrap().run_id == header.run_id);
            let previous = previous.map_or([0; 32], |b| apex_machine::record::stored_hash(b).unwrap());
            verify_chain(&previous, body).unwrap();
            let is_earlier = header.causation == NONE || header.causation < header.run_seq;
            assert!(is_earlier, "what led to a record of a run comes before it: {header:?}");
            self.shadow.apply(position, body).unwrap();
            self.log.push(body.to_vec());
            self.seen.extend(read(position, body));
        }
        assert_eq!(turn.position, self.log.len() as u64, "invariant 3: positions are dense");
        if self.compares {
            let live = self.machine.snapshot();
            assert_eq!(live, self.shadow.snapshot(), "invariant 2: replay gives the same state");
            let restored = Machine::restore(self.config.clone(), &live).unwrap();
            assert_eq!(live, restored.snapshot(), "invariant 2: a snapshot gives the same state");
        }
        (turn.count, turn.more)
    }

    /// Some of the log becomes durable.
    pub fn sync(&mut self, position: u64) {
        self.durable = self.durable.max(position.min(self.log.len() as u64));
        let released = self.machine.advance(self.durable);
        self.take(released);
    }

    pub fn take(&mut self, released: Released) {
        for job in released.jobs {
            let name = if job.compensation { "CompensationRequested" } else { "ToolCallRequested" };
            let is_recorded = self.seen.iter().rev().any(|event| {
                event.position < self.durable
                    && event.name == name
                    && event.run_id == job.run_id
                    && event.node() == &*job.node
                    && event.payload["attempt"] == job.attempt
            });
            assert!(is_recorded, "invariant 1: no action before its event is durable");
            let key = format!("{} {} {} {:?} {}", job.run_id, job.node, job.attempt, job.kind, job.compensation);
            let given = (job.input.to_vec(), job.config.to_vec());
            let before = self.given.entry(key).or_insert_with(|| given.clone());
            assert_eq!(*before, given, "an attempt that is handed out again is given the same");
            assert!(self.jobs.insert(job.id, job).is_none());
        }
        self.asked_to_end.extend(released.cancels.iter().filter(|id| self.jobs.contains_key(id)));
        self.replies.extend(released.replies);
    }

    /// Turns until nothing is left to decide, all durable.
    pub fn settle(&mut self, commands: Vec<(u64, Command)>) {
        let mut commands = commands;
        for _ in 0..100_000 {
            let (_, more) = self.turn(std::mem::take(&mut commands));
            if !more {
                self.sync(u64::MAX);
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Sends one command and gives its reply.
    pub fn ask(&mut self, command: Command) -> Reply {
        self.tokens += 1;
        let token = self.tokens;
        self.settle(vec![(token, command)]);
        let at = self.replies.iter().position(|reply| reply.token == token).unwrap();
        self.replies.remove(at)
    }

    pub fn register(&mut self, definition: &str) {
        let definition = definition.as_bytes().to_vec();
        let reply = self.ask(Command::RegisterWorkflow(RegisterWorkflow { tenant: "t".into(), definition, tag: None }));
        if let Err(refusal) = &reply.outcome {
            panic!("{}: {}", refusal.message, String::from_utf8_lossy(&refusal.details));
        }
    }

    pub fn start_command(&self, workflow: &str, n: u64, key: &str, inputs: &str) -> StartRun {
        start_command(workflow, n, key, inputs)
    }

    pub fn start(&mut self, workflow: &str, n: u64, inputs: &str) -> RunId {
        let command = self.start_command(workflow, n, "", inputs);
        let reply = self.ask(Command::StartRun(Box::new(command)));
        reply.outcome.unwrap().run_id.unwrap()
    }

    pub fn job(&self, node: &str) -> Job {
        match self.jobs.values().find(|job| &*job.node == node) {
            Some(job) => job.clone(),
            None => panic!("no job for {node} among {:?}", self.jobs.values().map(|j| &j.node).collect::<Vec<_>>()),
        }
    }

    /// The executor answers.
    pub fn answer(&mut self, job: &Job, outcome: Outcome) {
        self.jobs.remove(&job.id);
        self.settle(vec![(0, Command::JobResult(JobResult { job: job.id, attempt: job.attempt, outcome }))]);
    }

    pub fn ok(&mut self, node: &str, value: &str) {
        let job = self.job(node);
        self.answer(&job, Outcome::Ok(value.as_bytes().to_vec()));
    }

    pub fn fail(&mut self, node: &str, kind: &str) {
        let job = self.job(node);
        self.answer(&job, failed(kind));
    }

    pub fn tick_at(&mut self, now: i64) {
        self.now = self.now.max(now);
        self.settle(vec![(0, Command::Tick)]);
    }

    /// Fires the next timer.
    pub fn tick_next(&mut self) {
        let due = self.machine.next_due().unwrap();
        self.tick_at(due);
    }

    pub fn view(&self, run: &RunId) -> RunView {
        self.machine.run("t", run).unwrap()
    }

    pub fn state(&self, run: &RunId) -> RunState {
        self.view(run).state
    }

    pub fn cancel(&mut self, run_id: RunId) -> Reply {
        self.ask(Command::CancelRun(CancelRun {
            tenant: "t".into(),
            run_id,
            reason: "enough".into(),
            compensate: true,
            by: "me".into(),
        }))
    }

    pub fn resolve(&mut self, ticket: &str, approve: bool) -> Reply {
        self.ask(Command::ResolveApproval(ResolveApproval {
            tenant: "t".into(),
            ticket: ticket.into(),
            approve,
            reason: "so".into(),
            edits: Some(b"{\"n\":1}".to_vec()),
            by: "me".into(),
        }))
    }

    pub fn events(&self, run: &RunId) -> Vec<&Seen> {
        self.seen.iter().filter(|event| event.run_id == *run).collect()
    }

    pub fn names(&self, run: &RunId) -> Vec<&'static str> {
        self.events(run).iter().map(|event| event.name).collect()
    }

    /// The history of a run as a file.
    pub fn history(&self, run: &RunId) -> Vec<u8> {
        let views = self.machine.workflows("t");
        let hashes: Vec<String> = views
            .iter()
            .map(|view| format!("sha256:{}", view.hash.map(|byte| format!("{byte:02x}")).concat()))
            .collect();
        let definitions: Vec<(&str, &str, &str, &[u8])> = views
            .iter()
            .zip(&hashes)
            .map(|(view, hash)| (&*view.name, &*view.version, hash.as_str(), &*view.definition))
            .collect();
        let mut file = apex_machine::history::header("test", run, "t", &definitions);
        for body in self.bodies(run) {
            file.extend_from_slice(&(body.len() as u32).to_le_bytes());
            file.extend_from_slice(body);
        }
        file
    }

    /// The records of a run.
    pub fn bodies(&self, run: &RunId) -> Vec<&[u8]> {
        self.log.iter().map(Vec::as_slice).filter(|body| Header::parse(body).unwrap().run_id == *run).collect()
    }

    /// The records of a run, as a caller reads them from the log.
    pub fn packed(&self, run: &RunId) -> Vec<u8> {
        let mut packed = Vec::new();
        for body in self.bodies(run) {
            packed.extend_from_slice(&(body.len() as u32).to_le_bytes());
            packed.extend_from_slice(body);
        }
        packed
    }

    pub fn replay_command(&self, origin: &RunId, n: u64, from: &str, live: bool) -> ReplayRun {
        ReplayRun {
            tenant: "t".into(),
            run_id: RunId::new_v7(9_000 + n, (n % 4) as u16, n),
            origin: *origin,
            from: from.into(),
            live,
            version: None,
            allow_writes: true,
            idempotency_key: String::new(),
            request_hash: [0; 32],
            history: self.packed(origin),
        }
    }

    /// Gives the runs that wait for it the history of their origins.
    pub fn supply(&mut self) {
        for (_, run_id, origin) in self.machine.histories_wanted() {
            let history = self.packed(&origin);
            self.settle(vec![(0, Command::SupplyHistory(SupplyHistory { run_id, history }))]);
        }
    }

    /// The process dies: what was not durable may be gone, down to a prefix that keeps what was. A new one starts.
    pub fn crash(&mut self, chance: &mut Chance) {
        let lost = chance.below(self.log.len() as u64 - self.durable + 1);
        let keep = self.log.len() - lost as usize;
        self.log.truncate(keep);
        self.seen.retain(|event| event.position < keep as u64);
        self.durable = keep as u64;
        self.config.term += 1;
        let mut machine = Machine::new(self.config.clone());
        let from_snapshot = chance.one_in(2);
        let snapshot_at = chance.below(keep as u64 + 1) as usize;
        for (position, body) in self.log.iter().enumerate() {
            if from_snapshot && position == snapshot_at {
                machine = Machine::restore(self.config.clone(), &machine.snapshot()).unwrap();
            }
            machine.apply(position as u64, body).unwrap();
        }
        self.machine = machine;
        self.shadow = Machine::new(self.config.clone());
        for (position, body) in self.log.iter().enumerate() {
            self.shadow.apply(position as u64, body).unwrap();
        }
        assert_eq!(self.machine.snapshot(), self.shadow.snapshot(), "invariant 2: a snapshot plus the rest");
        self.jobs.clear();
        self.asked_to_end.clear();
        self.done.clear();
        let released = self.machine.recovered();
        self.take(released);
    }
}

pub fn put_schedule(name: &str, timing: Timing, overlap: Overlap) -> PutSchedule {
    PutSchedule {
        tenant: "t".into(),
        name: name.into(),
        workflow: "w".into(),
        selector: Selector::Latest,
        inputs: b"{\"x\":2}".to_vec(),
        timing,
        jitter_ns: 0,
        overlap,
        catch_up_ns: 60 * SECOND,
        priority: apex_ir::ir::Priority::Medium,
        labels: Vec::new(),
        time_input: String::new(),
    }
}

pub fn failed(kind: &str) -> Outcome {
    Outcome::Failed { kind: kind.into(), message: "it broke".into(), retryable: None }
}

pub fn start_command(workflow: &str, n: u64, key: &str, inputs: &str) -> StartRun {
    StartRun {
        tenant: "t".into(),
        run_id: RunId::new_v7(1_000 + n, (n % 4) as u16, n),
        workflow: workflow.into(),
        selector: Selector::Latest,
        inputs: inputs.as_bytes().to_vec(),
        idempotency_key: key.into(),
        request_hash: [1; 32],
        correlation: "corr".into(),
        priority: apex_ir::ir::Priority::Medium,
        labels: vec![("k".into(), "v".into())],
        fidelity: None,
        goal: None,
        schedule: String::new(),
    }
}
