//! The records of one run, folded alone.

use super::HistoryError;
use crate::config::Config;
use crate::event::Event;
use crate::id::RunId;
use crate::machine::Machine;
use crate::record::{Header, NONE, verify_chain};
use crate::state::State;
use crate::view::RunView;

/// A record that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) header: Header<'a>,
    pub(crate) payload: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(super) hash: [u8; 32],
}

/// Reads the records of one run, from offset 0 on; their chain is checked.
pub(crate) fn read<'a>(records: &[&'a [u8]]) -> Result<Vec<Record<'a>>, HistoryError> {
    let mut previous = [0; 32];
    let mut found: Vec<Record<'a>> = Vec::with_capacity(records.len());
    for (offset, body) in (0u64..).zip(records) {
        let wrong = |reason: String| HistoryError::Record { offset, reason };
        let (header, payload) = Header::split(body).map_err(|error| wrong(error.to_string()))?;
        previous = verify_chain(&previous, body).map_err(|error| wrong(error.to_string()))?;
        if header.run_id == RunId::REGISTRY || found.first().is_some_and(|first| first.header.run_id != header.run_id) {
            return Err(wrong("it is of another run".into()));
        }
        if header.run_seq != offset {
            return Err(wrong(format!("it has the offset {}", header.run_seq)));
        }
        found.push(Record { header, payload, body, hash: previous });
    }
    Ok(found)
}

/// Folds one of them into a state that holds those before it, and nothing else.
pub(super) fn fold(state: &mut State, record: &Record<'_>) -> Result<(), HistoryError> {
    let wrong = |reason: String| HistoryError::Record { offset: record.header.run_seq, reason };
    if record.header.flags & 1 != 0 {
        return Err(wrong(crate::error::BadRecord::Address.to_string()));
    }
    let event = Event::decode(record.header.event_type, record.header.event_version, record.payload)
        .map_err(|error| wrong(error.to_string()))?;
    // In its log the run had neighbours; here it has none.
    let header = Header {
        sequence: state.sequences[usize::from(record.header.partition)],
        run_prev: if record.header.run_seq == 0 { NONE } else { state.position - 1 },
        ..record.header
    };
    state.fold(&header, &record.hash, &event).map_err(wrong)?;
    Ok(())
}

/// A machine that holds nothing yet and could hold this run.
pub(super) fn empty(records: &[Record<'_>]) -> Machine {
    let partitions = records.first().map_or(0, |first| first.header.partition).saturating_add(1);
    Machine::new(Config { partitions, ..Config::default() })
}

/// The run as it stood after these records, which are its first ones. `head` of the view counts them, less one.
///
/// # Errors
/// Records that cannot be read, are not of one run from offset 0, or were changed.
pub fn view_at(records: &[&[u8]]) -> Result<RunView, HistoryError> {
    let records = read(records)?;
    let mut machine = empty(&records);
    for record in &records {
        fold(&mut machine.state, record)?;
    }
    let first = records.first().ok_or_else(|| HistoryError::Format("there are no records".into()))?;
    let view = machine.run(first.header.tenant, &first.header.run_id);
    view.ok_or_else(|| HistoryError::Format("the records hold no run".into()))
}
