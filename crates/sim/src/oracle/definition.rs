//! A definition as the oracle reads it: from the JSON, with the defaults of the contract. It is given valid ones only.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// A time in seconds, as written in definitions.
pub(crate) fn nanoseconds(value: &Value) -> Option<i64> {
    value.as_f64().map(|seconds| (seconds * SECOND as f64).round() as i64)
}

/// When a failed attempt is followed by another one.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    max_attempts: u64,
    initial_s: f64,
    factor: f64,
    max_s: f64,
    jitter: f64,
    non_retryable: Vec<String>,
    /// Types of errors that have a policy of their own.
    classes: Vec<(Vec<String>, Retry)>,
}

impl Retry {
    fn none(max_attempts: u64) -> Retry {
        let (initial_s, factor, max_s, jitter) = (0.2, 2.0, 30.0, 0.2);
        Retry { max_attempts, initial_s, factor, max_s, jitter, non_retryable: Vec::new(), classes: Vec::new() }
    }

    fn of(document: &Value, default: &Retry) -> Retry {
        let number = |name: &str, default: f64| document[name].as_f64().unwrap_or(default);
        let mut retry = Retry {
            max_attempts: document["max_attempts"].as_u64().unwrap_or(default.max_attempts),
            initial_s: number("initial_s", default.initial_s),
            factor: number("factor", default.factor),
            max_s: number("max_s", default.max_s),
            jitter: number("jitter", default.jitter),
            non_retryable: texts(&document["non_retryable"]),
            classes: Vec::new(),
        };
        let classes = document["by_error"].as_array().into_iter().flatten();
        retry.classes = classes.map(|class| (texts(&class["types"]), Retry::of(class, &retry))).collect();
        retry
    }

    /// The policy for a type of error.
    fn class(&self, error: &str) -> &Retry {
        let class = self.classes.iter().find(|(types, _)| types.iter().any(|name| name == error));
        class.map_or(self, |(_, retry)| retry)
    }

    /// Attempts at most, whatever the errors.
    pub(crate) fn attempts_max(&self) -> u64 {
        self.classes.iter().map(|(_, retry)| retry.max_attempts).fold(self.max_attempts, u64::max)
    }

    /// An error of this type is never tried again.
    pub(crate) fn is_final(&self, error: &str) -> bool {
        self.non_retryable.iter().any(|name| name == error)
    }

    /// Whether an attempt that ended with this type of error is followed by another one.
    pub(crate) fn goes_on(&self, attempt: u64, error: &str) -> bool {
        attempt < self.class(error).max_attempts && !self.is_final(error)
    }

    /// Bounds of the wait after this attempt, which ended with this type of error, ns.
    pub(crate) fn delays(&self, attempt: u64, error: &str) -> (i64, i64) {
        self.class(error).bounds(attempt)
    }

    fn bounds(&self, attempt: u64) -> (i64, i64) {
        let middle = (self.initial_s * self.factor.powi(attempt as i32 - 1)).min(self.max_s) * SECOND as f64;
        // A nanosecond either way: the machine counts in other steps.
        ((middle * (1.0 - self.jitter)) as i64 - 1, (middle * (1.0 + self.jitter)) as i64 + 1)
    }
}

/// When a node with edges into it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Join {
    All,
    Any,
    Quorum { n: u64, required: bool },
}

/// How a node is undone.
#[derive(Debug, Clone)]
pub(crate) struct Compensation {
    pub(crate) name: String,
    pub(crate) input: Value,
    pub(crate) retry: Retry,
    pub(crate) timeout_ns: i64,
}

/// How often a tool may be called: `ahead` of its rate at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) interval_ns: i64,
    pub(crate) ahead_ns: i64,
}

impl Rate {
    fn of(document: &Value) -> Option<Rate> {
        let count = document["count"].as_i64()?;
        let interval_ns = nanoseconds(&document["per_s"]).unwrap_or(SECOND) / count;
        let burst = document["burst"].as_i64().unwrap_or(count);
        Some(Rate { interval_ns, ahead_ns: interval_ns * (burst - 1) })
    }
}

/// When a tool that fails is left alone, and what its node gives meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    pub(crate) threshold: u64,
    pub(crate) timeout_ns: i64,
    pub(crate) probes: u64,
    pub(crate) value: Option<Value>,
    pub(crate) cached: bool,
}

impl Breaker {
    fn of(document: &Value) -> Option<Breaker> {
        document.as_object()?;
        Some(Breaker {
            threshold: document["failure_threshold"].as_u64().unwrap_or(5),
            timeout_ns: nanoseconds(&document["timeout_s"]).unwrap_or(30 * SECOND),
            probes: document["probes"].as_u64().unwrap_or(1),
            value: document["fallback"].get("value").cloned(),
            cached: document["fallback"]["cached"] == true,
        })
    }
}

/// Who is asked for another input before a node fails for good.
#[derive(Debug, Clone)]
pub(crate) struct Correction {
    pub(crate) model: String,
    pub(crate) max_attempts: u64,
    pub(crate) timeout_ns: i64,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) config: Value,
    pub(crate) input: Value,
    pub(crate) write: bool,
    pub(crate) retry: Retry,
    pub(crate) timeout_ns: i64,
    /// Of all attempts together.
    pub(crate) close_ns: Option<i64>,
    pub(crate) heartbeat_ns: Option<i64>,
    pub(crate) join: Join,
    pub(crate) cancel_rest: bool,
    pub(crate) continues: bool,
    pub(crate) compensation: Option<Compensation>,
    /// Of its critical section.
    pub(crate) key: Option<Value>,
    pub(crate) rate: Option<Rate>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) correction: Option<Correction>,
    pub(crate) body: Option<Rc<Graph>>,
    /// Places of edges into it and out of it.
    pub(crate) into: Vec<usize>,
    pub(crate) out: Vec<usize>,
}

/// An edge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) when: Option<String>,
    pub(crate) on_error: bool,
}

/// The workflow's own graph, or a body.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) output: Option<Value>,
    /// Only of the workflow's own.
    pub(crate) timeout_ns: Option<i64>,
    pub(crate) compensation_timeout_ns: Option<i64>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

impl Graph {
    /// Reads a definition, or the body of a node.
    pub(crate) fn of(document: &Value) -> Graph {
        let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
        let edge = |edge: &Value| Edge {
            from: text(&edge["from"]),
            to: text(&edge["to"]),
            when: edge["when"].as_str().map(Into::into),
            on_error: edge["on"] == "error",
        };
        let edges: Vec<Edge> = list("edges").iter().map(edge).collect();
        let places = |is_mine: &dyn Fn(&Edge) -> bool| (0..edges.len()).filter(|&at| is_mine(&edges[at])).collect();
        let nodes = list("nodes").into_iter().map(|document| {
            let mut node = Node::of(&document);
            node.into = places(&|edge| edge.to == node.id);
            node.out = places(&|edge| edge.from == node.id);
            (node.id.clone(), node)
        });
        let nodes = nodes.collect();
        let time = |name: &str| nanoseconds(&document[name]);
        Graph {
            nodes,
            output: document.get("output").cloned(),
            timeout_ns: time("timeout_s"),
            compensation_timeout_ns: time("compensation_timeout_s"),
            edges,
        }
    }

    /// Every node, those of bodies too.
    pub(crate) fn each_node(&self, visit: &mut dyn FnMut(&Node)) {
        for node in self.nodes.values() {
            visit(node);
            if let Some(body) = &node.body {
                body.each_node(visit);
            }
        }
    }

    /// Nodes without an edge out.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.out.is_empty())
    }

    /// Whether every path from a node leads to the goal, and there is one.
    pub(crate) fn only_leads_to(&self, node: &str, goal: &str) -> bool {
        let out = &self.nodes[node].out;
        !out.is_empty()
            && out.iter().all(|&at| {
                let to = &self.edges[at].to;
                to == goal || self.only_leads_to(to, goal)
            })
    }
}

impl Node {
    fn of(document: &Value) -> Node {
        let kind = text(&document["type"]);
        let config = document.get("config").cloned().unwrap_or(json!({}));
        let is_write = match document["effect"].as_str() {
            Some(effect) => effect == "write",
            None => kind == "function" || (kind == "http" && config["method"] != "GET" && config["method"] != "HEAD"),
        };
        let join = &document["join"];
        let undo = &document["compensation"];
        Node {
            id: text(&document["id"]),
            input: document.get("input").cloned().unwrap_or(json!({})),
            write: is_write,
            retry: Retry::of(&document["retry"], &Retry::none(1)),
            timeout_ns: nanoseconds(&document["timeout_s"]).unwrap_or(0),
            close_ns: nanoseconds(&document["schedule_to_close_s"]),
            heartbeat_ns: nanoseconds(&document["heartbeat_timeout_s"]),
            join: match join["quorum"].as_u64() {
                Some(n) => Join::Quorum { n, required: join["required"] == true },
                None if join == "any" => Join::Any,
                None => Join::All,
            },
            cancel_rest: document["cancel_rest"] == true,
            continues: document["on_error"] == "continue",
            compensation: undo.as_object().map(|_| Compensation {
                name: text(&undo["name"]),
                input: undo.get("input").cloned().unwrap_or(json!({})),
                retry: Retry::of(&undo["retry"], &Retry::none(3)),
                timeout_ns: nanoseconds(&undo["timeout_s"]).unwrap_or(0),
            }),
            key: document.get("concurrency_key").cloned(),
            rate: Rate::of(&document["rate_limit"]),
            breaker: Breaker::of(&document["breaker"]),
            correction: document["correction"].as_object().map(|_| Correction {
                model: text(&document["correction"]["model"]),
                max_attempts: document["correction"]["max_attempts"].as_u64().unwrap_or(1),
                timeout_ns: nanoseconds(&document["correction"]["timeout_s"]).unwrap_or(60 * SECOND),
            }),
            body: config.get("body").map(|body| Rc::new(Graph::of(body))),
            kind,
            config,
            into: Vec::new(),
            out: Vec::new(),
        }
    }
}
