//! Breakers: whether a request goes through, what a node gives where it does not, and what an outcome changes.

use crate::error::kind;
use crate::event::Event;
use crate::event::registry::BreakerChanged;
use crate::event::wire::Time;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::run::node::At;
use crate::run::result::Ended;
use crate::run::verdict::expression_failed;
use crate::state::breaker::Gate;
use crate::state::run::{Fault, Wait};
use crate::state::symbols::Sym;
use apex_ir::ir::{Breaker, Fallback, Kind};
use apex_ir::value;

/// Whether a request may go.
pub(crate) enum Passage {
    /// There is no breaker, or no room to remember one.
    Unwatched,
    /// The breaker of this name counts its outcome.
    Watched(String),
    /// It fails at once, or gives the fallback.
    Shut(String),
}

impl Machine {
    /// Whether a request of a node may go. `tool`: the function, or the model of an agent; of an http request its rendered
    /// input.
    pub(crate) fn passage(&mut self, program: &Program, at: At, tool: &str, input: &[u8]) -> Passage {
        let node = &program.ir.nodes[at.ix as usize];
        let Some(settings) = &node.breaker else { return Passage::Unwatched };
        let Some(tenant) = self.state.run(at.slot).map(|run| run.tenant) else { return Passage::Unwatched };
        let name = match (&node.kind, tool) {
            (Kind::Agent { .. }, "") => "agent".to_owned(),
            (_, "") => host_of(input),
            (_, tool) => tool.to_owned(),
        };
        let Some(breaker) = self.state.breakers.get(tenant, &name) else {
            let is_full = self.state.breakers.count >= self.config.limits.breakers_max;
            return if is_full || name.is_empty() { Passage::Unwatched } else { Passage::Watched(name) };
        };
        let is_over = self.now >= breaker.due;
        let lets_through = match breaker.gate {
            // The process ended between the failure and its opening.
            Gate::Closed if breaker.failures >= settings.failure_threshold => {
                self.open(tenant, &name, settings);
                false
            }
            Gate::Closed => true,
            Gate::HalfOpen if breaker.passed < settings.probes => true,
            // Also where the probes before told nothing.
            Gate::Open | Gate::HalfOpen if is_over => {
                let due = self.now.saturating_add(settings.timeout_ns);
                self.change_breaker(tenant, &name, Gate::HalfOpen, due);
                true
            }
            Gate::Open | Gate::HalfOpen => false,
        };
        if lets_through { Passage::Watched(name) } else { Passage::Shut(name) }
    }

    /// A request that does not go: the fallback, or a failed attempt.
    pub(crate) fn shut_out(&mut self, program: &Program, at: At, attempt: u32, name: &str, input: &[u8]) {
        let node = &program.ir.nodes[at.ix as usize];
        let Some(tenant) = self.state.run(at.slot).map(|run| run.tenant) else { return };
        let value = match node.breaker.as_ref().and_then(|breaker| breaker.fallback.as_ref()) {
            Some(Fallback::Value(template)) => {
                let rendered = self.view(program, at, |machine, view| template.render(view, &mut machine.budget()));
                match rendered.and_then(|value| self.bounded(value)) {
                    Ok(value) => Some(value),
                    Err(error) => {
                        let path = self.path(at.slot, at.scope, &node.id);
                        self.fail_node(program, at, &expression_failed(&error, &path));
                        return;
                    }
                }
            }
            Some(Fallback::Cached) => self.state.breakers.kept(tenant, name, input).map(|kept| kept.to_vec()),
            None => None,
        };
        let is_fallback = value.is_some();
        let ended = match value {
            Some(value) => Ended { status: "ok", result: Ok(value), retryable: false },
            None => {
                let message = format!("the breaker of {name} is open after failures in a row; it was not called");
                let fault = Fault { kind: kind::CIRCUIT_OPEN.into(), message: message.into() };
                Ended { status: "error", result: Err(fault), retryable: true }
            }
        };
        self.close_attempt(program, at, attempt, ended, is_fallback);
    }

    /// What a breaker counts of an outcome: nothing where the attempt has none, was cancelled, or was refused for what it
    /// asked.
    pub(crate) fn health(&self, program: &Program, at: At, wait: Option<&Wait>, ended: &Ended) -> &'static str {
        let Some(Wait::Job(flight)) = wait else { return "" };
        if flight.care.as_ref().is_none_or(|care| care.breaker == Sym::EMPTY) {
            return "";
        }
        let policy = &program.ir.nodes[at.ix as usize].retry;
        match &ended.result {
            Ok(_) => "ok",
            Err(_) if ended.status == "cancelled" || !ended.retryable => "",
            Err(fault) if policy.non_retryable.contains(&fault.kind) => "",
            Err(_) => "failed",
        }
    }

    /// So many outputs are kept with this one; 0: it is not kept.
    pub(crate) fn outputs_kept(&self, program: &Program, at: At, output: &[u8]) -> i64 {
        let breaker = program.ir.nodes[at.ix as usize].breaker.as_ref();
        let wants = breaker.is_some_and(|breaker| matches!(breaker.fallback, Some(Fallback::Cached)));
        let limits = &self.config.limits;
        let fits = output.len() <= limits.breaker_output_bytes_max;
        if wants && fits { i64::from(limits.breaker_outputs_max) } else { 0 }
    }

    /// An outcome was counted: the breaker may change.
    pub(crate) fn after_outcome(&mut self, program: &Program, at: At, tenant: Sym, name: &str) {
        let Some(settings) = &program.ir.nodes[at.ix as usize].breaker else { return };
        let Some(breaker) = self.state.breakers.get(tenant, name) else { return };
        match breaker.gate {
            Gate::Closed if breaker.failures >= settings.failure_threshold => self.open(tenant, name, settings),
            Gate::HalfOpen if breaker.failures > 0 => self.open(tenant, name, settings),
            Gate::HalfOpen if breaker.succeeded >= settings.probes => {
                self.change_breaker(tenant, name, Gate::Closed, 0);
            }
            Gate::Closed | Gate::Open | Gate::HalfOpen => {}
        }
    }

    fn open(&mut self, tenant: Sym, name: &str, settings: &Breaker) {
        let due = self.now.saturating_add(settings.timeout_ns);
        self.change_breaker(tenant, name, Gate::Open, due);
    }

    fn change_breaker(&mut self, tenant: Sym, name: &str, gate: Gate, due: i64) {
        let tenant = self.state.symbols.name(tenant).clone();
        let event = Event::BreakerChanged(BreakerChanged { name, state: gate.as_str(), due: Time(due) });
        self.emit_registry(&tenant, &event);
        self.tally.breaker_changes += 1;
    }
}

/// Host and port of a rendered request, in lower case; empty where it has none.
fn host_of(input: &[u8]) -> String {
    let raw = value::cut(input, &["url"]).unwrap_or_default();
    let Ok(url) = serde_json::from_slice::<String>(raw) else { return String::new() };
    let rest = url.split_once("://").map_or(&*url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_request_is_its_authority_without_user() {
        for (url, host) in [
            ("https://API.example.com/v1?x=1", "api.example.com"),
            ("http://ann:secret@localhost:8080/a@b", "localhost:8080"),
            ("https://[::1]:7400?q", "[::1]:7400"),
            ("http://x#y", "x"),
        ] {
            assert_eq!(host_of(serde_json::json!({"method": "GET", "url": url}).to_string().as_bytes()), host);
        }
        assert_eq!(host_of(b"{}"), "");
    }
}
