//! The security gate: what a patch would reach that the definition did not reach before, against what its author may.

use super::materialize::Resolved;
use super::operation::{EdgeKey, Operation};
use super::pointer::Pointer;
use super::touch::added_nodes;
use crate::expressions::Expression;
use crate::id::Id;
use crate::ir::{Edge, Effect, Kind, Node};
use crate::nodes::default_effect;
use crate::value::Value;
use crate::{Diagnostic, FunctionSpec, FunctionTable, Ir};
use std::cell::LazyCell;
use std::collections::BTreeSet;

/// What an author may use beside what the definition uses already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Anything.
    Any,
    /// These, in lower case where they are hosts (`host` or `host:port`).
    Only(BTreeSet<String>),
}

/// What the author of a patch may. The default is nothing that the definition does not do already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Hosts of HTTP requests. Which addresses may be reached at all is checked when a request is sent.
    pub hosts: Allowed,
    /// Functions, compensations included.
    pub functions: Allowed,
    /// Workflows that a composite starts.
    pub workflows: Allowed,
    /// Models that agents and corrections ask.
    pub models: Allowed,
    /// Names of secrets, for whatever host or function.
    pub secrets: Allowed,
    /// Nodes may state a weaker effect than their function or method has, change rates, signal other runs; agents may
    /// patch; approvals may be changed.
    pub privileges: bool,
}

impl Default for Grant {
    fn default() -> Self {
        let none = || Allowed::Only(BTreeSet::new());
        Self { hosts: none(), functions: none(), workflows: none(), models: none(), secrets: none(), privileges: false }
    }
}

impl Grant {
    /// For an author who could register the definition as well.
    #[must_use]
    pub fn all() -> Self {
        Self {
            hosts: Allowed::Any,
            functions: Allowed::Any,
            workflows: Allowed::Any,
            models: Allowed::Any,
            secrets: Allowed::Any,
            privileges: true,
        }
    }
}

/// Something outside that a node reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Host(String),
    Function(String),
    /// Its name, and which version: another one may reach more.
    Workflow(String, Option<Box<str>>, Option<Box<str>>),
    Model(String),
    /// A secret, and whom it is given to: the same secret for another host is another use.
    Secret(String, String),
    /// A signal to another run: its name, and to whom, as written.
    Signal(String, String),
    MayPatch,
}

impl Use {
    /// Where in a node it stands, as well as that is known.
    fn place(&self) -> &'static str {
        match self {
            Use::Host(_) => "/config/url",
            Use::Function(_) => "/config/name",
            Use::Workflow(..) => "/config/workflow",
            Use::Model(_) => "/config/model",
            Use::Secret(..) => "/config",
            Use::Signal(..) => "/config/send",
            Use::MayPatch => "/config/may_patch",
        }
    }

    fn refusal(&self, grant: &Grant) -> Option<(&'static str, String)> {
        let (code, what, name, allowed) = match self {
            Use::Host(host) => ("HOST_NOT_ALLOWED", "host", host, &grant.hosts),
            Use::Function(name) => ("FUNCTION_NOT_ALLOWED", "function", name, &grant.functions),
            Use::Workflow(name, ..) => ("WORKFLOW_NOT_ALLOWED", "workflow", name, &grant.workflows),
            Use::Model(name) => ("MODEL_NOT_ALLOWED", "model", name, &grant.models),
            Use::Secret(name, _) => ("SECRET_GAINED", "secret", name, &grant.secrets),
            Use::Signal(..) | Use::MayPatch => {
                let what = if *self == Use::MayPatch { "patch" } else { "signal other runs" };
                let message = format!("the author may not add nodes that {what}");
                return (!grant.privileges).then_some(("PRIVILEGE_GAINED", message));
            }
        };
        match allowed {
            Allowed::Only(names) if !names.contains(name) => {}
            _ => return None,
        }
        let whom = if let Use::Secret(_, target) = self { format!(" for {target:?}") } else { String::new() };
        Some((code, format!("the author may not use the {what} {name:?}{whom}")))
    }
}

/// Refuses what a patch reaches that neither the definition before it reaches nor its author may. `before` is what
/// the patch was resolved against; nodes that it leaves alone are not looked at.
#[must_use]
pub fn check(before: &Ir, patched: &Resolved, functions: Option<&FunctionTable>, grant: &Grant) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let touched: BTreeSet<Id> = patched
        .operations
        .iter()
        .flat_map(|operation| match operation {
            Operation::Set { node: Some(id), .. } | Operation::Unset { node: Some(id), .. } => vec![id.clone()],
            operation => added_nodes(operation),
        })
        .collect();
    if *grant == Grant::all() {
        return found;
    }
    let (gates_before, gates) = (approvals(before, before), approvals(&patched.ir, before));
    if !grant.privileges {
        found.extend(patched.operations.iter().filter_map(|operation| unguarded(operation, before)));
        found.extend(ungated(before, &gates_before, &patched.ir, &gates));
    }
    if touched.is_empty() {
        return found;
    }
    // Looked for only where something needs it.
    let known = LazyCell::new(|| -> Vec<(Use, &Gates<'_>)> {
        let of = |(node, needs)| uses(before, node).into_iter().map(move |reached| (reached, needs));
        before.nodes.iter().zip(&gates_before).flat_map(of).collect()
    });
    for ix in touched.iter().filter_map(|id| patched.ir.node(id)).map(|ix| ix as usize) {
        let node = &patched.ir.nodes[ix];
        // What stands behind an approval is not known before it.
        let is_known = |reached: &Use| {
            known.iter().any(|(have, needs)| have == reached && (grant.privileges || needs.is_subset(&gates[ix])))
        };
        let mut refuse = |code, place: &str, message| {
            found.push(Diagnostic {
                code,
                pointer: format!("{}{place}", patched.ir.pointer_of(node)),
                message,
                hint: None,
            });
        };
        for reached in uses(&patched.ir, node) {
            if let Some((code, message)) = reached.refusal(grant).filter(|_| !is_known(&reached)) {
                refuse(code, reached.place(), message);
            }
        }
        if grant.privileges {
            continue;
        }
        let least = least_effect(node, before, functions);
        if strength(node.effect) < strength(least) {
            let message = format!("the effect of {} is weaker than {least:?}", node.id).to_lowercase();
            refuse("EFFECT_WEAKENED", "/effect", message);
        }
        if !keeps_rate(node, before, functions) {
            refuse("PRIVILEGE_GAINED", "/rate_limit", format!("the author may not change the rate of {}", node.id));
        }
    }
    found
}

/// Where nodes that both definitions have would begin without an approval that they had to wait for: what dropping a
/// patch may come to. Nothing for an author with privileges.
#[must_use]
pub fn check_approvals(before: &Ir, after: &Ir, grant: &Grant) -> Vec<Diagnostic> {
    if grant.privileges {
        Vec::new()
    } else {
        ungated(before, &approvals(before, before), after, &approvals(after, before))
    }
}

fn ungated(before: &Ir, needed: &[Gates<'_>], after: &Ir, gates: &[Gates<'_>]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (node, needs) in before.nodes.iter().zip(needed) {
        let Some(ix) = after.node(&node.id).map(|ix| ix as usize) else { continue };
        if let Some(Gate { approval, said }) = needs.difference(&gates[ix]).next() {
            let how = match said {
                Said::Anything => format!("without the approval {approval}"),
                _ => format!("whatever was decided at the approval {approval}"),
            };
            found.push(Diagnostic {
                code: "PRIVILEGE_GAINED",
                pointer: after.pointer_of(&after.nodes[ix]),
                message: format!("{} would begin {how}", node.id),
                hint: None,
            });
        }
    }
    found
}

/// What stands on a way: an approval, and what must have come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gate<'i> {
    approval: &'i str,
    said: Said<'i>,
}

/// What came of an approval. Two guards say the same where they are written the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said<'i> {
    Anything,
    /// Somebody decided.
    Decided,
    /// Nobody did.
    Failed,
    /// What this guard lets through.
    Passed(&'i str),
}

type Gates<'i> = BTreeSet<Gate<'i>>;

/// Of each node, what stands on every way to it: an edge out of an approval, or a guard that reads what was decided
/// there. Of guards only what is `written` already: an author could write one that is always true.
fn approvals<'i>(ir: &'i Ir, written: &Ir) -> Vec<Gates<'i>> {
    if !ir.nodes.iter().any(|node| matches!(node.kind, Kind::Approval(_))) {
        return vec![Gates::new(); ir.nodes.len()];
    }
    let guards = written.edges.iter().filter_map(|edge| edge.when.as_ref());
    let guards: BTreeSet<&str> = guards.map(|guard| guard.text()).collect();
    let mut gates: Vec<Gates<'_>> = Vec::with_capacity(ir.nodes.len());
    // Nodes are in topological order, and a body comes after the node that holds it.
    for (ix, node) in (0..).zip(&ir.nodes) {
        let mut ways = ir
            .incoming(ix)
            .map(|(_, edge)| gates[edge.from as usize].iter().copied().chain(passed(edge, ir, &guards)).collect());
        let around = || ir.graphs[node.graph as usize].owner.map(|owner| gates[owner as usize].clone());
        let needs = match ways.next() {
            Some(first) => ways.fold(first, |needs, way: Gates<'_>| &needs & &way),
            None => around().unwrap_or_default(),
        };
        gates.push(needs);
    }
    gates
}

/// What an edge says of approvals.
fn passed<'i>(edge: &'i Edge, ir: &'i Ir, guards: &BTreeSet<&str>) -> Vec<Gate<'i>> {
    let mut out = Vec::new();
    let from = &ir.nodes[edge.from as usize];
    if matches!(from.kind, Kind::Approval(_)) {
        let came = if edge.on_error { Said::Failed } else { Said::Decided };
        out.extend([Said::Anything, came].map(|said| Gate { approval: &from.id, said }));
    }
    for guard in edge.when.iter().filter(|guard| guards.contains(guard.text())) {
        let said = |approval| [Said::Anything, Said::Passed(guard.text())].map(|said| Gate { approval, said });
        out.extend(approvals_read(guard, ir).flat_map(said));
    }
    out
}

/// The approvals whose decision a guard reads.
fn approvals_read<'e>(guard: &'e Expression, ir: &'e Ir) -> impl Iterator<Item = &'e str> {
    let nodes = guard.references().iter().filter_map(|reference| reference.root.node());
    nodes.filter(|node| is_approval(ir, &node.id)).map(|node| &*node.id)
}

fn is_approval(ir: &Ir, id: &str) -> bool {
    ir.node(id).is_some_and(|ix| matches!(ir.nodes[ix as usize].kind, Kind::Approval(_)))
}

/// The approval that the guard of an edge reads.
fn read_by_guard<'e>(edge: &EdgeKey, ir: &'e Ir) -> Option<&'e str> {
    let (from, to) = (ir.node(&edge.from)?, ir.node(&edge.to)?);
    let mut edges = ir.outgoing(from).iter().filter(|one| one.to == to && one.on_error == edge.on_error);
    edges.find_map(|edge| approvals_read(edge.when.as_ref()?, ir).next())
}

/// The approval that a loop reads where it says whether it goes on, at this place.
fn read_by_condition<'i>(id: &Id, at: &Pointer, ir: &'i Ir) -> Option<&'i str> {
    let place = Pointer::new(["config", "while"]);
    match &ir.nodes[ir.node(id)? as usize].kind {
        Kind::Loop { condition, .. } if at.holds(&place) => approvals_read(condition, ir).next(),
        _ => None,
    }
}

/// Refuses what takes a person out of the way: approvals, the edges out of them, and the guards that read what was
/// decided there stay as they are.
fn unguarded(operation: &Operation, before: &Ir) -> Option<Diagnostic> {
    let guarded = match operation {
        Operation::ReplaceEdge { edge } => EdgeKey::of(edge).ok(),
        Operation::RemoveEdge { edge } => Some(edge.clone()),
        _ => None,
    };
    if let Some(edge) = guarded
        && let Some(approval) = read_by_guard(&edge, before)
    {
        return Some(Diagnostic {
            code: "PRIVILEGE_GAINED",
            pointer: String::new(),
            message: format!("the author may not change the guard of {edge}, which reads the approval {approval}"),
            hint: None,
        });
    }
    if let Operation::Set { node: Some(id), at, .. } | Operation::Unset { node: Some(id), at } = operation
        && let Some(approval) = read_by_condition(id, at, before)
    {
        return Some(Diagnostic {
            code: "PRIVILEGE_GAINED",
            pointer: String::new(),
            message: format!("the author may not change {at} of {id}, which reads the approval {approval}"),
            hint: None,
        });
    }
    let id: Id = match operation {
        Operation::RemoveNode { id } => id.clone(),
        Operation::Set { node, .. } | Operation::Unset { node, .. } => node.clone()?,
        Operation::AddEdge { edge, .. } | Operation::ReplaceEdge { edge } => EdgeKey::of(edge).ok()?.from,
        Operation::RemoveEdge { edge } => edge.from.clone(),
        Operation::AddNode { .. } | Operation::MoveNode { .. } | Operation::MoveEdge { .. } => return None,
    };
    let node = &before.nodes[before.node(&id)? as usize];
    matches!(node.kind, Kind::Approval(_)).then(|| Diagnostic {
        code: "PRIVILEGE_GAINED",
        pointer: String::new(),
        message: format!("the author may not change the approval {id} nor what follows from it"),
        hint: None,
    })
}

/// What a node reaches.
fn uses(ir: &Ir, node: &Node) -> Vec<Use> {
    let mut out = Vec::new();
    let mut target = String::new();
    match &node.kind {
        Kind::Function { name, .. } => {
            target = name.to_string();
            out.push(Use::Function(target.clone()));
        }
        Kind::Http(http) => {
            let host = http.host();
            // In the clear it is given to whoever listens.
            target = if http.is_clear() { format!("http://{host}") } else { host.clone() };
            out.push(Use::Host(host));
        }
        Kind::Composite { workflow, version, tag, .. } => {
            out.push(Use::Workflow(workflow.to_string(), version.clone(), tag.clone()));
        }
        Kind::Agent { model, may_patch, .. } => {
            out.push(Use::Model(model.to_string()));
            out.extend(may_patch.then_some(Use::MayPatch));
        }
        Kind::Signal { send: Some(_), .. } => {
            let config = written(ir, node);
            let run = config.and_then(|config| config.member("send")?.member("run_id"));
            let name = config.and_then(|config| config.member("name"));
            let text = |value: Option<&Value>| value.and_then(Value::as_text).unwrap_or_default().to_owned();
            out.push(Use::Signal(text(name), text(run)));
        }
        _ => {}
    }
    if let Some(compensation) = &node.compensation {
        out.push(Use::Function(compensation.name.to_string()));
    }
    if let Some(correction) = &node.correction {
        out.push(Use::Model(correction.model.to_string()));
    }
    if matches!(node.kind, Kind::Function { .. } | Kind::Http(_)) {
        let mut names = Vec::new();
        secrets(written(ir, node).unwrap_or(&Value::Null), &mut names);
        out.extend(names.into_iter().map(|name| Use::Secret(name, target.clone())));
    }
    out
}

/// The config of a node, as written.
fn written<'i>(ir: &'i Ir, node: &Node) -> Option<&'i Value> {
    let place = Pointer::parse(&ir.pointer_of(node)).ok()?;
    place.find(ir.tree()).ok()?.member("config")
}

/// The names in `{"secret": name}`, wherever they stand. Documents are not deep, so the recursion is not.
fn secrets(value: &Value, out: &mut Vec<String>) {
    out.extend(value.member("secret").and_then(Value::as_text).map(str::to_owned));
    value.items().iter().for_each(|item| secrets(item, out));
    value.members().for_each(|(_, member)| secrets(member, out));
}

/// The weakest effect that a node may state: that of the node itself where it calls what it called, else of the
/// function as registered, else of another node that calls the same, else what a node that states nothing has.
fn least_effect(node: &Node, before: &Ir, functions: Option<&FunctionTable>) -> Effect {
    if let Some(was) = same_call(node, before) {
        return was.effect;
    }
    if let Some(registered) = registered(node, functions).and_then(|spec| spec.effect) {
        return registered;
    }
    let others = before.nodes.iter().filter(|other| calls_the_same(node, other)).map(|other| other.effect);
    others.min_by_key(|effect| strength(*effect)).unwrap_or_else(|| default_effect(&node.kind))
}

/// Whether a node calls no faster than what uses the same tool does: the node itself before, else any other, else what the
/// function says as registered.
fn keeps_rate(node: &Node, before: &Ir, functions: Option<&FunctionTable>) -> bool {
    if let Some(was) = same_call(node, before) {
        return was.rate_limit.is_none() || was.rate_limit == node.rate_limit;
    }
    let is_same_tool = |other: &&Node| match (&node.kind, &other.kind) {
        (Kind::Http(http), Kind::Http(other)) => http.host() == other.host(),
        _ => calls_the_same(node, other),
    };
    let mut others = before.nodes.iter().filter(is_same_tool).peekable();
    if others.peek().is_some() {
        return others.any(|other| other.rate_limit.is_none() || other.rate_limit == node.rate_limit);
    }
    let registered = registered(node, functions).and_then(|spec| spec.rate_limit);
    registered.is_none() || registered == node.rate_limit
}

/// What a node was, where it calls what it called.
fn same_call<'i>(node: &Node, before: &'i Ir) -> Option<&'i Node> {
    before.node(&node.id).map(|ix| &before.nodes[ix as usize]).filter(|was| calls_the_same(node, was))
}

fn registered<'f>(node: &Node, functions: Option<&'f FunctionTable>) -> Option<&'f FunctionSpec> {
    let Kind::Function { name, .. } = &node.kind else { return None };
    functions.and_then(|functions| functions.get(&**name))
}

fn calls_the_same(node: &Node, other: &Node) -> bool {
    match (&node.kind, &other.kind) {
        (Kind::Function { name, .. }, Kind::Function { name: other, .. }) => name == other,
        (Kind::Http(http), Kind::Http(other)) => http.method == other.method && http.host() == other.host(),
        (Kind::Composite { workflow, .. }, Kind::Composite { workflow: other, .. }) => workflow == other,
        (Kind::Agent { .. }, Kind::Agent { .. }) => true,
        _ => false,
    }
}

fn strength(effect: Effect) -> u8 {
    match effect {
        Effect::Pure => 0,
        Effect::Read => 1,
        Effect::Write => 2,
    }
}
