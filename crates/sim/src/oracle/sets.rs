//! Patches on workflows (docs/decisions/0019): what is proposed, taken into a set or refused in the order of proposal, or
//! dropped; the versions that follow from it, and the tags that go along.

use super::definition::Graph;
use super::judge::Happening;
use super::parts::{Change, Parts, changes, conflict};
use super::programs::Compiles;
use super::registry::Registry;
use crate::edits::Draft;
use crate::wrong::{Wrong, check};
use apex_machine::command::Selector;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A patch that somebody asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) workflow: String,
    pub(crate) selector: Selector,
    /// Empty: none was named.
    pub(crate) set: String,
    pub(crate) operations: Value,
    pub(crate) key: String,
    /// A function that its author may not call.
    pub(crate) forbidden: Option<&'static str>,
}

/// What became of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waiting,
    Taken,
    Refused,
    Dropped,
}

/// Workflow, base version, name.
type Key = (String, String, String);

#[derive(Debug)]
struct Proposal {
    key: Key,
    wanted: Wanted,
    tag: String,
    due: i64,
    changes: Vec<Change>,
    fate: Fate,
}

/// Patches on a version, in order.
#[derive(Debug)]
struct Set {
    base: Value,
    /// As the patches in force make it.
    document: Value,
    generation: u64,
    head: String,
    /// The head shows all patches.
    is_settled: bool,
    /// Tags that are to point at the next version, then at this one.
    moving: BTreeSet<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    pub(crate) wanted: Vec<Wanted>,
    /// By workflow; the number of one is its place, from 1.
    proposals: BTreeMap<String, Vec<Proposal>>,
    sets: BTreeMap<Key, Set>,
    /// The last patch of the batch that is open, by workflow.
    batches: BTreeMap<String, u64>,
    /// What versions were derived from, by workflow and version.
    derived: BTreeMap<(String, String), Key>,
}

impl Sets {
    /// Patches on a workflow that are in a version.
    pub(crate) fn droppable(&self, workflow: &str) -> Vec<usize> {
        let proposals = self.proposals.get(workflow).into_iter().flatten().zip(1..);
        proposals.filter(|(proposal, _)| proposal.fate == Fate::Taken).map(|(_, number)| number).collect()
    }

    /// Names of patch sets that have a version, on that which a version stands on.
    pub(crate) fn on(&self, workflow: &str, version: &str) -> Vec<String> {
        let base = self.base_of(workflow, version);
        let sets =
            self.sets.iter().filter(|((name, on, _), set)| name == workflow && *on == base && set.generation > 0);
        sets.map(|((_, _, set), _)| set.clone()).collect()
    }

    fn base_of(&self, workflow: &str, version: &str) -> String {
        let derived = self.derived.get(&(workflow.to_owned(), version.to_owned()));
        derived.map_or(version, |(_, base, _)| base).to_owned()
    }

    /// The last version of a set on the base of a version.
    pub(crate) fn head(&self, workflow: &str, base: &str, set: &str) -> Option<&str> {
        let key = (workflow.to_owned(), base.to_owned(), set.to_owned());
        self.sets.get(&key).map(|set| set.head.as_str())
    }

    /// The definition that a patch on a version is about, when all before it have been judged.
    pub(crate) fn document(&self, workflow: &str, version: &str, set: &str) -> Option<&Value> {
        self.sets.get(&self.target(workflow, version, set)).map(|set| &set.document)
    }

    fn target(&self, workflow: &str, version: &str, set: &str) -> Key {
        match self.derived.get(&(workflow.to_owned(), version.to_owned())) {
            Some(key) if set.is_empty() || *set == key.2 => key.clone(),
            _ => {
                let set = if set.is_empty() { "patches" } else { set };
                (workflow.into(), version.into(), set.into())
            }
        }
    }

    pub(crate) fn proposed(&mut self, h: &Happening, registry: &Registry) -> Result<(), Wrong> {
        let workflow = h.text("name").to_owned();
        let is_it = |wanted: &Wanted| {
            wanted.workflow == workflow
                && wanted.operations == h.payload["patch"]
                && wanted.key == h.text("idempotency_key")
        };
        let at = self.wanted.iter().position(is_it).ok_or_else(|| Wrong("nobody asked for this patch".into()))?;
        let wanted = self.wanted.remove(at);
        let version = registry.select(&workflow, &wanted.selector);
        let version = version.ok_or_else(|| Wrong("a patch on a version that is not there".into()))?;
        let key = self.target(&workflow, &version.version, &wanted.set);
        check!(h.text("base_version") == key.1 && h.text("set") == key.2, "it is for the set {key:?}");
        let tag = match &wanted.selector {
            Selector::Version(_) => "",
            Selector::Tag(tag) => tag,
            Selector::Latest => registry.tag(&workflow, "main").map_or("", |_| "main"),
        };
        check!(h.text("tag") == tag, "with it moves {tag:?}");
        let base = registry.version(&workflow, &key.1);
        let base = base.ok_or_else(|| Wrong(format!("there is no version {}", key.1)))?;
        self.sets.entry(key.clone()).or_insert_with(|| Set {
            base: (*base.document).clone(),
            document: (*base.document).clone(),
            generation: 0,
            head: key.1.clone(),
            is_settled: true,
            moving: BTreeSet::new(),
        });
        let proposals = self.proposals.entry(workflow).or_default();
        check!(h.number("number") == proposals.len() as u64 + 1, "it is patch {}", proposals.len() + 1);
        let due = h.due().ok_or_else(|| Wrong("it waits for no time".into()))?;
        check!((h.time..=h.time + 5_000_000_000).contains(&due), "its batch begins at {due}");
        let (tag, changes) = (tag.to_owned(), Vec::new());
        proposals.push(Proposal { key, wanted, tag, due, changes, fate: Fate::Waiting });
        Ok(())
    }

    /// The patch that is judged: the first that waits, once its batch is due.
    fn judged(&mut self, h: &Happening) -> Result<(&mut Proposal, &mut Set), Wrong> {
        let Sets { proposals, sets, batches, .. } = self;
        let batch = batches.entry(h.text("name").into()).or_default();
        let proposals = proposals.get_mut(h.text("name")).ok_or_else(|| Wrong("nothing was proposed".into()))?;
        let waiting = proposals.iter().zip(1u64..).filter(|(proposal, _)| proposal.fate == Fate::Waiting);
        let waiting: Vec<(u64, i64)> = waiting.map(|(proposal, number)| (number, proposal.due)).collect();
        let first = waiting.first().map(|(number, _)| *number);
        check!(first == Some(h.number("number")), "the first that waits is {first:?}");
        if Some(*batch) < first {
            let is_due = waiting.iter().any(|(_, due)| *due <= h.time);
            check!(is_due, "no batch is due: {waiting:?}");
            let last = waiting.iter().take(100).next_back().map_or(0, |(number, _)| *number);
            check!(h.number("batch") == last, "the batch ends with {last}");
            *batch = last;
        }
        check!(h.number("batch") == *batch, "it is of the batch that ends with {batch}");
        let at = h.number("number") as usize - 1;
        let proposal = proposals.get_mut(at).ok_or_else(|| Wrong("it is not there".into()))?;
        let set = sets.get_mut(&proposal.key).ok_or_else(|| Wrong("its set is not there".into()))?;
        Ok((proposal, set))
    }

    pub(crate) fn accepted(&mut self, h: &Happening, compiles: Compiles<'_>) -> Result<(), Wrong> {
        let (proposal, set) = self.judged(h)?;
        match fate_of(&proposal.wanted, &set.document, compiles) {
            Ok((document, changes)) => (set.document, proposal.changes) = (document, changes),
            Err(gate) => return Err(Wrong(format!("it is to be refused at the gate {gate}"))),
        }
        proposal.fate = Fate::Taken;
        set.is_settled = false;
        if !proposal.tag.is_empty() {
            set.moving.insert(proposal.tag.clone());
        }
        Ok(())
    }

    pub(crate) fn rejected(&mut self, h: &Happening, compiles: Compiles<'_>) -> Result<(), Wrong> {
        let (proposal, set) = self.judged(h)?;
        let gate = fate_of(&proposal.wanted, &set.document, compiles).err();
        check!(gate == Some(h.text("gate")), "the gate is to be {gate:?}");
        proposal.fate = Fate::Refused;
        Ok(())
    }

    pub(crate) fn rolled_back(
        &mut self,
        h: &Happening,
        registry: &Registry,
        compiles: Compiles<'_>,
    ) -> Result<(), Wrong> {
        let workflow = h.text("name");
        let nothing = || Wrong("there is nothing to drop".into());
        let proposals = self.proposals.get_mut(workflow).ok_or_else(nothing)?;
        let at = (h.number("number") as usize).checked_sub(1).ok_or_else(nothing)?;
        let dropped = proposals.get_mut(at).filter(|proposal| proposal.fate == Fate::Taken).ok_or_else(nothing)?;
        dropped.fate = Fate::Dropped;
        let (key, changes) = (dropped.key.clone(), dropped.changes.clone());
        let set = self.sets.get_mut(&key).ok_or_else(nothing)?;
        let mut parts = Parts::of(&set.base);
        for (later, other) in
            proposals.iter().enumerate().filter(|(_, other)| other.key == key && other.fate == Fate::Taken)
        {
            check!(later < at || !conflict(&changes, &other.changes), "patch {} stands on it", later + 1);
            parts.apply(&other.changes).ok_or_else(|| Wrong(format!("patch {} does not go without it", later + 1)))?;
        }
        set.document = parts.document();
        check!(compiles(&set.document), "the others do not go without it");
        set.is_settled = false;
        set.moving.extend(registry.tags_at(workflow, &set.head));
        Ok(())
    }

    /// A version that patches made; any other says nothing of a set.
    pub(crate) fn registered(&mut self, h: &Happening, registry: &Registry) -> Result<(), Wrong> {
        if h.text("set").is_empty() {
            return Ok(());
        }
        let (workflow, version) = (h.text("name").to_owned(), h.text("version").to_owned());
        let key = (workflow.clone(), h.text("base_version").to_owned(), h.text("set").to_owned());
        let set = self.sets.get_mut(&key).ok_or_else(|| Wrong(format!("there is no set {key:?}")))?;
        let generation = h.number("generation");
        check!(!set.is_settled && generation > set.generation, "generation {generation} follows {}", set.generation);
        let name = format!("{}+{}.{generation}", key.1, key.2);
        check!(version == name, "its version is to be {name}");
        let mut document = h.payload["definition"].clone();
        document["version"] = set.base["version"].clone();
        let is_it = Parts::of(&document) == Parts::of(&set.document);
        check!(is_it, "invariant 7: it is {document}, to be {}", set.document);
        // In the order in which the machine wrote it: what comes next is about that.
        set.document = document;
        (set.generation, set.is_settled) = (generation, true);
        set.head.clone_from(&version);
        let (derived, head) = (&mut self.derived, &key);
        derived.insert((workflow.clone(), version), key.clone());
        let is_of_set = |at: &str| at == head.1 || derived.get(&(workflow.clone(), at.to_owned())) == Some(head);
        set.moving.retain(|tag| registry.tag(&workflow, tag).is_some_and(&is_of_set));
        Ok(())
    }

    /// A tag points somewhere, by whomever.
    pub(crate) fn tagged(&mut self, h: &Happening) {
        for (key, set) in &mut self.sets {
            if key.0 == h.text("name") {
                set.moving.remove(h.text("tag"));
            }
        }
    }

    /// What must come without anything from outside.
    pub(crate) fn moves(&self, now: i64) -> Vec<String> {
        let unsettled = self.sets.iter().filter(|(_, set)| !set.is_settled || !set.moving.is_empty());
        let mut moves: Vec<String> = unsettled.map(|(key, set)| format!("{key:?} goes on: {:?}", set.moving)).collect();
        for (workflow, proposals) in &self.proposals {
            let waiting = proposals.iter().filter(|proposal| proposal.fate == Fate::Waiting);
            if waiting.clone().any(|proposal| proposal.due <= now) {
                moves.push(format!("a batch of patches on {workflow} begins"));
            }
        }
        moves
    }

    /// When something is due.
    pub(crate) fn dues(&self) -> impl Iterator<Item = i64> {
        let waiting = self.proposals.values().flatten().filter(|proposal| proposal.fate == Fate::Waiting);
        waiting.map(|proposal| proposal.due)
    }
}

/// What a patch makes of a definition, and how; else the gate that it does not pass.
fn fate_of(wanted: &Wanted, document: &Value, compiles: Compiles<'_>) -> Result<(Value, Vec<Change>), &'static str> {
    let made = Draft::again(document.clone(), &wanted.operations).document.ok_or("shape")?;
    let (changes, _) = changes(document, &made);
    let is_fixed = ["name", "version", "inputs"].iter().all(|name| document[name] == made[name]);
    // Another order is another definition, although the parts are the same.
    if !is_fixed || made == *document || !compiles(&made) {
        return Err("meaning");
    }
    let calls = |document: &Value, function: &str| {
        let mut found = false;
        Graph::of(document).each_node(&mut |node| found |= node.config["name"] == json!(function));
        found
    };
    match wanted.forbidden {
        Some(function) if calls(&made, function) && !calls(document, function) => Err("security"),
        _ => Ok((made, changes)),
    }
}
