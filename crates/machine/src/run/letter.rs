//! Dead letters: what failed for good is listed, and dropped from the list.

use crate::action::{Answer, Refusal};
use crate::command::DropDeadLetter;
use crate::error::code;
use crate::event::Event;
use crate::event::node::DeadLettered;
use crate::event::registry::DeadLetterDropped;
use crate::id::RunId;
use crate::machine::Machine;
use crate::partition::program::Program;
use crate::partition::turn::refusal;
use crate::state::run::{Fault, Run};
use apex_ir::ir::Kind;

impl Run {
    /// The next node whose dead letter is to be recorded.
    pub(crate) fn next_letter(&self) -> Option<(u32, u32)> {
        self.extra.as_ref()?.letters.first().copied()
    }
}

impl Machine {
    /// Records the dead letter of a node that was decided as failed.
    pub(crate) fn write_letter(&mut self, slot: u32, program: &Program, place: (u32, u32)) {
        let Some(run) = self.state.run(slot) else { return };
        let path = run.node_path(&self.state.symbols, place.0, place.1);
        let node = run.node(place.0, place.1);
        let (attempt, cause) = node.map_or((0, 0), |node| (node.attempt, node.decided_seq));
        let error = node.and_then(|node| node.error.as_deref().cloned());
        let error = error.unwrap_or_else(|| Fault { kind: "".into(), message: "".into() });
        let definition = node.and_then(|node| program.ix(node.sym)).map(|ix| &program.ir.nodes[ix as usize]);
        let name = match definition.map(|definition| &definition.kind) {
            Some(Kind::Function { name, .. }) => name,
            Some(other) => other.node_type().name(),
            None => "",
        };
        let event = Event::DeadLettered(DeadLettered {
            node: &path,
            attempt,
            error: Some(error.event()),
            name,
            letters_max: self.config.limits.dead_letters_max,
        });
        self.emit(slot, &event, cause);
    }

    /// Takes a dead letter off the list.
    pub(crate) fn drop_dead_letter(&mut self, token: u64, command: &DropDeadLetter) {
        let outcome = self.try_drop(command);
        self.reply(token, outcome);
    }

    fn try_drop(&mut self, command: &DropDeadLetter) -> Result<Answer, Refusal> {
        self.check_name("by", &command.by)?;
        self.check_name("retried_as", &command.retried_as)?;
        let not_found = || {
            let message = format!("there is no dead letter {} (it may have been retried or dropped)", command.id);
            refusal(code::DEAD_LETTER_NOT_FOUND, message)
        };
        let (run, node) = command.id.split_once('~').ok_or_else(not_found)?;
        let run_id = RunId::parse(run).ok_or_else(not_found)?;
        let tenant = self.state.symbols.find(&command.tenant).ok_or_else(not_found)?;
        self.state.letters.find(tenant, run_id, node).ok_or_else(not_found)?;
        let run = run_id.to_string();
        let event = Event::DeadLetterDropped(DeadLetterDropped {
            run_id: &run,
            node,
            by: &command.by,
            retried_as: &command.retried_as,
        });
        self.emit_registry(&command.tenant, &event);
        Ok(Answer { run_id: Some(run_id), ..Answer::default() })
    }
}
