//! What the record of a dead letter changes.

use super::{Folding, Unfit};
use crate::event::node::DeadLettered;
use crate::record::Header;
use crate::state::letter::Letter;
use crate::state::run::Fault;
use crate::state::symbols::Sym;

impl Folding<'_> {
    /// The letter, and whose it is.
    pub(super) fn dead_lettered(&mut self, header: &Header<'_>, e: &DeadLettered<'_>) -> Result<(Sym, Letter), Unfit> {
        let place = self.touch(e.node)?;
        if let Some(extra) = &mut self.run.extra {
            extra.letters.retain(|waiting| *waiting != place);
        }
        let error = e.error.as_ref().ok_or("a dead letter without an error")?;
        let letter = Letter {
            run: self.run.id,
            node: e.node.into(),
            attempt: e.attempt,
            error: Fault { kind: error.r#type.into(), message: error.message.into() },
            workflow: self.run.workflow,
            version: self.run.version,
            name: self.symbols.intern(e.name),
            time_ns: header.time_ns,
        };
        Ok((self.run.tenant, letter))
    }
}
