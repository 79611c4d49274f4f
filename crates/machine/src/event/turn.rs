//! A turn of a run in one record: what `fidelity: fast` writes (docs/decisions/0012).

use super::Event;
use super::wire::{BYTES, Message, Reader, put_nested, write_json_str};
use crate::error::BadRecord;

/// Decisions in their order. On the wire each is a field: its number is that of the event's type.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TurnRecorded<'a> {
    pub(crate) decisions: Vec<Event<'a>>,
}

/// Appends a decision to the payload of a `TurnRecorded`.
pub(crate) fn put_decision(event: &Event<'_>, out: &mut Vec<u8>) {
    put_nested(u32::from(event.number()), out, |out| event.encode(out));
}

impl<'a> Message<'a> for TurnRecorded<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        for event in &self.decisions {
            put_decision(event, out);
        }
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, BadRecord> {
        let mut reader = Reader::new(bytes);
        let mut decisions = Vec::new();
        while let Some((number, wire)) = reader.field()? {
            let number = u8::try_from(number).map_err(|_| BadRecord::Payload)?;
            let payload = if wire == BYTES { reader.take()? } else { return Err(BadRecord::Payload) };
            if !is_part_of_a_turn(number) {
                return Err(BadRecord::Type(number, 1));
            }
            decisions.push(Event::decode(number, 1, payload)?);
        }
        Ok(TurnRecorded { decisions })
    }

    fn render_message(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"decisions\":[");
        for (n, event) in self.decisions.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"type\":");
            write_json_str(super::name(event.number()).unwrap_or_default(), out);
            out.extend_from_slice(b",\"payload\":");
            event.render(out);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
}

/// The types that a turn may hold: what routing decides of nodes. Starts and ends, what people do and what is undone
/// have records of their own.
fn is_part_of_a_turn(number: u8) -> bool {
    matches!(number, 30..=33 | 36 | 37 | 50 | 51)
}

impl<'a> Event<'a> {
    /// The part of it that a fast run records, where that stands in a turn.
    pub(crate) fn in_a_turn(&self) -> Option<Event<'a>> {
        if !is_part_of_a_turn(self.number()) {
            return None;
        }
        match self {
            Event::TimerFired(e) if !e.timer.is_empty() => return None,
            _ => {}
        }
        let mut event = self.clone();
        match &mut event {
            Event::ToolResultReceived(e) if !e.kept_all.0 && e.cached_max.0 == 0 => e.output.0 = &[],
            Event::TimerFired(e) if !e.kept_all.0 => e.output.0 = &[],
            _ => {}
        }
        Some(event)
    }
}
