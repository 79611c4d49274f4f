//! Other definitions for runs on their way: patches, patches dropped again, other versions. What must come of each can be
//! said beforehand, for before one is asked for all that was decided is durable.

use super::rest::TURNS_MAX;
use super::{TENANT, World};
use crate::chance::Chance;
use crate::edits::Draft;
use crate::house::Asked;
use crate::oracle::judge::Judge;
use crate::oracle::parts::Parts;
use crate::oracle::programs::{Fate, Patch, Wish};
use crate::wrong::{Wrong, check};
use apex_machine::command::{
    Allowed, ApplyPatch, Grant, MigrateRun, PatchRule, PatchRules, RegisterWorkflow, RollbackPatch, Selector,
};
use apex_machine::record::split_records;
use apex_machine::render::payload_json;
use apex_machine::{Answer, Command, Config, Machine, Refusal, RunId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
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
            Some(Fate::Made(_)) => Expected::Taken,
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
        match chance.below(8) {
            0..5 if self.plan.has("patch") => self.patch(chance)?,
            5 if self.plan.has("patch") => self.roll_back(chance),
            6 | 7 if self.plan.has("migration") => self.migrate(chance)?,
            _ => {}
        }
        Ok(())
    }

    fn wish(&mut self, run_id: RunId, wish: Wish, command: Command) {
        let expected = Expected::of(self.ledger.fate(&run_id, &wish, &compiles));
        self.ledger.offers(run_id).wishes.push(wish.clone());
        let was_at_rest = !self.house.more;
        self.ask(Some(Asked::Change { run_id, wish: Box::new(wish), expected, was_at_rest }), command);
    }

    fn patch(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        let Some(run_id) = self.some_run(chance) else { return Ok(()) };
        let document = self.read_definition(&run_id)?;
        let judge = &self.ledger.judges[&run_id];
        let epoch = judge.programs.epoch();
        self.read.insert((run_id, epoch), document.clone());
        // One that came later than others; one from a time to come.
        let before = chance.below(epoch + 1);
        let base_epoch = match chance.below(6) {
            0 => Some(epoch),
            1 | 2 if self.read.contains_key(&(run_id, before)) => Some(before),
            3 if chance.one_in(8) => Some(epoch + 1),
            _ => None,
        };
        let read = |epoch: Option<u64>| epoch.and_then(|epoch| self.read.get(&(run_id, epoch))).unwrap_or(&document);
        let mut draft = Draft::of(read(base_epoch).clone());
        let (begun, children) = (judge.begun(), children_of(judge));
        let mut grant = Grant::all();
        let is_forbidden = chance.one_in(12);
        if is_forbidden {
            let allowed = chance.one_in(3).then(|| FORBIDDEN.to_owned());
            grant.functions = Allowed::Only(allowed.into_iter().collect());
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
        // It may be called already: then there is nothing to forbid.
        let calls_it = self.ledger.judges[&run_id].programs.document().to_string().contains(FORBIDDEN);
        let is_forbidden = grant.functions == Allowed::Only(BTreeSet::new()) && !calls_it;
        let mut patch = Patch {
            operations: Value::Array(draft.operations),
            document: draft.document,
            base_epoch,
            key: if chance.one_in(4) { format!("key{}", chance.below(3)) } else { String::new() },
            is_forbidden,
        };
        let asked = self.patches.get(&run_id).filter(|_| chance.one_in(4));
        if let Some((again, its_grant)) = asked.cloned() {
            // A client that heard nothing asks again.
            let document = Draft::again(read(again.base_epoch).clone(), &again.operations).document;
            (patch, grant) = (Patch { document, is_forbidden: false, ..again }, its_grant);
        } else if !patch.key.is_empty() && !is_forbidden {
            self.patches.insert(run_id, (patch.clone(), grant.clone()));
        }
        let command = ApplyPatch {
            tenant: TENANT.into(),
            run_id,
            operations: patch.operations.to_string().into_bytes(),
            reason: "so".into(),
            author: "me".into(),
            base_epoch: patch.base_epoch.map(|epoch| epoch as u32),
            exact: false,
            idempotency_key: patch.key.clone(),
            rules: granting(grant),
        };
        self.wish(run_id, Wish::Patch(patch), Command::ApplyPatch(Box::new(command)));
        Ok(())
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
        let command = RollbackPatch { tenant: TENANT.into(), patch_id, reason, by, rules: granting(Grant::all()) };
        self.wish(run_id, Wish::RollBack { number }, Command::RollbackPatch(command));
    }

    fn migrate(&mut self, chance: &mut Chance) -> Result<(), Wrong> {
        let Some(run_id) = self.some_run(chance) else { return Ok(()) };
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
        answer: &Answer,
    ) -> Result<(), Wrong> {
        let programs = &self.ledger.judges[run_id].programs;
        let details: Value = serde_json::from_slice(&answer.details).unwrap_or_default();
        if answer.existing {
            check!(*expected != Expected::Taken, "it is something new");
        }
        if let Wish::Migrate { .. } = wish {
            check!(
                details["version"] == programs.version && details["epoch"] == programs.epoch(),
                "invariant 1: it runs {programs:?}"
            );
            return Ok(());
        }
        let id = details["patch_id"].as_str().unwrap_or_default();
        let number = id.strip_prefix(&format!("{run_id}~p")).and_then(|number| number.parse().ok());
        let layer = programs.layers.iter().find(|layer| Some(layer.number) == number);
        let layer = layer.ok_or_else(|| Wrong(format!("invariant 1: patch {id} is not durable")))?;
        let epoch = if let Wish::RollBack { .. } = wish { layer.dropped } else { Some(layer.epoch) };
        check!(details["epoch"] == json!(epoch), "invariant 1: patch {id} made epoch {epoch:?}");
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

/// Rules under which clients may what a grant says.
fn granting(grant: Grant) -> Arc<PatchRules> {
    let open = PatchRules::open();
    Arc::new(PatchRules { client: PatchRule { grant, ..open.client }, ..open })
}
