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
pub(crate) use common::{NodeDraft, Shared, default_effect, read_node};

use crate::ir::{Kind, NodeType};

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

impl NodeType {
    /// Its name in a definition.
    #[must_use]
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}
