//! What every node has: id, rule, effect, retry, timeout, compensation, priority; and the defaults that the function
//! table fills in.

use super::TYPES;
use super::breaker::{fill_breaker, read_breaker, template_of};
use super::correction::read_correction;
use super::retry::{compensation_retry, no_retry, read_retry, retry_json, seconds_json};
use crate::Ir;
use crate::document::{Reader, clip};
use crate::functions::{FunctionSpec, FunctionTable};
use crate::id::Id;
use crate::ir::{Compensation, Effect, GraphIx, Join, Kind, NodeType, OnError, Priority, RateLimit, Retry, Step};
use crate::value::canonical::{Extra, write, write_string};
use crate::value::scan::{At, Kind as Json};
use std::sync::Arc;

/// A node as read, before the graph is looked at.
pub(crate) struct NodeDraft {
    pub(crate) step: Arc<Step>,
    pub(crate) graph: GraphIx,
    pub(crate) place: u32,
    /// Where it and its parts stand in the document, for messages: a part that is not there stands where the node does.
    pub(crate) at: At,
    pub(crate) id_at: At,
    pub(crate) join_at: At,
    pub(crate) breaker_at: At,
    pub(crate) compensation_at: At,
    pub(crate) concurrency_key_at: At,
}

/// The fields that a node type may look at.
pub(crate) struct Common {
    pub(crate) at: At,
    pub(crate) config: Option<At>,
    pub(crate) input: Option<At>,
}

/// A body that is still to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyAt {
    pub(crate) at: At,
    pub(crate) owner: u32,
    pub(crate) graph: GraphIx,
}

/// What the nodes of a document share while they are read.
pub(crate) struct Shared<'t> {
    pub(crate) functions: Option<&'t FunctionTable>,
    /// The definition that a patch changes.
    before: Option<&'t Ir>,
    /// Members filled in, by the slot of their object.
    pub(crate) extras: Vec<(At, Extra)>,
    /// Bodies met and not yet read.
    pub(crate) bodies: Vec<BodyAt>,
    /// Graphs known so far; the number of the next body.
    pub(crate) graphs: GraphIx,
}

impl<'t> Shared<'t> {
    pub(crate) fn new(functions: Option<&'t FunctionTable>, before: Option<&'t Ir>, graphs: GraphIx) -> Self {
        Self { functions, before, extras: Vec::new(), bodies: Vec::new(), graphs }
    }

    /// Whether the definition before has this node and it calls the same: then nothing is filled in, for what a node
    /// does not state was settled when it was registered.
    fn is_settled(&self, id: &str, kind: &Kind) -> bool {
        let was = self.before.and_then(|before| Some(&before.nodes[before.node(id)? as usize].kind));
        match (was, kind) {
            (Some(Kind::Function { name: was, .. }), Kind::Function { name, .. }) => was == name,
            (was, kind) => was.is_some_and(|was| was.node_type() == kind.node_type()),
        }
    }
}

/// Whether a text is a node id: `[A-Za-z_][A-Za-z0-9_.-]{0,127}`.
fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Reads a node of a graph.
pub(crate) fn read_node(
    reader: &mut Reader<'_, '_>,
    shared: &mut Shared<'_>,
    at: At,
    graph: GraphIx,
    ix: u32,
    place: u32,
) -> NodeDraft {
    let [
        id_at,
        type_at,
        config,
        input,
        effect_at,
        retry_at,
        timeout_at,
        close_at,
        heartbeat_at,
        breaker_at,
        correction_at,
        compensation_at,
        join_at,
        cancel_at,
        on_error_at,
        priority_at,
        key_at,
        rate_at,
    ] = reader.fields(
        at,
        "a node",
        [
            "id",
            "type",
            "config",
            "input",
            "effect",
            "retry",
            "timeout_s",
            "schedule_to_close_s",
            "heartbeat_timeout_s",
            "breaker",
            "correction",
            "compensation",
            "join",
            "cancel_rest",
            "on_error",
            "priority",
            "concurrency_key",
            "rate_limit",
        ],
    );
    let id = reader.required(id_at, at, "a node", "id").and_then(|at| read_id(reader, at)).unwrap_or_else(|| "".into());
    let node_type = reader.required(type_at, at, "a node", "type").and_then(|at| read_type(reader, at));
    let common = Common { at, config, input };
    if input.is_some() && !matches!(node_type, Some(NodeType::Function) | None) {
        let name = node_type.map_or("", NodeType::name);
        let hint = match node_type {
            Some(NodeType::Composite) => Some("a composite takes `inputs` in its config".to_owned()),
            _ => None,
        };
        let key = input.unwrap_or(at) - 1;
        reader.note_hint(key, "UNKNOWN_FIELD", format!("a node of type {name} has no input"), hint);
    }
    let mut kind = match node_type {
        Some(NodeType::Function) => super::function::read(reader, shared.functions, &common),
        Some(NodeType::Http) => super::http::read(reader, &common),
        Some(NodeType::Agent) => super::agent::read(reader, shared.functions, &common),
        Some(NodeType::Map) => super::map::read(reader, shared, &common, ix),
        Some(NodeType::Composite) => super::composite::read(reader, &common),
        Some(NodeType::Loop) => super::r#loop::read(reader, shared, &common, ix),
        Some(NodeType::Timer) => super::timer::read(reader, &common),
        Some(NodeType::Signal) => super::signal::read(reader, &common),
        Some(NodeType::Approval) => super::approval::read(reader, &common),
        Some(NodeType::Join) => super::join::read(reader, &common),
        None => Kind::Join,
    };
    let is_settled = shared.is_settled(&id, &kind);
    let spec = match (&kind, shared.functions) {
        (Kind::Function { name, .. }, Some(table)) if !is_settled => table.get(&**name),
        _ => None,
    };
    let mut extra: Extra = Vec::new();
    let effect = effect_at
        .and_then(|at| reader.word(at, "effect", &["pure", "read", "write"]))
        .map(|place| [Effect::Pure, Effect::Read, Effect::Write][place]);
    let effect = effect.or_else(|| {
        let filled = spec.and_then(|spec| spec.effect).filter(|_| effect_at.is_none())?;
        extra.push(("effect", format!("\"{}\"", effect_name(filled)).into_bytes()));
        Some(filled)
    });
    let retry = retry_at.and_then(|at| read_retry(reader, at, no_retry()));
    let retry = retry.or_else(|| {
        let filled = spec.and_then(|spec| spec.retry.clone()).filter(|_| retry_at.is_none())?;
        extra.push(("retry", retry_json(&filled)));
        Some(filled)
    });
    let timeout_ns = read_seconds(reader, timeout_at, "timeout_s", spec.and_then(|spec| spec.timeout_s), &mut extra);
    let stated = spec.and_then(|spec| spec.schedule_to_close_s);
    let schedule_to_close_ns = read_seconds(reader, close_at, "schedule_to_close_s", stated, &mut extra);
    let stated = spec.and_then(|spec| spec.heartbeat_timeout_s);
    let heartbeat_timeout_ns = read_seconds(reader, heartbeat_at, "heartbeat_timeout_s", stated, &mut extra);
    let breaker = match breaker_at {
        Some(at) => read_breaker(reader, at),
        None => spec.and_then(|spec| spec.breaker.as_ref()).map(|stated| {
            let (json, breaker) = fill_breaker(reader, stated);
            extra.push(("breaker", json));
            breaker
        }),
    };
    let correction = correction_at.and_then(|at| read_correction(reader, at));
    let is_job = matches!(kind, Kind::Function { .. } | Kind::Http(_) | Kind::Agent { .. });
    for (field, name, fits, which) in [
        (close_at, "schedule_to_close_s", is_job, "a function, an http request or an agent"),
        (heartbeat_at, "heartbeat_timeout_s", matches!(kind, Kind::Function { .. }), "a function"),
        (breaker_at, "breaker", is_job, "a function, an http request or an agent"),
        (correction_at, "correction", matches!(kind, Kind::Function { .. }), "a function"),
    ] {
        if let (Some(at), false, Some(_)) = (field, fits, node_type) {
            reader.note(at - 1, "UNKNOWN_FIELD", format!("only {which} has the field {name:?}"));
        }
    }
    let compensation = match compensation_at {
        Some(at) => read_compensation(reader, shared, at, (&id, is_settled), &common),
        None => spec
            .and_then(|spec| spec.compensation.as_deref())
            .and_then(|name| fill_compensation(reader, shared.functions, at, name, &id, &common, &mut extra)),
    };
    let join = join_at.and_then(|at| read_join(reader, at)).unwrap_or(Join::All);
    let concurrency_key = key_at.map(|at| reader.text_template(at, "concurrency_key"));
    if let (Some(key), Kind::Map { .. } | Kind::Loop { .. } | Kind::Composite { .. }) = (key_at, &kind) {
        let message = "a critical section cannot hold other nodes; put the key on the nodes inside";
        reader.note(key, "BAD_VALUE", message);
    }
    let calls = matches!(kind, Kind::Function { .. } | Kind::Http(_) | Kind::Agent { .. });
    if let (Some(rate), false) = (rate_at, calls) {
        reader.note(rate, "BAD_VALUE", "only nodes that call a tool have a rate: function, http, agent");
    }
    let rate_limit = rate_at.and_then(|at| read_rate(reader, at)).or_else(|| {
        let filled = spec.and_then(|spec| spec.rate_limit).filter(|_| rate_at.is_none())?;
        extra.push(("rate_limit", rate_json(&filled)));
        Some(filled)
    });
    if !extra.is_empty() {
        shared.extras.push((at, extra));
    }
    if let Kind::Http(http) = &mut kind {
        http.expect_status.sort_unstable();
    }
    let step = Step {
        effect: effect.unwrap_or_else(|| default_effect(&kind)),
        id,
        kind,
        join,
        cancels_rest: cancel_at.and_then(|at| reader.boolean(at, "cancel_rest")).unwrap_or(false),
        retry: retry.unwrap_or_else(no_retry),
        timeout_ns,
        schedule_to_close_ns,
        heartbeat_timeout_ns,
        breaker,
        correction,
        on_error: match on_error_at.and_then(|at| reader.word(at, "on_error", &["fail", "continue"])) {
            Some(1) => OnError::Continue,
            _ => OnError::Fail,
        },
        compensation,
        priority: match priority_at.and_then(|at| reader.word(at, "priority", &["high", "medium", "low"])) {
            Some(0) => Priority::High,
            Some(2) => Priority::Low,
            _ => Priority::Medium,
        },
        concurrency_key,
        rate_limit,
    };
    NodeDraft {
        step: Arc::new(step),
        graph,
        place,
        at,
        id_at: id_at.unwrap_or(at),
        join_at: join_at.unwrap_or(at),
        breaker_at: breaker_at.unwrap_or(at),
        compensation_at: compensation_at.unwrap_or(at),
        concurrency_key_at: key_at.unwrap_or(at),
    }
}

/// A duration that the node states, or (written into it) that of its function.
fn read_seconds(
    reader: &mut Reader<'_, '_>,
    at: Option<At>,
    name: &'static str,
    stated: Option<f64>,
    extra: &mut Extra,
) -> Option<i64> {
    if let Some(at) = at {
        return reader.seconds(at, name, false);
    }
    let filled = crate::document::nanoseconds(stated?);
    extra.push((name, seconds_json(filled)));
    Some(filled)
}

fn read_id(reader: &mut Reader<'_, '_>, at: At) -> Option<Id> {
    let id = reader.string(at, "an id")?;
    if is_id(&id) {
        return Some(id.as_ref().into());
    }
    let message = format!("{:?} is no node id", clip(&id));
    let hint = "ids begin with a letter or `_`, go on with letters, digits, `_`, `.`, `-`, and have at most 128";
    reader.note_hint(at, "BAD_ID", message, Some(hint.to_owned()));
    None
}

fn read_type(reader: &mut Reader<'_, '_>, at: At) -> Option<NodeType> {
    let name = reader.string(at, "a node's type")?;
    if let Some((_, node_type)) = TYPES.iter().find(|(known, _)| *known == name) {
        return Some(*node_type);
    }
    let near = reader.near(&name, TYPES.iter().map(|(name, _)| *name));
    let known = || format!("known types: {}", TYPES.map(|(name, _)| name).join(", "));
    let message = format!("there is no node type {:?}", clip(&name));
    reader.note_hint(at, "UNKNOWN_TYPE", message, Some(near.unwrap_or_else(known)));
    None
}

/// What a node does to the world where it states nothing.
pub(crate) fn default_effect(kind: &Kind) -> Effect {
    match kind {
        Kind::Http(http) if matches!(&*http.method, "GET" | "HEAD") => Effect::Read,
        Kind::Function { .. } | Kind::Http(_) | Kind::Composite { .. } => Effect::Write,
        Kind::Agent { .. } => Effect::Read,
        _ => Effect::Pure,
    }
}

fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Pure => "pure",
        Effect::Read => "read",
        Effect::Write => "write",
    }
}

/// `all`, `any` or `{"quorum": n, "required": true}`.
fn read_join(reader: &mut Reader<'_, '_>, at: At) -> Option<Join> {
    if reader.document.kind(at) == Json::String {
        return match reader.word(at, "join", &["all", "any"])? {
            0 => Some(Join::All),
            _ => Some(Join::Any),
        };
    }
    if reader.document.kind(at) != Json::Object {
        reader.wrong_type(at, "join", "\"all\", \"any\" or {\"quorum\": n}");
        return None;
    }
    let [quorum, required] = reader.fields(at, "a quorum", ["quorum", "required"]);
    let n = reader.required(quorum, at, "a quorum", "quorum").and_then(|at| reader.integer(at, "quorum", 1, u32::MAX));
    let required = required.and_then(|at| reader.boolean(at, "required")).unwrap_or(false);
    Some(Join::Quorum { n: n?, required })
}

/// `{"count": n, "per_s": 1, "burst": n}`.
fn read_rate(reader: &mut Reader<'_, '_>, at: At) -> Option<RateLimit> {
    let what = "a rate limit";
    let [count, per, burst] = reader.fields(at, what, ["count", "per_s", "burst"]);
    let count = reader.required(count, at, what, "count").and_then(|at| reader.integer(at, "count", 1, 1_000_000))?;
    let per_ns = per.map_or(Some(1_000_000_000), |at| reader.seconds(at, "per_s", false))?;
    let burst = burst.map_or(Some(count), |at| reader.integer(at, "burst", 1, 1_000_000))?;
    Some(RateLimit { count, per_ns, burst })
}

fn rate_json(rate: &RateLimit) -> Vec<u8> {
    let mut out = format!("{{\"burst\":{},\"count\":{},\"per_s\":", rate.burst, rate.count).into_bytes();
    out.extend(seconds_json(rate.per_ns));
    out.push(b'}');
    out
}

/// What a compensation gets where it does not say: `{"input": <the node's>, "output": "${nodes.<id>.output}"}`.
fn default_input(reader: &Reader<'_, '_>, id: &str, common: &Common) -> Vec<u8> {
    let mut out = b"{\"input\":".to_vec();
    match common.input {
        Some(input) => write(&reader.document, input, &mut out),
        None => out.extend_from_slice(b"{}"),
    }
    out.extend_from_slice(b",\"output\":");
    write_string(&own_output(id), &mut out);
    out.push(b'}');
    out
}

/// What a node gave, as its compensation reads it.
pub(crate) fn own_output(id: &str) -> String {
    format!("${{nodes[\"{id}\"].output}}")
}

fn known_function<'t>(
    reader: &mut Reader<'_, '_>,
    table: Option<&'t FunctionTable>,
    at: At,
    name: &str,
) -> Option<&'t FunctionSpec> {
    let table = table?;
    let spec = table.get(name);
    if spec.is_none() {
        let near = reader.near(name, table.keys().map(String::as_str));
        reader.note_hint(at, "UNKNOWN_FUNCTION", format!("no function {:?} is registered", clip(name)), near);
    }
    spec
}

/// Notes a function that is not in the table.
pub(crate) fn check_function(reader: &mut Reader<'_, '_>, table: Option<&FunctionTable>, at: At, name: &str) {
    known_function(reader, table, at, name);
}

/// Fills in what the function that compensates says of itself.
fn compensation_defaults(
    spec: Option<&FunctionSpec>,
    retry: Option<Retry>,
    timeout_ns: Option<i64>,
    extra: &mut Extra,
) -> (Retry, Option<i64>) {
    let retry = retry.or_else(|| {
        let filled = spec.and_then(|spec| spec.retry.clone())?;
        extra.push(("retry", retry_json(&filled)));
        Some(filled)
    });
    let timeout_ns = timeout_ns.or_else(|| {
        let filled = crate::document::nanoseconds(spec.and_then(|spec| spec.timeout_s)?);
        extra.push(("timeout_s", seconds_json(filled)));
        Some(filled)
    });
    (retry.unwrap_or_else(compensation_retry), timeout_ns)
}

fn read_compensation(
    reader: &mut Reader<'_, '_>,
    shared: &mut Shared<'_>,
    at: At,
    (id, is_settled): (&str, bool),
    common: &Common,
) -> Option<Compensation> {
    let [name, input, retry, timeout] = reader.fields(at, "a compensation", ["name", "input", "retry", "timeout_s"]);
    let name_at = reader.required(name, at, "a compensation", "name")?;
    let name = reader.name(name_at, "the name of a compensation")?;
    let spec = known_function(reader, shared.functions, name_at, &name).filter(|_| !is_settled);
    let input = match input {
        Some(input) => super::function::arguments(reader, input, "the input of a compensation"),
        None => template_of(reader, &default_input(reader, id, common)),
    };
    let retry = retry.and_then(|at| read_retry(reader, at, compensation_retry()));
    let timeout_ns = timeout.and_then(|at| reader.seconds(at, "timeout_s", false));
    let mut extra = Vec::new();
    let (retry, timeout_ns) = compensation_defaults(spec, retry, timeout_ns, &mut extra);
    if !extra.is_empty() {
        shared.extras.push((at, extra));
    }
    Some(Compensation { name, input, retry, timeout_ns })
}

/// The compensation that a function names for itself, written out into the node.
fn fill_compensation(
    reader: &mut Reader<'_, '_>,
    table: Option<&FunctionTable>,
    at: At,
    name: &str,
    id: &str,
    common: &Common,
    extra: &mut Extra,
) -> Option<Compensation> {
    let spec = known_function(reader, table, at, name)?;
    let input = default_input(reader, id, common);
    let template = template_of(reader, &input);
    let mut inside: Extra = vec![("input", input)];
    let mut quoted = Vec::new();
    write_string(name, &mut quoted);
    inside.push(("name", quoted));
    let (retry, timeout_ns) = compensation_defaults(Some(spec), None, None, &mut inside);
    // `input`, `name`, `retry`, `timeout_s` are in canonical order already.
    let mut json = Vec::new();
    for (name, value) in &inside {
        json.extend_from_slice(if json.is_empty() { b"{\"" } else { b",\"" });
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(b"\":");
        json.extend_from_slice(value);
    }
    json.push(b'}');
    extra.push(("compensation", json));
    Some(Compensation { name: name.into(), input: template, retry, timeout_ns })
}
