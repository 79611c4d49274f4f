//! Definitions taken apart by id, and what makes one of another: what a patch does, whatever way it was written. The
//! order of lists is no part of it; that one is another is a change of its own.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The map or loop in whose body something stands; `None`: the workflow's own graph.
type Owner = Option<String>;

/// Source, target, whether it is the way for failures.
type EdgeKey = (String, String, bool);

/// A definition, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parts {
    /// What stands beside nodes and edges.
    workflow: Value,
    /// Without the nodes and edges that they hold themselves.
    nodes: BTreeMap<String, (Owner, Value)>,
    edges: BTreeMap<EdgeKey, (Owner, Value)>,
}

/// One thing that is another one, comes (with what it is then) or goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Edge {
        key: EdgeKey,
        was: bool,
        is: Option<(Owner, Value)>,
    },
    Node {
        id: String,
        is: Option<(Owner, Value)>,
    },
    Member {
        node: Option<String>,
        at: Vec<String>,
        is: Option<Value>,
    },
    /// It stands in another place of its list.
    NodeMoved {
        id: String,
    },
    EdgeMoved {
        key: EdgeKey,
    },
}

/// What can be touched: the workflow, a node, an edge.
#[derive(Debug, PartialEq)]
enum Thing<'c> {
    Workflow,
    Node(&'c str),
    Edge(&'c EdgeKey),
}

/// What a change touches: a place in a thing, and whether it changes that or only needs that it is there.
type Touch<'c> = (Thing<'c>, Vec<String>, bool);

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn holds_graph(node: &Value) -> bool {
    matches!(node["type"].as_str(), Some("map" | "loop")) && node["config"]["body"].is_object()
}

fn key_of(edge: &Value) -> EdgeKey {
    let end = |name: &str| edge[name].as_str().unwrap_or_default().to_owned();
    (end("from"), end("to"), edge.get("on").is_some())
}

impl Parts {
    pub(crate) fn of(document: &Value) -> Parts {
        let mut parts = Parts { workflow: document.clone(), nodes: BTreeMap::new(), edges: BTreeMap::new() };
        let mut workflow = std::mem::take(&mut parts.workflow);
        parts.take_graph(None, &mut workflow);
        parts.workflow = workflow;
        parts
    }

    /// Takes the lists out of what holds them.
    fn take_graph(&mut self, owner: Owner, holder: &mut Value) {
        let mut list = |name: &str| holder.as_object_mut().and_then(|holder| holder.remove(name));
        let (nodes, edges) = (list("nodes"), list("edges"));
        for node in nodes.as_ref().and_then(Value::as_array).into_iter().flatten() {
            let (id, mut node) = (node["id"].as_str().unwrap_or_default().to_owned(), node.clone());
            if holds_graph(&node) {
                self.take_graph(Some(id.clone()), &mut node["config"]["body"]);
            }
            self.nodes.insert(id, (owner.clone(), node));
        }
        for edge in edges.as_ref().and_then(Value::as_array).into_iter().flatten() {
            self.edges.insert(key_of(edge), (owner.clone(), edge.clone()));
        }
    }

    /// The definition again.
    pub(crate) fn document(&self) -> Value {
        let mut workflow = self.workflow.clone();
        self.put_graph(None, &mut workflow);
        workflow
    }

    fn put_graph(&self, owner: Option<&str>, holder: &mut Value) {
        let nodes = self.nodes.iter().filter(|(_, (of, _))| of.as_deref() == owner).map(|(id, (_, node))| {
            let mut node = node.clone();
            if holds_graph(&node) {
                self.put_graph(Some(id), &mut node["config"]["body"]);
            }
            node
        });
        holder["nodes"] = nodes.collect();
        let edges = self.edges.values().filter(|(of, _)| of.as_deref() == owner);
        holder["edges"] = edges.map(|(_, edge)| edge.clone()).collect();
    }

    /// How many bodies a node stands in.
    fn depth(&self, id: &str) -> usize {
        let owner = self.nodes.get(id).and_then(|(owner, _)| owner.as_deref());
        owner.map_or(0, |owner| 1 + self.depth(owner))
    }

    /// Whether a node is the same one in another definition: what it may say differs, what it is does not.
    fn stays(&self, other: &Parts, id: &str) -> bool {
        let (Some((owner, old)), Some((place, new))) = (self.nodes.get(id), other.nodes.get(id)) else { return false };
        let is_alike = old["type"] == new["type"] && holds_graph(old) == holds_graph(new);
        owner == place && is_alike && owner.as_ref().is_none_or(|owner| self.stays(other, owner))
    }

    /// What makes another definition of this one, in an order in which it can be done.
    fn changes(&self, other: &Parts) -> Vec<Change> {
        let mut changes = Vec::new();
        let keys: BTreeSet<&EdgeKey> = self.edges.keys().chain(other.edges.keys()).collect();
        let mut coming = Vec::new();
        for key in keys {
            let (old, new) = (self.edges.get(key), other.edges.get(key));
            let owner = old.or(new).and_then(|(owner, _)| owner.as_deref());
            // One that went with the node that held it comes as one that was not there.
            let stays = owner.is_none_or(|owner| self.stays(other, owner));
            if old != new || !stays {
                let change = Change::Edge { key: key.clone(), was: stays && old.is_some(), is: new.cloned() };
                if new.is_some() { coming.push(change) } else { changes.push(change) }
            }
        }
        let ids = |parts: &Parts, is_deep_first: bool| {
            let gone = parts.nodes.keys().filter(|id| !self.stays(other, id));
            let mut ids: Vec<(usize, String)> = gone.map(|id| (parts.depth(id), id.clone())).collect();
            ids.sort();
            if is_deep_first {
                ids.reverse();
            }
            ids.into_iter().map(|(_, id)| id)
        };
        changes.extend(ids(self, true).map(|id| Change::Node { id, is: None }));
        changes.extend(ids(other, false).map(|id| Change::Node { is: other.nodes.get(&id).cloned(), id }));
        members(&None, &mut Vec::new(), &self.workflow, &other.workflow, &mut changes);
        for (id, (_, old)) in self.nodes.iter().filter(|(id, _)| self.stays(other, id)) {
            members(&Some(id.clone()), &mut Vec::new(), old, &other.nodes[id].1, &mut changes);
        }
        changes.extend(coming);
        changes
    }

    /// Makes changes; `None`: one does not fit.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Option<()> {
        changes.iter().try_for_each(|change| self.make(change))
    }

    fn make(&mut self, change: &Change) -> Option<()> {
        match change {
            Change::Edge { key, is: None, .. } => self.edges.remove(key).map(drop),
            Change::Edge { key, was, is: Some((_, edge)) } => {
                let place = self.nodes.get(&key.0).map(|(owner, _)| owner.clone())?;
                let is_right = self.nodes.get(&key.1).is_some_and(|(owner, _)| *owner == place);
                let fits = is_right && *was == self.edges.contains_key(key);
                fits.then(|| self.edges.insert(key.clone(), (place, edge.clone()))).map(drop)
            }
            Change::NodeMoved { id } => self.nodes.contains_key(id).then_some(()),
            Change::EdgeMoved { key } => self.edges.contains_key(key).then_some(()),
            Change::Node { id, is: None } => self.nodes.contains_key(id).then(|| self.take(id)),
            Change::Node { id, is: Some((owner, node)) } => {
                let has_place = owner.as_ref().is_none_or(|owner| self.nodes.contains_key(owner));
                let fits = has_place && !self.nodes.contains_key(id);
                fits.then(|| self.nodes.insert(id.clone(), (owner.clone(), node.clone()))).map(drop)
            }
            Change::Member { node, at, is } => {
                let whole = match node {
                    None => &mut self.workflow,
                    Some(id) => &mut self.nodes.get_mut(id)?.1,
                };
                let (name, above) = at.split_last()?;
                let holder: &mut Map<String, Value> =
                    above.iter().try_fold(whole, |value, name| value.get_mut(name))?.as_object_mut()?;
                match is {
                    Some(value) => _ = holder.insert(name.clone(), value.clone()),
                    None => _ = holder.remove(name)?,
                }
                Some(())
            }
        }
    }

    /// Takes a node out, with what it holds.
    fn take(&mut self, id: &str) {
        self.nodes.remove(id);
        self.edges.retain(|_, (owner, _)| owner.as_deref() != Some(id));
        let held: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, (owner, _))| owner.as_deref() == Some(id))
            .map(|(id, _)| id.clone())
            .collect();
        held.iter().for_each(|id| self.take(id));
    }
}

/// Members that differ, as deep as objects go.
fn members(node: &Option<String>, at: &mut Vec<String>, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    let names = |value: &Value| value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let (before, after): (BTreeSet<String>, BTreeSet<String>) = (names(old), names(new));
    for name in before.union(&after) {
        let (was, is) = (old.get(name), new.get(name));
        at.push(name.clone());
        match (was, is) {
            (Some(Value::Object(_)), Some(Value::Object(_))) => members(node, at, &old[name], &new[name], changes),
            _ if was != is => {
                changes.push(Change::Member { node: node.clone(), at: at.clone(), is: is.cloned() });
            }
            _ => {}
        }
        at.pop();
    }
}

/// What makes another definition of one, and whether that can be told in one way only: of two neighbours that change
/// places either has moved.
pub(crate) fn changes(old: &Value, new: &Value) -> (Vec<Change>, bool) {
    let (before, after) = (Parts::of(old), Parts::of(new));
    let mut changes = before.changes(&after);
    let (lists, others) = (lists_of(None, old), lists_of(None, new));
    let mut is_plain = true;
    for (owner, (nodes, edges)) in &lists {
        let Some((new_nodes, new_edges)) = others.get(owner) else { continue };
        if owner.as_ref().is_some_and(|owner| !before.stays(&after, owner)) {
            continue;
        }
        let (moved, is_one_way) = moved(nodes, new_nodes, |id| before.stays(&after, id));
        changes.extend(moved.into_iter().map(|id| Change::NodeMoved { id }));
        is_plain &= is_one_way;
        let (moved, is_one_way) = moved_edges(edges, new_edges);
        changes.extend(moved.into_iter().map(|key| Change::EdgeMoved { key }));
        is_plain &= is_one_way;
    }
    (changes, is_plain)
}

fn moved_edges(old: &[EdgeKey], new: &[EdgeKey]) -> (Vec<EdgeKey>, bool) {
    moved(old, new, |key| old.contains(key))
}

/// Ids of nodes and keys of edges as they are listed, by the node that holds the graph.
fn lists_of(owner: Owner, holder: &Value) -> BTreeMap<Owner, (Vec<String>, Vec<EdgeKey>)> {
    let list = |name: &str| holder[name].as_array().into_iter().flatten();
    let mut lists = BTreeMap::new();
    let mut ids = Vec::new();
    for node in list("nodes") {
        let id = node["id"].as_str().unwrap_or_default().to_owned();
        if holds_graph(node) {
            lists.append(&mut lists_of(Some(id.clone()), &node["config"]["body"]));
        }
        ids.push(id);
    }
    lists.insert(owner, (ids, list("edges").map(key_of).collect()));
    lists
}

/// What of a list has to move so that it becomes another one, as little as can be, and whether there is one such choice.
fn moved<K: Clone + PartialEq>(old: &[K], new: &[K], stays: impl Fn(&K) -> bool) -> (Vec<K>, bool) {
    let stay = new.iter().filter(|key| stays(key));
    let stay: Vec<(&K, usize)> =
        stay.filter_map(|key| Some((key, old.iter().position(|other| other == key)?))).collect();
    // For each the longest row of ones that keep their order and end with it: its length, the one before, how many.
    let mut rows: Vec<(usize, Option<usize>, u64)> = Vec::new();
    for (at, (_, place)) in stay.iter().enumerate() {
        let before = (0..at).filter(|&other| stay[other].1 < *place);
        let longest = before.clone().map(|other| rows[other].0).max().unwrap_or(0);
        let last = before.clone().find(|&other| rows[other].0 == longest);
        let ways = before.filter(|&other| rows[other].0 == longest).map(|other| rows[other].2).sum::<u64>().max(1);
        rows.push((longest + 1, last, ways));
    }
    let longest = rows.iter().map(|row| row.0).max().unwrap_or(0);
    let ends: Vec<usize> = (0..rows.len()).filter(|&at| rows[at].0 == longest).collect();
    let ways: u64 = ends.iter().map(|&at| rows[at].2).sum();
    let kept: Vec<usize> = std::iter::successors(ends.first().copied(), |&at| rows[at].1).collect();
    let moved = (0..stay.len()).filter(|at| !kept.contains(at)).map(|at| stay[at].0.clone());
    (moved.collect(), ways <= 1)
}

impl Change {
    /// The node that comes.
    pub(crate) fn adds(&self) -> Option<&Value> {
        if let Change::Node { is: Some((_, node)), .. } = self { Some(node) } else { None }
    }

    fn touches(&self) -> Vec<Touch<'_>> {
        match self {
            Change::Edge { key, .. } => {
                let needs = |id| (Thing::Node(id), path(&["id"]), false);
                vec![(Thing::Edge(key), Vec::new(), true), needs(&key.0), needs(&key.1)]
            }
            Change::Node { id, is } => {
                let body = is.as_ref().and_then(|(owner, _)| owner.as_deref());
                let needs = body.map(|body| (Thing::Node(body), path(&["config", "body", "nodes"]), false));
                needs.into_iter().chain([(Thing::Node(id), Vec::new(), true)]).collect()
            }
            Change::Member { node, at, .. } => {
                vec![(node.as_deref().map_or(Thing::Workflow, Thing::Node), at.clone(), true)]
            }
            Change::NodeMoved { id } => vec![(Thing::Node(id), path(&["id"]), false)],
            Change::EdgeMoved { key } => vec![(Thing::Edge(key), Vec::new(), false)],
        }
    }
}

/// Whether one of these changes touches what one of the others changes, or the other way round.
pub(crate) fn conflict(mine: &[Change], others: &[Change]) -> bool {
    let meet = |mine: &Touch<'_>, other: &Touch<'_>| {
        let is_same = mine.0 == other.0 && (mine.2 || other.2);
        is_same && (mine.1.starts_with(&other.1) || other.1.starts_with(&mine.1))
    };
    let others: Vec<Touch<'_>> = others.iter().flat_map(Change::touches).collect();
    mine.iter().flat_map(Change::touches).any(|mine| others.iter().any(|other| meet(&mine, other)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(ids: &[&str]) -> Value {
        let nodes: Vec<Value> = ids.iter().map(|id| json!({"id": id, "type": "join"})).collect();
        let edges: Vec<Value> = ids.windows(2).map(|pair| json!({"from": pair[0], "to": pair[1]})).collect();
        json!({"name": "w", "nodes": nodes, "edges": edges})
    }

    #[test]
    fn changes_make_the_other_definition_and_come_back() {
        let body = json!({"over": [1], "body": {"nodes": [{"id": "in", "type": "join"}], "edges": []}});
        let mut other = row(&["a", "c"]);
        other["nodes"][1]["on_error"] = json!("continue");
        other["nodes"].as_array_mut().unwrap().push(json!({"id": "m", "type": "map", "config": body}));
        let (one, other) = (Parts::of(&row(&["a", "b", "c"])), Parts::of(&other));
        for (from, to) in [(&one, &other), (&other, &one)] {
            let mut made = from.clone();
            made.apply(&from.changes(to)).unwrap();
            assert_eq!(&made, to);
            assert_eq!(&Parts::of(&made.document()), to);
        }
    }

    #[test]
    fn two_patches_conflict_where_they_touch_the_same() {
        let to = |change: &dyn Fn(&mut Value)| {
            let mut document = row(&["a", "b"]);
            change(&mut document);
            changes(&row(&["a", "b"]), &document).0
        };
        let skips = to(&|d| d["nodes"][0]["on_error"] = json!("continue"));
        let waits = to(&|d| d["nodes"][0]["timeout_s"] = json!(3));
        let cuts = to(&|d| d["edges"] = json!([]));
        let drops = to(&|d| *d = row(&["a"]));
        assert!(!conflict(&skips, &waits) && !conflict(&skips, &cuts));
        assert!(conflict(&skips, &skips) && conflict(&cuts, &drops));
        assert!(conflict(&drops, &to(&|d| d["nodes"][1]["timeout_s"] = json!(3))));
    }

    #[test]
    fn another_order_is_a_change_that_needs_what_moves() {
        let to = |ids: &[&str]| {
            let mut document = row(&["a", "b", "c"]);
            document["nodes"] = row(ids)["nodes"].clone();
            changes(&row(&["a", "b", "c"]), &document)
        };
        let (last, is_plain) = to(&["b", "c", "a"]);
        assert_eq!((&last, is_plain), (&vec![Change::NodeMoved { id: "a".into() }], true));
        assert!(!to(&["b", "a", "c"]).1, "either has moved");
        assert_eq!(to(&["a", "b", "c"]), (Vec::new(), true));
        let (gone, _) = changes(&row(&["a", "b"]), &row(&["b"]));
        assert!(conflict(&last, &gone) && !conflict(&last, &last));
    }
}
