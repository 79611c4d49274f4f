//! What the histories met: commands, events, refusals, faults, and transitions of runs, nodes and compensations.

use apex_machine::Command;
use apex_machine::render::type_name;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every command has to be named here, or this does not compile: as one that must have been sent, or as one that is
/// tried elsewhere.
macro_rules! commands {
    (sent: $($sent:ident)*; elsewhere: $($elsewhere:ident)*) => {
        /// Commands that must have been sent.
        pub const COMMANDS: &[&str] = &[$(stringify!($sent)),*];

        fn name_of(command: &Command) -> &'static str {
            match command {
                $(Command::$sent { .. } => stringify!($sent),)*
                $(Command::$elsewhere { .. } => stringify!($elsewhere),)*
            }
        }
    };
}

commands! {
    sent: RegisterWorkflow TagWorkflow StartRun ReplayRun SupplyHistory PutSchedule ChangeSchedule CancelRun PauseRun
        ResumeRun SignalRun PublishSignal ResolveApproval JobResult Heartbeat DropDeadLetter Erase Tick MigrateRun
        ApplyPatch ApprovePatch RollbackPatch PatchWorkflow UnpatchWorkflow;
    elsewhere:
}

/// Events that must have been recorded: all that there are.
pub fn events() -> impl Iterator<Item = &'static str> {
    (0..=u8::MAX).filter_map(type_name)
}

/// What must have become of patches on runs, by the kind of their author where that matters.
pub const PATCHES: &[&str] = &[
    "applied client",
    "applied optimizer",
    "applied agent",
    "proposed client",
    "proposed optimizer",
    "proposed agent",
    "approved client",
    "approved optimizer",
    "approved agent",
    "approved on another epoch",
    "rejected",
    "lapsed",
    "agent refused PATCH_SHAPE_REFUSED",
    "agent refused PATCH_MEANING_REFUSED",
    "agent refused PATCH_SECURITY_REFUSED",
    "agent refused PATCH_CONFLICT",
    "agent refused LIMIT_EXCEEDED",
    "agent refused WRONG_STATE",
    "over patches_per_run_max",
    "over proposals_per_run_max",
    "over agent_nodes_max",
    "over agent_depth_max",
    "not approved PATCH_SECURITY_REFUSED",
    "not approved PATCH_MEANING_REFUSED",
    "not approved PATCH_CONFLICT",
    "not approved PATCH_NOT_FOUND",
    "not approved WRONG_STATE",
    "not approved RUN_ENDED",
];

/// Faults that must have been met.
pub const FAULTS: &[&str] = &[
    "kill",
    "power loss",
    "power loss while writing",
    "power loss while opening",
    "failed sync",
    "failed write",
    "torn group cut off",
    "lost lease",
    "restored from a snapshot",
    "records lost that nobody was told of",
    "records kept that nobody was told of",
    "result of an attempt that is over",
    "result told twice",
    "result that is no value",
    "trimmed",
    "encrypted",
    "full disk",
    "full disk while opening",
    "no room left",
    "slow disk",
    "archived",
    "power loss while archiving",
];

/// Refusals that must have been given.
pub const REFUSALS: &[&str] = &[
    "WORKFLOW_NOT_FOUND",
    "WORKFLOW_EXISTS",
    "WORKFLOW_INVALID",
    "TAG_MOVED",
    "IDEMPOTENCY_KEY_REUSED",
    "INPUTS_INVALID",
    "RUN_NOT_FOUND",
    "RUN_ENDED",
    "RUN_EXISTS",
    "WRONG_STATE",
    "PARTITION_UNKNOWN",
    "TICKET_NOT_FOUND",
    "TICKET_RESOLVED",
    "LIMIT_EXCEEDED",
    "DEAD_LETTER_NOT_FOUND",
    "SCHEDULE_NOT_FOUND",
    "WRITES_NOT_ALLOWED",
    "VERSION_INCOMPATIBLE",
    "PATCH_SHAPE_REFUSED",
    "PATCH_MEANING_REFUSED",
    "PATCH_SECURITY_REFUSED",
    "PATCH_CONFLICT",
    "PATCH_STARTED",
    "PATCH_NOT_FOUND",
    "VALUE_INVALID",
];

/// From, event, to.
pub type Move = (String, String, String);

/// What was met, and how often.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// Commands sent.
    pub commands: BTreeMap<String, u64>,
    /// Durable events.
    pub events: BTreeMap<String, u64>,
    /// Codes of refusals given.
    pub refusals: BTreeMap<String, u64>,
    /// Faults met.
    pub faults: BTreeMap<String, u64>,
    /// What became of patches on runs.
    pub patches: BTreeMap<String, u64>,
    /// Transitions of runs.
    pub runs: BTreeMap<Move, u64>,
    /// Transitions of nodes.
    pub nodes: BTreeMap<Move, u64>,
    /// Transitions of compensations.
    pub steps: BTreeMap<Move, u64>,
    /// Histories.
    pub histories: u64,
    /// Durable records judged.
    pub records: u64,
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.into(), 1);
        }
    }
}

impl Coverage {
    pub(crate) fn command(&mut self, command: &Command) {
        count(&mut self.commands, name_of(command));
    }

    pub(crate) fn event(&mut self, name: &str) {
        count(&mut self.events, name);
        self.records += 1;
    }

    pub(crate) fn refusal(&mut self, code: &str) {
        count(&mut self.refusals, code);
    }

    pub(crate) fn fault(&mut self, name: &str) {
        count(&mut self.faults, name);
    }

    pub(crate) fn patch(&mut self, name: &str) {
        count(&mut self.patches, name);
    }

    /// A limit of patches, where a refusal names it.
    pub(crate) fn limit(&mut self, message: &str) {
        let name = message.split(" (").next().unwrap_or_default();
        if PATCHES.contains(&name) {
            self.patch(name);
        }
    }

    pub(crate) fn run_moved(&mut self, from: &str, event: &str, to: &str) {
        if from != to {
            *self.runs.entry((from.into(), event.into(), to.into())).or_default() += 1;
        }
    }

    pub(crate) fn node_moved(&mut self, from: &str, event: &str, to: &str) {
        *self.nodes.entry((from.into(), event.into(), to.into())).or_default() += 1;
    }

    pub(crate) fn step_moved(&mut self, from: &str, event: &str, to: &str) {
        *self.steps.entry((from.into(), event.into(), to.into())).or_default() += 1;
    }

    /// Adds what another one met.
    pub fn add(&mut self, other: Coverage) {
        fn sum<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
            from.into_iter().for_each(|(name, count)| *into.entry(name).or_default() += count);
        }
        sum(&mut self.commands, other.commands);
        sum(&mut self.events, other.events);
        sum(&mut self.refusals, other.refusals);
        sum(&mut self.faults, other.faults);
        sum(&mut self.patches, other.patches);
        sum(&mut self.runs, other.runs);
        sum(&mut self.nodes, other.nodes);
        sum(&mut self.steps, other.steps);
        self.histories += other.histories;
        self.records += other.records;
    }

    /// What must be met and was not; with the transitions of the committed table where they are given.
    #[must_use]
    pub fn missing(&self, transitions: &BTreeSet<Move>) -> Vec<String> {
        let mut missing: Vec<String> = Vec::new();
        let events: Vec<&str> = events().collect();
        for (what, names, met) in [
            ("command", COMMANDS, &self.commands),
            ("event", &events, &self.events),
            ("refusal", REFUSALS, &self.refusals),
            ("fault", FAULTS, &self.faults),
            ("patch", PATCHES, &self.patches),
        ] {
            let not_met = names.iter().filter(|name| !met.contains_key(**name));
            missing.extend(not_met.map(|name| format!("{what} {name}")));
        }
        let met = self.transitions();
        missing.extend(
            transitions.difference(&met).map(|(from, event, to)| format!("transition {from} --{event}--> {to}")),
        );
        missing
    }

    /// Every transition met.
    #[must_use]
    pub fn transitions(&self) -> BTreeSet<Move> {
        self.runs.keys().chain(self.nodes.keys()).chain(self.steps.keys()).cloned().collect()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let moves = |moves: &BTreeMap<Move, u64>| -> Vec<Value> {
            let rows = moves.iter();
            rows.map(|((from, event, to), count)| json!({"from": from, "event": event, "to": to, "count": count}))
                .collect()
        };
        json!({
            "histories": self.histories,
            "records": self.records,
            "commands": self.commands,
            "events": self.events,
            "refusals": self.refusals,
            "faults": self.faults,
            "patches": self.patches,
            "transitions": {"run": moves(&self.runs), "node": moves(&self.nodes), "compensation": moves(&self.steps)},
        })
    }
}
