//! A question about a run as it stood.

use super::drive::begun;
use super::{History, HistoryError, fold};
use crate::action::Refusal;
use crate::view::QueryAnswer;

/// What an expression gives over the run of a history, after its last record; as [`crate::Machine::query`].
///
/// # Errors
/// Bytes that are no history, or records that were changed; inside, why there is no answer.
pub fn query(file: &[u8], expression: &str) -> Result<Result<QueryAnswer, Refusal>, HistoryError> {
    let history = History::read(file)?;
    let records = fold::read(&history.records)?;
    let first = records.first().ok_or_else(|| HistoryError::Format("the history holds no records".into()))?;
    let mut machine = begun(&history, &records, records.len())?;
    Ok(machine.query(first.header.tenant, &first.header.run_id, expression))
}
