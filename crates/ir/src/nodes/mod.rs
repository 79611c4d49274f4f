//! The node types: a file for each, which reads its config, checks it and gives the IR's [`Kind`].
//!
//! A node type knows its own fields only. It never looks at the graph: edges, order and references are the
//! compiler's. A field that is wrong is noted, and something harmless is read in its place.

mod agent;
mod approval;
mod breaker;
mod common;
mod composite;
mod correction;
mod function;
mod http;
mod join;
mod r#loop;
mod map;
mod retry;
mod signal;
mod timer;

use common::Common;
pub(crate) use common::{NodeDraft, Shared, default_effect, own_output, read_node};

use crate::expressions::{Expression, Template};
use crate::ir::{Fallback, Kind, NodeType, Step, Timer};

/// The names of the node types, in the order of [`NodeType`].
pub(crate) const TYPES: [(&str, NodeType); 10] = [
    ("function", NodeType::Function),
    ("http", NodeType::Http),
    ("agent", NodeType::Agent),
    ("map", NodeType::Map),
    ("join", NodeType::Join),
    ("composite", NodeType::Composite),
    ("loop", NodeType::Loop),
    ("timer", NodeType::Timer),
    ("signal", NodeType::Signal),
    ("approval", NodeType::Approval),
];

impl Kind {
    /// Its type.
    #[must_use]
    pub fn node_type(&self) -> NodeType {
        match self {
            Kind::Function { .. } => NodeType::Function,
            Kind::Http(_) => NodeType::Http,
            Kind::Agent { .. } => NodeType::Agent,
            Kind::Map { .. } => NodeType::Map,
            Kind::Join => NodeType::Join,
            Kind::Composite { .. } => NodeType::Composite,
            Kind::Loop { .. } => NodeType::Loop,
            Kind::Timer(_) => NodeType::Timer,
            Kind::Signal { .. } => NodeType::Signal,
            Kind::Approval(_) => NodeType::Approval,
        }
    }
}

/// Whether it has a graph of its own inside.
pub(crate) fn holds_body(kind: &Kind) -> bool {
    matches!(kind, Kind::Map { .. } | Kind::Loop { .. })
}

impl Step {
    /// The expressions of the node itself; those of its body stand at the nodes of the body.
    pub(crate) fn each_expression<'s>(&'s self, visit: &mut dyn FnMut(&'s Expression)) {
        let mut template = |template: &'s Template| template.expressions().for_each(&mut *visit);
        match &self.kind {
            Kind::Function { name: _, input, config } => {
                template(input);
                config.iter().for_each(&mut template);
            }
            Kind::Http(http) => {
                template(&http.url);
                [&http.query, &http.headers, &http.body].into_iter().flatten().for_each(&mut template);
            }
            Kind::Agent { model: _, may_patch: _, config } => template(config),
            Kind::Map { over, .. } => template(over),
            Kind::Join | Kind::Loop { .. } => {}
            Kind::Composite { inputs, .. } => template(inputs),
            Kind::Timer(Timer::Duration(time) | Timer::Until(time)) => template(time),
            Kind::Signal { name, send, .. } => {
                template(name);
                send.iter().flat_map(|send| [&send.run_id, &send.payload]).for_each(&mut template);
            }
            Kind::Approval(approval) => template(&approval.prompt),
        }
        self.compensation.iter().for_each(|undo| template(&undo.input));
        self.concurrency_key.iter().for_each(&mut template);
        if let Some(Fallback::Value(value)) = self.breaker.as_ref().and_then(|breaker| breaker.fallback.as_ref()) {
            template(value);
        }
        match &self.kind {
            Kind::Loop { condition, .. } => visit(condition),
            Kind::Signal { matches: Some(matches), .. } => visit(matches),
            _ => {}
        }
    }
}

impl NodeType {
    /// Its name in a definition.
    #[must_use]
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}
