//! Other definitions for runs on their way: patches, patches dropped again, other versions. What must come of each can be
//! said beforehand, for before one is asked for all that was decided is durable.

use super::rest::TURNS_MAX;
use super::{TENANT, World};
use crate::chance::Chance;
use crate::edits::Draft;
use crate::house::Asked;
use crate::oracle::judge::Judge;
use crate::oracle::parts::Parts;
use crate::oracle::parts::changes;
use crate::oracle::patches::Patch;
use crate::oracle::programs::{Fate, Wish};
use crate::wrong::{Wrong, check};
use apex_machine::command::{
    Allowed, ApplyPatch, ApprovePatch, Grant, MigrateRun, Outcome, PatchPolicy, PatchRule, PatchRules,
    RegisterWorkflow, ResultPatch, RollbackPatch, Selector,
};
use apex_machine::record::split_records;
use apex_machine::render::payload_json;
use apex_machine::{Answer, Command, Config, Job, Machine, Refusal, RunId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// A function that authors may not call, mostly.
const FORBIDDEN: &str = "forbidden";

/// What is to come of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Taken,
    Standing,
    Refused(BTreeSet<&'static str>),
}

impl Expected {
    fn of(fate: Option<Fate>) -> Expected {
        match fate {
            None => Expected::Refused(BTreeSet::from(["RUN_NOT_FOUND"])),
            Some(Fate::Made(_) | Fate::Held(_) | Fate::Rejected) => Expected::Taken,
            Some(Fate::Stands) => Expected::Standing,
            Some(Fate::Refused(codes)) => Expected::Refused(codes),
        }
    }

    fn refuses_by(&self, code: &str) -> bool {
        matches!(self, Expected::Refused(codes) if codes.contains(code))
    }
}

/// How many of the last workflows a node of this one may run.
fn children_of(judge: &Judge) -> u64 {
    match judge.history[0].text("workflow") {
        "w0" => 2,
        "w1" => 1,
        _ => 0,
    }
}

impl World<'_> {
    pub(super) fn change(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        self.catch_up()?;
        self.turn()?;
        self.write(usize::MAX)?;
        // The one before is decided: a turn that is full leaves commands for the next one.
        for turns in 0.. {
            if !self.house.asked.values().any(|asked| matches!(asked, Asked::Change { .. })) {
                break;
            }
            check!(turns < TURNS_MAX, "nobody answers: {}", self.last_records());
            self.turn()?;
            self.write(usize::MAX)?;
        }
        match chance.below(12) {
            0..5 if self.plan.has("patch") => self.patch(chance)?,
            5 if self.plan.has("patch") => self.roll_back(chance),
            6..10 if self.plan.has("patch") => self.approve(chance),
            10 | 11 if self.plan.has("migration") => self.migrate(chance)?,
            _ => {}
        }
        Ok(())
    }

    fn wish(&mut self, run_id: RunId, wish: Wish, command: Command) {
        let expected = Expected::of(self.ledger.fate(&run_id, &wish, &compiles));
        self.ledger.offers(run_id).wish = Some(wish.clone());
        let was_at_rest = !self.house.more;
        self.ask(Some(Asked::Change { run_id, wish: Box::new(wish), expected, was_at_rest }), command);
    }

    fn patch(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        let Some(run_id) = self.run_to_change(chance) else { return Ok(()) };
        let document = Rc::new(self.read_definition(&run_id)?);
        let judge = &self.ledger.judges[&run_id];
        let epoch = judge.programs.epoch();
        self.read.insert((run_id, epoch), Rc::clone(&document));
        // One that came later than others; one from a time to come.
        let before = chance.below(epoch + 1);
        let base_epoch = match chance.below(6) {
            0 => Some(epoch),
            1 | 2 if self.read.contains_key(&(run_id, before)) => Some(before),
            3 if chance.one_in(8) => Some(epoch + 1),
            // What an agent gave, and is not decided yet, may make another one of what is in force.
            _ => self.house.more.then_some(epoch),
        };
        let read = |epoch: Option<u64>| epoch.and_then(|epoch| self.read.get(&(run_id, epoch))).unwrap_or(&document);
        let seen = Rc::clone(read(base_epoch));
        let mut draft = Draft::of((*seen).clone());
        let (begun, children) = (judge.begun(), children_of(judge));
        let rule = drawn_rule(chance);
        if rule.grant != Grant::all() && chance.one_in(2) {
            self.tokens += 1;
            draft.calls(FORBIDDEN, &format!("p{}", self.tokens));
        } else {
            for _ in 0..1 + chance.below(3) {
                self.tokens += 1;
                draft.draw(chance, &begun, &format!("p{}", self.tokens), children);
            }
            if chance.one_in(12) {
                draft.spoil(chance);
            }
        }
        let is_proved = chance.one_in(8);
        let mut patch = Patch {
            author: if is_proved { "optimizer:pass@1".into() } else { "me".into() },
            operations: Value::Array(draft.operations),
            seen,
            document: draft.document,
            base_epoch,
            exact: is_proved,
            key: if chance.one_in(4) { format!("key{}", chance.below(3)) } else { String::new() },
            rule,
        };
        let asked = self.patches.get(&run_id).filter(|_| chance.one_in(4));
        if let Some(again) = asked.cloned() {
            // A client that heard nothing asks again.
            let seen = Rc::clone(read(again.base_epoch));
            let document = Draft::again((*seen).clone(), &again.operations).document;
            patch = Patch { seen, document, ..again };
        } else if !patch.key.is_empty() {
            self.patches.insert(run_id, patch.clone());
        }
        if !changes_plainly(&patch.seen, patch.document.as_ref()) {
            return Ok(());
        }
        let command = ApplyPatch {
            tenant: TENANT.into(),
            run_id,
            operations: patch.operations.to_string().into_bytes(),
            reason: "so".into(),
            author: patch.author.clone(),
            base_epoch: patch.base_epoch.map(|epoch| epoch as u32),
            exact: patch.exact,
            idempotency_key: patch.key.clone(),
            rules: ruling(&patch.author, patch.rule.clone()),
        };
        self.wish(run_id, Wish::Patch(patch), Command::ApplyPatch(Box::new(command)));
        Ok(())
    }

    /// One for which a patch waits, at times: what becomes of that depends on what comes in between.
    fn run_to_change(&self, chance: &mut Chance) -> Option<RunId> {
        let judges = self.ledger.judges.iter();
        let waiting: Vec<RunId> =
            judges.filter(|(_, judge)| judge.waiting().next().is_some()).map(|(run_id, _)| *run_id).collect();
        chance.pick(&waiting).filter(|_| chance.one_in(2)).copied().or_else(|| self.some_run(chance))
    }

    /// A person decides about a patch that waits, or about another one.
    fn approve(&mut self, chance: &mut Chance) {
        let judges = || self.ledger.judges.iter();
        let waiting: Vec<(RunId, u64)> =
            judges().flat_map(|(run_id, judge)| judge.waiting().map(|number| (*run_id, number))).collect();
        let patched = judges().filter(|(_, judge)| judge.programs.last_number > 0);
        let any: Vec<(RunId, u64)> =
            patched.map(|(run_id, judge)| (*run_id, 1 + chance.below(judge.programs.last_number + 1))).collect();
        let one = if chance.one_in(5) { chance.pick(&any) } else { chance.pick(&waiting) };
        let Some(&(run_id, number)) = one else { return };
        let author = self.ledger.judges[&run_id].author_of(number);
        let mut rule = PatchRule { policy: PatchPolicy::Apply, grant: Grant::all() };
        if chance.one_in(3) {
            rule.grant.functions = Allowed::Only(BTreeSet::from([FORBIDDEN.to_owned()]));
        }
        let (approve, patch_id) = (!chance.one_in(4), format!("{run_id}~p{number}"));
        let wish = Wish::Decide { number, approve, grant: rule.grant.clone() };
        let (tenant, reason, by, rules) = (TENANT.into(), "well".into(), "boss".into(), ruling(&author, rule));
        let command = ApprovePatch { tenant, patch_id, approve, reason, by, rules };
        self.wish(run_id, wish, Command::ApprovePatch(command));
    }

    /// What an agent says beside its output, at times: how it would change its run. It may be told that it may not.
    pub(super) fn advice(&mut self, job: &Job, output: Vec<u8>, chance: &mut Chance) -> Outcome {
        let judge = &self.ledger.judges[&job.run_id];
        let (epoch, document) = match &job.patching {
            Some(shown) => (u64::from(shown.epoch), serde_json::from_slice(&shown.definition).unwrap_or_default()),
            None => (judge.programs.epoch(), (**judge.programs.document()).clone()),
        };
        let mut draft = Draft::of(document.clone());
        let (begun, children) = (judge.begun(), children_of(judge));
        let mut rule = drawn_rule(chance);
        if rule.grant != Grant::all() {
            rule.policy = PatchPolicy::Apply;
        }
        self.tokens += 1;
        let id = format!("p{}", self.tokens);
        match chance.below(6) {
            0..3 => draft.asks(&id, &job.node),
            3 if rule.grant != Grant::all() => draft.calls(FORBIDDEN, &id),
            _ => draft.draw(chance, &begun, &id, children),
        }
        if chance.one_in(12) {
            draft.spoil(chance);
        }
        let is_plain = changes_plainly(&document, draft.document.as_ref());
        let operations = match chance.below(16) {
            0 => json!({"no": "list"}),
            _ if !is_plain => return Outcome::Ok(output),
            _ => Value::Array(draft.operations),
        };
        let patch = ResultPatch {
            operations: operations.to_string().into_bytes(),
            reason: "it helps".into(),
            base_epoch: epoch as u32,
            rules: ruling("agent:", rule),
        };
        Outcome::Patched(output, Box::new(patch))
    }

    /// The patch in an outcome, as the oracle knows it.
    pub(super) fn advised(&self, job: &Job, outcome: &Outcome) -> Option<Box<Patch>> {
        let Outcome::Patched(_, patch) = outcome else { return None };
        let operations: Value = serde_json::from_slice(&patch.operations).ok()?;
        let seen: Value = match &job.patching {
            Some(shown) => serde_json::from_slice(&shown.definition).ok()?,
            None => (*self.ledger.judges[&job.run_id].programs.at(u64::from(patch.base_epoch))).clone(),
        };
        let document = Draft::again(seen.clone(), &operations).document.filter(|_| operations.is_array());
        Some(Box::new(Patch {
            author: format!("agent:{}", job.node),
            operations,
            seen: Rc::new(seen),
            document,
            base_epoch: Some(u64::from(patch.base_epoch)),
            exact: false,
            key: job.attempt.to_string(),
            rule: patch.rules.agent.clone(),
        }))
    }

    /// The definition that a run goes on under, as its clients read it.
    fn read_definition(&mut self, run_id: &RunId) -> Result<Value, Wrong> {
        let programs = &self.ledger.judges[run_id].programs;
        let (wanted, wanted_epoch) = (programs.document(), programs.epoch());
        // Of one that has ended nothing is read any more.
        let Ok((bytes, epoch)) = self.house.machine.definition_of(TENANT, run_id) else {
            return Ok((**wanted).clone());
        };
        let document: Value = serde_json::from_slice(&bytes).map_err(|error| Wrong(error.to_string()))?;
        check!(u64::from(epoch) == wanted_epoch, "run {run_id} is in epoch {epoch}, to be {wanted_epoch}");
        let is_it = Parts::of(&document) == Parts::of(wanted);
        check!(is_it, "invariant 7: run {run_id} goes on under {document}, to be {wanted}");
        Ok(document)
    }

    fn roll_back(&mut self, chance: &mut Chance) {
        let patched = self.ledger.judges.iter().filter(|(_, judge)| !judge.programs.layers.is_empty());
        let patched: Vec<(&RunId, &Judge)> = patched.collect();
        let Some(&(&run_id, judge)) = chance.pick(&patched) else { return };
        let last = judge.programs.layers.last().map_or(0, |layer| layer.number);
        let is_unknown = chance.one_in(8);
        let number = if is_unknown { last + 1 } else { 1 + chance.below(last) };
        let (reason, by, patch_id) = ("no".into(), "me".into(), format!("{run_id}~p{number}"));
        let rules = Arc::new(PatchRules::open());
        let command = RollbackPatch { tenant: TENANT.into(), patch_id, reason, by, rules };
        self.wish(run_id, Wish::RollBack { number }, Command::RollbackPatch(command));
    }

    fn migrate(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        let Some(run_id) = self.run_to_change(chance) else { return Ok(()) };
        let workflow = self.ledger.judges[&run_id].history[0].text("workflow").to_owned();
        if chance.one_in(2) {
            self.register(&workflow, false)?;
            self.turn()?;
            self.write(usize::MAX)?;
        }
        let versions = self.versions.get(&workflow).copied().unwrap_or(0);
        let selector = match chance.below(8) {
            0 => Selector::Tag("main".into()),
            1 | 2 => Selector::Latest,
            3..6 => Selector::Version(versions.to_string()),
            _ => Selector::Version((1 + chance.below(versions + 1)).to_string()),
        };
        let command = MigrateRun { tenant: TENANT.into(), run_id, selector: selector.clone(), by: "me".into() };
        self.wish(run_id, Wish::Migrate { selector }, Command::MigrateRun(command));
        Ok(())
    }

    /// A wish came true, or was true already.
    pub(super) fn wish_granted(
        &self,
        run_id: &RunId,
        wish: &Wish,
        expected: &Expected,
        was_at_rest: bool,
        answer: &Answer,
    ) -> Result<(), Wrong> {
        let judge = &self.ledger.judges[run_id];
        let programs = &judge.programs;
        let details: Value = serde_json::from_slice(&answer.details).unwrap_or_default();
        if answer.existing && *expected == Expected::Taken {
            // A tag may have moved meanwhile, by a batch of patches that was on its way.
            let now = Expected::of(self.ledger.fate(run_id, wish, &compiles));
            check!(!was_at_rest && now != Expected::Taken, "it is something new");
        }
        if let Wish::Migrate { .. } = wish {
            // An agent may have patched it since.
            let until = judge.history.iter().take_while(|h| h.offset <= answer.offset);
            let epoch = until.filter(|h| matches!(h.name, "PatchApplied" | "PatchRolledBack" | "RunMigrated")).count();
            let is_so = details["version"] == programs.version && details["epoch"] == epoch;
            check!(is_so, "invariant 1: it runs {} in epoch {epoch}", programs.version);
            return Ok(());
        }
        let id = details["patch_id"].as_str().unwrap_or_default();
        let number = id.strip_prefix(&format!("{run_id}~p")).and_then(|number| number.parse().ok());
        if let Some(held) = programs.held.iter().find(|held| Some(held.number) == number) {
            let state = if held.is_rejected { "REJECTED" } else { "PROPOSED" };
            check!(details["state"] == state && details["epoch"] == 0, "invariant 1: patch {id} is {state}");
            return Ok(());
        }
        let layer = programs.layers.iter().find(|layer| Some(layer.number) == number);
        let layer = layer.ok_or_else(|| Wrong(format!("invariant 1: patch {id} is not durable")))?;
        let (epoch, state) = match wish {
            Wish::RollBack { .. } => (layer.dropped, "ROLLED_BACK"),
            Wish::Patch(_) if layer.dropped.is_some() => (Some(layer.epoch), "ROLLED_BACK"),
            _ => (Some(layer.epoch), "APPLIED"),
        };
        check!(details["epoch"] == json!(epoch), "invariant 1: patch {id} made epoch {epoch:?}");
        check!(details["state"] == state, "invariant 1: patch {id} is {state}");
        Ok(())
    }

    /// A wish is refused as it must be.
    pub(super) fn wish_refused(
        &self,
        run_id: &RunId,
        wish: &Wish,
        expected: &Expected,
        was_at_rest: bool,
        refusal: &Refusal,
    ) -> Result<(), Wrong> {
        let now = Expected::of(self.ledger.fate(run_id, wish, &compiles));
        // Where the run was on its way it may have been asked at any moment between then and now.
        let fits = match was_at_rest {
            true => expected.refuses_by(refusal.code),
            false => *expected != Expected::Taken || now != Expected::Taken,
        };
        let judge = self.ledger.judges.get(run_id);
        let tail = || judge.map(|judge| format!("{}\n{}", judge.tail(), judge.programs.document()));
        check!(fits, "expected was {expected:?}, now {now:?}\n{}", tail().unwrap_or_default());
        Ok(())
    }

    /// What the machine says that runs go on under is what the oracle makes of version and patches, and gives the hash that
    /// is recorded, wherever it is compiled.
    pub(super) fn check_definitions(&mut self) -> Result<(), Wrong> {
        let changed = self.ledger.open().filter(|(_, judge)| judge.programs.epoch() > 0);
        for run_id in changed.map(|(run_id, _)| *run_id).collect::<Vec<_>>() {
            let document = self.read_definition(&run_id)?;
            let judge = &self.ledger.judges[&run_id];
            let recorded = judge.history.iter().rev().find_map(|h| match h.name {
                "PatchApplied" | "PatchRolledBack" => Some(h.text("definition_hash")),
                "RunMigrated" => Some(h.text("ir_hash")),
                _ => None,
            });
            let registered = registered(&document);
            let made = registered.as_ref().map(|event| event["hash"].as_str().unwrap_or_default());
            check!(made == recorded, "invariant 7: run {run_id} has {made:?}, recorded is {recorded:?}");
        }
        Ok(())
    }
}

/// What a machine records that is given a definition; `None`: it does not compile.
fn registered(document: &Value) -> Option<Value> {
    let definition = document.to_string().into_bytes();
    let command = RegisterWorkflow { tenant: TENANT.into(), definition, tag: None };
    let turn = Machine::new(Config::default()).step(0, vec![(1, Command::RegisterWorkflow(command))]);
    let records = split_records(&turn.records).ok()?;
    serde_json::from_slice(&payload_json(records.first()?).ok()?).ok()
}

/// Does this version of the compiler take a definition?
pub(super) fn compiles(document: &Value) -> bool {
    registered(document).is_some()
}

/// Whether what moves can be told in one way only: else nobody but the machine knows which of two neighbours did.
pub(super) fn changes_plainly(seen: &Value, document: Option<&Value>) -> bool {
    document.is_none_or(|document| changes(seen, document).1)
}

/// What becomes of patches of a kind of author, and what they may call.
fn drawn_rule(chance: &mut Chance) -> PatchRule {
    let policy = match chance.below(16) {
        0 => PatchPolicy::Refuse,
        1..6 => PatchPolicy::Approve,
        _ => PatchPolicy::Apply,
    };
    let mut grant = Grant::all();
    if chance.one_in(8) {
        let allowed = chance.one_in(3).then(|| FORBIDDEN.to_owned());
        grant.functions = Allowed::Only(allowed.into_iter().collect());
    }
    PatchRule { policy, grant }
}

/// One rule for the kind of an author; of the others there are no patches.
fn ruling(author: &str, rule: PatchRule) -> Arc<PatchRules> {
    let none = || PatchRule { policy: PatchPolicy::Refuse, grant: Grant::default() };
    let mut rules = PatchRules { client: none(), agent: none(), optimizer: none(), functions: None };
    match author.split_once(':') {
        Some(("agent", _)) => rules.agent = rule,
        Some(("optimizer", _)) => rules.optimizer = rule,
        _ => rules.client = rule,
    }
    Arc::new(rules)
}
