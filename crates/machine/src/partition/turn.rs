//! A turn being built: each event becomes a record and is folded into the state at once.

use crate::action::{Answer, Refusal, Reply};
use crate::event::Event;
use crate::event::wire::write_json_str;
use crate::id::RunId;
use crate::machine::{Action, Machine};
use crate::record::{Header, NONE};
use crate::state::fold::Touched;

impl Machine {
    /// There is room for one more record. A turn exceeds its bounds by what one step decides, at most.
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.config.limits.events_per_turn_max && self.out.len() < self.config.limits.bytes_per_turn_max
    }

    /// Records an event of an open run.
    pub(crate) fn emit(&mut self, slot: u32, event: &Event<'_>, causation: u64) -> Touched {
        let start = self.begin();
        let state = &self.state;
        let Some(run) = state.run(slot) else { unreachable!("an event of a run that is not open") };
        let partition = run.id.partition();
        let header = Header {
            event_type: event.number(),
            event_version: 1,
            flags: 0,
            partition,
            epoch: run.epoch,
            sequence: state.sequences[usize::from(partition)],
            term: self.config.term,
            run_id: run.id,
            run_seq: run.next_seq,
            run_prev: if run.next_seq == 0 { NONE } else { run.head },
            time_ns: self.now,
            causation,
            tenant: state.symbols.name(run.tenant),
            correlation: &run.correlation,
        };
        let hash = header.write(&run.hash, &mut self.out, |out| event.encode(out));
        // The run knows its tenant and correlation; the fold needs them only for a run's first event.
        let header = Header { tenant: "", correlation: "", ..header };
        self.end(start, &header, &hash, event)
    }

    /// Records the first event of a run.
    pub(crate) fn emit_first(&mut self, run_id: RunId, tenant: &str, correlation: &str, event: &Event<'_>) -> Touched {
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

    fn end(&mut self, start: usize, header: &Header<'_>, hash: &[u8; 32], event: &Event<'_>) -> Touched {
        let length = (self.out.len() - start - 4) as u32;
        self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
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

    fn reply(&mut self, token: u64, outcome: Result<Answer, Refusal>) {
        if token != 0 {
            self.actions.push_back((self.state.position, Action::Reply(Box::new(Reply { token, outcome }))));
            // A panic in what follows the answer must not answer again.
            self.answered();
        }
    }
}

/// A refusal without details.
pub(crate) fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into(), details: Vec::new() }
}

/// `{"errors": [{"pointer", "detail", "code"}]}` of a compiler's findings.
pub(crate) fn error_list(diagnostics: &[apex_ir::Diagnostic]) -> Vec<u8> {
    let mut out = b"{\"errors\":[".to_vec();
    for (n, diagnostic) in diagnostics.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"pointer\":");
        write_json_str(&diagnostic.pointer, &mut out);
        out.extend_from_slice(b",\"detail\":");
        write_json_str(&diagnostic.message, &mut out);
        out.extend_from_slice(b",\"code\":");
        write_json_str(diagnostic.code, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}
