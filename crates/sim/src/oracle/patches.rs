//! Patches on one run (docs/decisions/0017): of clients, of passes, and of agents in their results; held for a person,
//! let through, rejected, dropped again.

use super::around::Around;
use super::definition::Graph;
use super::judge::{Happening, Judge};
use super::parts::{Change, Parts, changes, conflict};
use super::programs::{Beside, Fate, Layer, Made, Wish, materialized, refused};
use super::run::{Phase, split};
use crate::coverage::Coverage;
use crate::wrong::{Wrong, check};
use apex_machine::command::{Allowed, Grant, PatchPolicy, PatchRule};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

/// A patch that was offered.
#[derive(Clone)]
pub(crate) struct Patch {
    /// `agent:<path>` of the node that gives it in its result, `optimizer:…`, or a client.
    pub(crate) author: String,
    pub(crate) operations: Value,
    /// The definition that its author saw, as it was shown.
    pub(crate) seen: Rc<Value>,
    /// What its author wants of it; `None`: an operation does not fit.
    pub(crate) document: Option<Value>,
    /// As asked for; `None`: the one in force.
    pub(crate) base_epoch: Option<u64>,
    /// For that epoch only.
    pub(crate) exact: bool,
    pub(crate) key: String,
    /// What becomes of its author's patches, and what they may.
    pub(crate) rule: PatchRule,
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {} on epoch {:?}", self.operations, self.author, self.base_epoch)
    }
}

/// A patch that waits for a person, or that one has rejected.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) number: u64,
    changes: Rc<Vec<Change>>,
    /// In which it passed the gates.
    pub(super) epoch: u64,
    asked: Rc<Patch>,
    pub(crate) is_rejected: bool,
}

/// The node that an author is; `None`: it is no agent.
pub(crate) fn node_of(author: &str) -> Option<&str> {
    author.strip_prefix("agent:")
}

/// Functions that a definition calls, to do something or to undo it.
fn functions(document: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    Graph::of(document).each_node(&mut |node| {
        let name = node.config["name"].as_str().filter(|_| node.kind == "function").map(Into::into);
        names.extend(name.into_iter().chain(node.compensation.as_ref().map(|undo| undo.name.clone())));
    });
    names
}

/// Whether a definition calls a function that the one before does not call, and that a grant does not name.
fn reaches_more(before: &Value, after: &Value, grant: &Grant) -> bool {
    match &grant.functions {
        Allowed::Any => false,
        Allowed::Only(names) => !functions(after).is_subset(&functions(before).union(names).cloned().collect()),
    }
}

impl Judge {
    /// Patches that were taken or held: author, key, what was asked.
    fn keyed(&self) -> impl Iterator<Item = &Rc<Patch>> {
        let layers = self.programs.layers.iter().filter(|layer| layer.number > 0).map(|layer| &layer.asked);
        layers.chain(self.programs.held.iter().map(|held| &held.asked))
    }

    /// What was taken of an author under a key.
    fn standing(&self, author: &str, key: &str) -> Option<&Rc<Patch>> {
        self.keyed().find(|asked| !key.is_empty() && asked.author == author && asked.key == key)
    }

    pub(super) fn fate_of_patch(&self, patch: &Patch, beside: Beside<'_>) -> Fate {
        let programs = &self.programs;
        if let Some(asked) = self.standing(&patch.author, &patch.key) {
            let is_same = asked.operations == patch.operations && asked.base_epoch == patch.base_epoch;
            return if is_same { Fate::Stands } else { refused("IDEMPOTENCY_KEY_REUSED") };
        }
        let mut codes = self.agent_may_not(patch);
        if patch.rule.policy == PatchPolicy::Refuse {
            codes.insert("PATCH_SECURITY_REFUSED");
        }
        if self.is_fixed(beside) {
            codes.insert("WRONG_STATE");
        }
        if !codes.is_empty() {
            return Fate::Refused(codes);
        }
        let base_epoch = patch.base_epoch.unwrap_or(programs.epoch());
        let is_late = patch.exact && base_epoch < programs.epoch();
        if base_epoch > programs.epoch() || base_epoch < programs.migrated || is_late {
            return refused("PATCH_CONFLICT");
        }
        let Some(wanted) = &patch.document else { return refused("PATCH_SHAPE_REFUSED") };
        // Another order is another definition, although the parts are the same.
        if *wanted == *patch.seen || wanted["name"] != programs.base["name"] || !(beside.compiles)(wanted) {
            return refused("PATCH_MEANING_REFUSED");
        }
        let (changes, _) = changes(&patch.seen, wanted);
        if self.has_enough(patch, &changes, beside) {
            codes.insert("LIMIT_EXCEEDED");
        }
        let layer = Layer {
            number: programs.last_number + 1,
            changes: Rc::new(changes),
            epoch: base_epoch,
            dropped: None,
            asked: Rc::new(patch.clone()),
        };
        self.laid(layer, &patch.rule.grant, codes, beside)
    }

    /// Why a node may not patch its run, or not any more.
    fn agent_may_not(&self, patch: &Patch) -> BTreeSet<&'static str> {
        let mut codes = BTreeSet::new();
        let Some(instance) = node_of(&patch.author) else { return codes };
        let (prefix, id) = split(instance);
        if self.run.is_given_up(prefix) || self.run.is_doomed(instance) {
            codes.insert("WRONG_STATE");
        }
        let place = self.run.place(instance).ok();
        if !place.is_some_and(|(graph, _)| graph.nodes[id].config["may_patch"] == true) {
            codes.insert("PATCH_SECURITY_REFUSED");
        }
        codes
    }

    /// Whether a run has enough patches, or an agent has.
    fn has_enough(&self, patch: &Patch, changes: &[Change], beside: Beside<'_>) -> bool {
        let (programs, limits) = (&self.programs, beside.limits);
        let waiting = programs.held.iter().filter(|held| !held.is_rejected);
        let is_held = patch.rule.policy == PatchPolicy::Approve;
        if programs.layers.len() + programs.held.len() >= limits.patches_per_run_max
            || (is_held && waiting.clone().count() >= limits.proposals_per_run_max)
        {
            return true;
        }
        let Some(instance) = node_of(&patch.author) else { return false };
        let agent = split(instance).1;
        // By agents: those in force, and those that may come into force.
        let in_force = programs.layers.iter().filter(|layer| layer.number > 0 && layer.dropped.is_none());
        let by_agents = |asked: &Patch| Some(split(node_of(&asked.author)?).1.to_owned());
        let in_force: Vec<(String, &Rc<Vec<Change>>)> =
            in_force.filter_map(|layer| Some((by_agents(&layer.asked)?, &layer.changes))).collect();
        let waiting = waiting.filter_map(|held| Some((by_agents(&held.asked)?, &held.changes)));
        let counted: Vec<(String, &Rc<Vec<Change>>)> = in_force.iter().cloned().chain(waiting).collect();
        let added = |changes: &[Change]| changes.iter().filter_map(Change::adds).count();
        let before: usize = counted.iter().filter(|(by, _)| by == agent).map(|(_, changes)| added(changes)).sum();
        let adds_agent = changes.iter().filter_map(Change::adds).any(|node| node["type"] == "agent");
        // Who has begun is in force, by the last patch that added it.
        let above = |id: &&str| {
            let adds = |changes: &[Change]| changes.iter().filter_map(Change::adds).any(|node| node["id"] == **id);
            in_force.iter().rev().find(|(_, changes)| adds(changes)).map(|(by, _)| &**by)
        };
        // The agent itself, the one whose patch added it, and so on.
        let depth = std::iter::successors(Some(agent), above).take(counted.len() + 1).count();
        before + added(changes) > limits.agent_nodes_max || (adds_agent && depth > limits.agent_depth_max)
    }

    /// What comes of changes that were made on an older epoch, that of the layer, or on the one in force.
    fn laid(&self, layer: Layer, grant: &Grant, mut codes: BTreeSet<&'static str>, beside: Beside<'_>) -> Fate {
        let programs = &self.programs;
        let base = layer.epoch;
        let since = |other: &&Layer| other.epoch > base || other.dropped.is_some_and(|epoch| epoch > base);
        if programs.layers.iter().filter(since).any(|other| conflict(&layer.changes, &other.changes)) {
            codes.insert("PATCH_CONFLICT");
        }
        let mut layers = programs.layers.clone();
        let held = Held {
            number: layer.number,
            changes: Rc::clone(&layer.changes),
            epoch: programs.epoch(),
            asked: Rc::clone(&layer.asked),
            is_rejected: false,
        };
        let is_decided = programs.held.iter().any(|held| held.number == layer.number);
        let is_held = layer.asked.rule.policy == PatchPolicy::Approve && !is_decided;
        layers.push(Layer { epoch: programs.epoch() + 1, ..layer });
        let made = materialized(&programs.base, &layers).filter(|document| (beside.compiles)(document));
        let Some(document) = made else {
            codes.insert("PATCH_CONFLICT");
            return Fate::Refused(codes);
        };
        if reaches_more(programs.document(), &document, grant) {
            codes.insert("PATCH_SECURITY_REFUSED");
        }
        match self.misfit(&document) {
            _ if !codes.is_empty() => Fate::Refused(codes),
            Some(_) => refused("PATCH_MEANING_REFUSED"),
            None if is_held => Fate::Held(Box::new(held)),
            None => Fate::Made(Box::new(Made { document, layers, version: None })),
        }
    }

    /// What comes of a decision about a patch that was held.
    pub(super) fn fate_of_decision(&self, number: u64, approve: bool, grant: &Grant, beside: Beside<'_>) -> Fate {
        let programs = &self.programs;
        let Some(held) = programs.held.iter().find(|held| held.number == number) else {
            let is_taken = number > 0 && programs.layers.iter().any(|layer| layer.number == number);
            return match is_taken {
                true if approve => Fate::Stands,
                false if !(1..=programs.last_number).contains(&number) => refused("PATCH_NOT_FOUND"),
                // Rejected it cannot be any more; and one that was refused at once never waited.
                _ => refused("WRONG_STATE"),
            };
        };
        match (held.is_rejected, approve) {
            (true, true) => return refused("WRONG_STATE"),
            (true, false) => return Fate::Stands,
            (false, false) => return Fate::Rejected,
            (false, true) => {}
        }
        if self.is_fixed(beside) {
            return refused("WRONG_STATE");
        }
        let is_proved = held.asked.author.starts_with("optimizer:");
        if held.epoch < programs.migrated || (is_proved && held.epoch < programs.epoch()) {
            return refused("PATCH_CONFLICT");
        }
        let layer = Layer {
            number,
            changes: Rc::clone(&held.changes),
            epoch: held.epoch,
            dropped: None,
            asked: Rc::clone(&held.asked),
        };
        self.laid(layer, grant, BTreeSet::new(), beside)
    }

    pub(super) fn fate_of_rollback(&self, number: u64, beside: Beside<'_>) -> Fate {
        let mut layers = self.programs.layers.clone();
        let found = layers.iter().position(|layer| layer.number == number && number > 0);
        let Some(at) = found else { return refused("PATCH_NOT_FOUND") };
        if layers[at].dropped.is_some() {
            return Fate::Stands;
        }
        if self.is_fixed(beside) {
            return refused("WRONG_STATE");
        }
        let stands = |layer: &&Layer| layer.dropped.is_none() && conflict(&layers[at].changes, &layer.changes);
        if layers[at + 1..].iter().any(|layer| stands(&layer)) {
            return refused("PATCH_CONFLICT");
        }
        layers[at].dropped = Some(self.programs.epoch() + 1);
        match materialized(&self.programs.base, &layers).filter(|document| (beside.compiles)(document)) {
            Some(document) => self.if_it_fits(document, layers, None, "PATCH_STARTED"),
            None => refused("PATCH_CONFLICT"),
        }
    }

    /// The patch in a result that an event is about: it is decided before the result, and once.
    pub(super) fn patch_told(&mut self, h: &Happening, instance: &str) -> Result<Wish, Wrong> {
        let is_it = |patch: &Patch| patch.operations == h.payload["patch"];
        let told = self.offers.told.iter_mut();
        let mut told = told.filter(|told| told.instance == instance && told.status == "ok" && !told.compensation);
        let told = told.find(|told| told.patch.as_deref().is_some_and(is_it));
        let (told, attempt) = told.map(|told| (told.patch.take(), told.attempt)).unzip();
        let patch = *told.flatten().ok_or_else(|| Wrong(format!("{instance} gave no such patch")))?;
        let is_current = attempt.is_some_and(|attempt| self.run.in_flight().contains(&(instance.into(), attempt)));
        check!(is_current, "invariant 4: it is of an attempt that is over");
        let base_epoch = patch.base_epoch.unwrap_or(0);
        let was_shown =
            base_epoch <= self.programs.epoch() && Parts::of(&patch.seen) == Parts::of(self.programs.at(base_epoch));
        check!(was_shown, "invariant 7: {instance} was shown {} as that of epoch {base_epoch}", patch.seen);
        self.answering = Some(instance.to_owned());
        Ok(Wish::Patch(patch))
    }

    /// A patch is decided before the result that it came with, but for one of an attempt that gave another one before a
    /// crash.
    pub(super) fn is_passed_over(&self, patch: Option<&Patch>) -> Result<(), Wrong> {
        let Some(patch) = patch else { return Ok(()) };
        let is_known = self.standing(&patch.author, &patch.key).is_some();
        check!(is_known, "the patch that came with it is to be decided first: {patch:?}");
        Ok(())
    }

    /// A patch was held, rejected by a person, or refused to an agent.
    pub(super) fn patch_decided(
        &mut self,
        h: &Happening,
        around: &Around<'_>,
        wish: &Wish,
        fate: Fate,
    ) -> Result<(), Wrong> {
        let programs = &mut self.programs;
        let number = programs.last_number + 1;
        match (h.name, wish, fate) {
            ("PatchProposed", Wish::Patch(patch), Fate::Held(held)) => {
                check!(h.number("number") == number, "it is patch {number}");
                let base_epoch = patch.base_epoch.unwrap_or(programs.epoch());
                check!(h.number("base_epoch") == base_epoch, "it was made on epoch {base_epoch}");
                programs.held.push(*held);
                let waiting = programs.held.iter().filter(|held| !held.is_rejected).count();
                check!(waiting <= around.limits.proposals_per_run_max, "invariant 10: {waiting} patches wait");
            }
            ("PatchRejected", Wish::Patch(patch), Fate::Refused(codes)) if node_of(&patch.author).is_some() => {
                check!(h.number("number") == number, "it is patch {number}");
                let gate = match h.text("code") {
                    "PATCH_SHAPE_REFUSED" => "shape",
                    "PATCH_SECURITY_REFUSED" => "security",
                    "WRONG_STATE" => "",
                    _ => "meaning",
                };
                check!(codes.contains(h.text("code")) && h.text("gate") == gate, "it is refused by {codes:?}");
                check!(
                    h.payload["base_epoch"] == json!(patch.base_epoch),
                    "it was made on epoch {:?}",
                    patch.base_epoch
                );
            }
            ("PatchRejected", Wish::Decide { number, .. }, Fate::Rejected) => {
                let held = programs.held.iter_mut().find(|held| held.number == *number);
                held.ok_or_else(|| Wrong("it does not wait".into()))?.is_rejected = true;
                return Ok(());
            }
            (_, wish, fate) => return Err(Wrong(format!("invariant 7: {wish:?} is to be {fate:?}"))),
        }
        programs.last_number = number;
        Ok(())
    }

    /// For what was covered: what becomes of a patch.
    pub(super) fn note_patch(&self, h: &Happening, wish: &Wish, coverage: &mut Coverage) {
        let kind = match h.text("author").split_once(':') {
            Some((kind @ ("agent" | "optimizer"), _)) => kind,
            _ => "client",
        };
        match (h.name, wish) {
            ("PatchApplied", Wish::Decide { number, .. }) => {
                coverage.patch(&format!("approved {kind}"));
                let held = self.programs.held.iter().find(|held| held.number == *number);
                if held.is_some_and(|held| held.epoch < self.programs.epoch()) {
                    coverage.patch("approved on another epoch");
                }
            }
            ("PatchApplied", _) => coverage.patch(&format!("applied {kind}")),
            ("PatchProposed", _) => coverage.patch(&format!("proposed {kind}")),
            ("PatchRejected", Wish::Patch(_)) => {
                coverage.patch(&format!("agent refused {}", h.text("code")));
                coverage.limit(h.text("message"));
            }
            ("PatchRejected", _) => coverage.patch("rejected"),
            _ => {}
        }
    }

    /// Who gave a patch.
    pub(crate) fn author_of(&self, number: u64) -> String {
        let held = self.programs.held.iter().find(|held| held.number == number).map(|held| &held.asked);
        held.map_or_else(String::new, |asked| asked.author.clone())
    }

    /// Patches that wait for a person, while the run goes on.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u64> {
        let waiting = self.programs.held.iter().filter(|held| self.run.phase != Phase::Ended && !held.is_rejected);
        waiting.map(|held| held.number)
    }
}
