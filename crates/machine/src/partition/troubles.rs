//! What readers ask about what went wrong: dead letters and breakers of a tenant.

use crate::machine::Machine;
use crate::state::letter::Letter;
use crate::view::{BreakerView, DeadLetterView, LetterFilter, Page};
use std::ops::Bound;

impl Machine {
    /// Dead letters of a tenant, newest first. `page`: what the page before gave as `next`; one that is none gives an
    /// empty page. A page may be short and still have a next one, where the filter is rare.
    #[must_use]
    pub fn dead_letters(&self, tenant: &str, filter: &LetterFilter, limit: usize, page: &str) -> Page<DeadLetterView> {
        let mut found = Page { items: Vec::new(), next: String::new() };
        let before = match page {
            "" => Bound::Unbounded,
            page => match page.parse::<u64>() {
                Ok(position) => Bound::Excluded(position),
                Err(_) => return found,
            },
        };
        let symbols = &self.state.symbols;
        let letters = symbols.find(tenant).and_then(|tenant| self.state.letters.by_tenant.get(&tenant));
        let Some(letters) = letters else { return found };
        let mut rest = letters.range((Bound::Unbounded, before)).rev();
        let is = |have: &str, wanted: &str| wanted.is_empty() || have == wanted;
        for _ in 0..self.config.limits.list_scan_max {
            let Some((position, letter)) = rest.next() else {
                found.next.clear();
                return found;
            };
            let (workflow, name) = (symbols.name(letter.workflow), symbols.name(letter.name));
            let is_of_run = filter.run_id.is_none_or(|run| run == letter.run);
            if is(workflow, &filter.workflow) && is(name, &filter.name) && is_of_run {
                found.items.push(self.letter_view(letter));
            }
            found.next = position.to_string();
            if found.items.len() >= limit.max(1) {
                break;
            }
        }
        if rest.next().is_none() {
            found.next.clear();
        }
        found
    }

    /// One of them.
    #[must_use]
    pub fn dead_letter(&self, tenant: &str, id: &str) -> Option<DeadLetterView> {
        let (run, node) = id.split_once('~')?;
        let tenant = self.state.symbols.find(tenant)?;
        let position = self.state.letters.find(tenant, crate::id::RunId::parse(run)?, node)?;
        self.state.letters.by_tenant.get(&tenant)?.get(&position).map(|letter| self.letter_view(letter))
    }

    fn letter_view(&self, letter: &Letter) -> DeadLetterView {
        let name = |sym| self.state.symbols.name(sym).clone();
        DeadLetterView {
            id: format!("{}~{}", letter.run, letter.node),
            run_id: letter.run,
            node: letter.node.to_string(),
            attempt: letter.attempt,
            error_type: letter.error.kind.to_string(),
            error_message: letter.error.message.to_string(),
            workflow: name(letter.workflow),
            version: name(letter.version),
            name: name(letter.name),
            time_ns: letter.time_ns,
        }
    }

    /// Breakers of a tenant that are not closed or have something to remember, by name. At most `limit`, after `page`.
    #[must_use]
    pub fn breakers(&self, tenant: &str, limit: usize, page: &str) -> Page<BreakerView> {
        let mut found = Page { items: Vec::new(), next: String::new() };
        let breakers = self.state.symbols.find(tenant).and_then(|tenant| self.state.breakers.by_tenant.get(&tenant));
        let Some(breakers) = breakers else { return found };
        let from = (Bound::Excluded(page), Bound::Unbounded);
        for (name, breaker) in breakers.range::<str, _>(from).filter(|(_, breaker)| !breaker.is_idle()) {
            if found.items.len() >= limit.max(1) {
                found.next = found.items.last().map_or_else(String::new, |last: &BreakerView| last.name.clone());
                break;
            }
            found.items.push(BreakerView {
                name: name.to_string(),
                state: breaker.gate.as_str(),
                failures: breaker.failures,
                due_ns: (breaker.due != 0).then_some(breaker.due),
                changed_ns: (breaker.changed_ns != 0).then_some(breaker.changed_ns),
            });
        }
        found
    }
}
