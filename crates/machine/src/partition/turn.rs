//! A turn being built: each event becomes a record and is folded into the state at once.

use crate::action::{Answer, Refusal, Reply};
use crate::event::Event;
use crate::event::turn::put_decision;
use crate::event::wire::write_json_str;
use crate::id::RunId;
use crate::machine::{Action, Machine};
use crate::record::{Header, NONE};
use crate::state::State;
use crate::state::fold::Touched;
use crate::state::run::Node;
use apex_ir::Diagnostic;

/// Number of the type of a turn's record.
const TURN_RECORDED: u8 = 20;
/// A turn's record of a fast run is closed when it is larger.
const TURN_BYTES: usize = 64 << 10;

/// Decisions of one fast run that are folded and not recorded yet. At most one run has some: the next event of any other
/// makes their record first, so records stand in the order of decisions.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    slot: u32,
    causation: u64,
    payload: Vec<u8>,
    /// Bytes of it that are folded; what a panic left behind them is cut off.
    sealed: usize,
    decided: u32,
}

impl Pending {
    /// Cuts off what a panic left.
    pub(crate) fn cut(&mut self) {
        self.payload.truncate(self.sealed);
    }
}

impl Machine {
    /// There is room for one more record. A turn exceeds its bounds by what one step decides, at most.
    pub(crate) fn has_room(&self) -> bool {
        let limits = &self.config.limits;
        self.count + self.pending.decided + self.compiled < limits.events_per_turn_max
            && self.out.len() + self.pending.payload.len() < limits.bytes_per_turn_max
    }

    /// Number of records once all that was decided is recorded: what may leave then.
    pub(crate) fn decided(&self) -> u64 {
        self.state.position + u64::from(!self.pending.payload.is_empty())
    }

    /// Offset of the record that the last decision of a run stands in.
    pub(crate) fn offset(&self, slot: u32) -> u64 {
        let open = !self.pending.payload.is_empty() && self.pending.slot == slot;
        self.state.run(slot).map_or(0, |run| (run.next_seq + u64::from(open)).saturating_sub(1))
    }

    /// A decision of a fast run: folded at once, recorded with the next ones of the same run.
    fn note(&mut self, slot: u32, event: &Event<'_>, causation: u64) -> Touched {
        self.seal_others(slot);
        if self.pending.payload.is_empty() {
            self.pending.slot = slot;
            self.pending.causation = causation;
        }
        put_decision(event, &mut self.pending.payload);
        let (header, _) = next_header(&self.state, self.config.term, self.now, slot, TURN_RECORDED, causation);
        let header = Header { tenant: "", correlation: "", ..header };
        let touched = match self.state.fold_decision(slot, &header, event) {
            Ok(touched) => touched,
            Err(reason) => panic!("the machine refused its own event: {reason}"),
        };
        self.pending.sealed = self.pending.payload.len();
        self.pending.decided += 1;
        // What is undone is undone in the order of the records: one record decides one node that may have to be.
        let may_be_undone = matches!(event, Event::ToolResultReceived(_))
            && self.state.run(slot).and_then(|run| run.node(touched.scope, touched.slot)).is_some_and(Node::is_undone);
        if may_be_undone || self.pending.sealed > TURN_BYTES {
            self.seal();
        }
        touched
    }

    /// Makes the record of what was noted.
    pub(crate) fn seal(&mut self) {
        if self.pending.payload.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let start = self.begin();
        let (term, now) = (self.config.term, self.now);
        let (header, previous) = next_header(&self.state, term, now, pending.slot, TURN_RECORDED, pending.causation);
        let hash = header.write(previous, &mut self.out, |out| out.extend_from_slice(&pending.payload));
        let header = Header { tenant: "", correlation: "", ..header };
        self.close(start);
        if let Err(reason) = self.state.record_turn(&header, &hash) {
            panic!("the machine refused its own turn: {reason}");
        }
        self.count += 1;
        self.sealed = self.out.len();
        // The buffer goes on.
        self.pending.payload = pending.payload;
        self.pending.payload.clear();
    }

    /// Makes the record of what another run has noted.
    pub(crate) fn seal_others(&mut self, slot: u32) {
        if self.pending.slot != slot {
            self.seal();
        }
    }

    /// Records an event of an open run.
    pub(crate) fn emit(&mut self, slot: u32, event: &Event<'_>, causation: u64) -> Touched {
        if self.state.run(slot).is_some_and(|run| run.fast)
            && let Some(event) = event.in_a_turn()
        {
            return self.note(slot, &event, causation);
        }
        self.seal();
        let start = self.begin();
        let (term, now) = (self.config.term, self.now);
        let (header, previous) = next_header(&self.state, term, now, slot, event.number(), causation);
        let hash = header.write(previous, &mut self.out, |out| event.encode(out));
        // The run knows its tenant and correlation; the fold needs them only for a run's first event.
        let header = Header { tenant: "", correlation: "", ..header };
        self.end(start, &header, &hash, event)
    }

    /// Records the first event of a run.
    pub(crate) fn emit_first(&mut self, run_id: RunId, tenant: &str, correlation: &str, event: &Event<'_>) -> Touched {
        self.seal();
        let start = self.begin();
        let partition = run_id.partition();
        let header = Header {
            event_type: event.number(),
            event_version: 1,
            flags: 0,
            partition,
            epoch: 0,
            sequence: self.state.sequences[usize::from(partition)],
            term: self.config.term,
            run_id,
            run_seq: 0,
            run_prev: NONE,
            time_ns: self.now,
            causation: NONE,
            tenant,
            correlation,
        };
        let hash = header.write(&[0; 32], &mut self.out, |out| event.encode(out));
        self.end(start, &header, &hash, event)
    }

    /// Records an event of the registry.
    pub(crate) fn emit_registry(&mut self, tenant: &str, event: &Event<'_>) {
        self.seal();
        let start = self.begin();
        let registry = &self.state.registry;
        let header = Header {
            event_type: event.number(),
            event_version: 1,
            flags: 0,
            partition: 0,
            epoch: 0,
            sequence: self.state.sequences[0],
            term: self.config.term,
            run_id: RunId::REGISTRY,
            run_seq: registry.next_seq,
            run_prev: if registry.next_seq == 0 { NONE } else { registry.head },
            time_ns: self.now,
            causation: NONE,
            tenant,
            correlation: "",
        };
        let hash = header.write(&registry.hash, &mut self.out, |out| event.encode(out));
        self.end(start, &header, &hash, event);
    }

    fn begin(&mut self) -> usize {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        start
    }

    fn close(&mut self, start: usize) {
        let length = (self.out.len() - start - 4) as u32;
        self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn end(&mut self, start: usize, header: &Header<'_>, hash: &[u8; 32], event: &Event<'_>) -> Touched {
        self.close(start);
        debug_assert_eq!(
            Header::split(&self.out[start + 4..]).and_then(|(read, payload)| Event::decode(
                read.event_type,
                read.event_version,
                payload
            )),
            Ok(event.clone()),
            "what is written is what was decided"
        );
        match self.state.fold(header, hash, event) {
            Ok(touched) => {
                self.count += 1;
                self.sealed = self.out.len();
                touched
            }
            // Only a fault of this crate gets here; the caller catches it and sets the run aside.
            Err(reason) => panic!("the machine refused its own event: {reason}"),
        }
    }

    /// Answers a command once all that was decided so far is durable.
    pub(crate) fn answer(&mut self, token: u64, answer: Answer) {
        self.reply(token, Ok(answer));
    }

    /// Refuses a command, as the state stands.
    pub(crate) fn refuse(&mut self, token: u64, refusal: Refusal) {
        self.reply(token, Err(refusal));
    }

    /// The one or the other.
    pub(crate) fn reply(&mut self, token: u64, outcome: Result<Answer, Refusal>) {
        if token != 0 {
            self.actions.push_back((self.decided(), Action::Reply(Box::new(Reply { token, outcome }))));
            // A panic in what follows the answer must not answer again.
            self.answered();
        }
    }

    /// The same for a command that a run goes on with: the one in this slot, if any.
    pub(crate) fn reply_and_visit<S: Into<Option<u32>>>(&mut self, token: u64, outcome: Result<(S, Answer), Refusal>) {
        match outcome {
            Ok((slot, answer)) => {
                self.answer(token, answer);
                if let Some(slot) = slot.into() {
                    self.visit_now(slot);
                }
            }
            Err(refusal) => self.refuse(token, refusal),
        }
    }
}

/// The header of the next record of a run, and the hash of the one before.
fn next_header(
    state: &State,
    term: u64,
    now: i64,
    slot: u32,
    event_type: u8,
    causation: u64,
) -> (Header<'_>, &[u8; 32]) {
    let Some(run) = state.run(slot) else { unreachable!("an event of a run that is not open") };
    let partition = run.id.partition();
    let header = Header {
        event_type,
        event_version: 1,
        flags: 0,
        partition,
        epoch: run.epoch,
        sequence: state.sequences[usize::from(partition)],
        term,
        run_id: run.id,
        run_seq: run.next_seq,
        run_prev: if run.next_seq == 0 { NONE } else { run.head },
        time_ns: now,
        causation,
        tenant: state.symbols.name(run.tenant),
        correlation: &run.correlation,
    };
    (header, &run.hash)
}

/// A refusal without details.
pub(crate) fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into(), details: Vec::new() }
}

/// A refusal that names places: pointer and sentence.
pub(crate) fn listed(code: &'static str, message: String, found: &[(String, String)]) -> Refusal {
    let mut details = error_list(found);
    details.push(b'}');
    Refusal { code, message, details }
}

/// The places in the details of a refusal, `{"errors":[…]`: other members may follow.
pub(crate) fn error_list(found: &[(String, String)]) -> Vec<u8> {
    let mut out = b"{\"errors\":[".to_vec();
    for (n, (pointer, detail)) in found.iter().enumerate() {
        out.extend_from_slice(if n > 0 { b",{\"pointer\":" } else { b"{\"pointer\":" });
        write_json_str(pointer, &mut out);
        out.extend_from_slice(b",\"detail\":");
        write_json_str(detail, &mut out);
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// A refusal of what a compiler found.
pub(crate) fn refused(code: &'static str, found: Vec<Diagnostic>) -> Refusal {
    let (message, found) = places(found);
    listed(code, message, &found)
}

/// What a compiler found: the message of the first, and each with its place and its code.
pub(crate) fn places(found: Vec<Diagnostic>) -> (String, Vec<(String, String)>) {
    let message = found.first().map_or_else(String::new, |first| first.message.clone());
    let named = |fault: Diagnostic| (fault.pointer, format!("{} [{}]", fault.message, fault.code));
    (message, found.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_left_behind_what_is_folded_is_cut_off() {
        let mut pending = Pending { payload: vec![1, 2, 3, 4], sealed: 3, decided: 1, ..Pending::default() };
        pending.cut();
        assert_eq!((pending.payload, pending.sealed, pending.decided), (vec![1, 2, 3], 3, 1));
    }
}
