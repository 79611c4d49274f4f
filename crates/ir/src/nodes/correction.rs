//! `correction {model, instructions, max_attempts, timeout_s}`: before the node fails for good, a model proposes another
//! input for it. The instructions are plain text.

use crate::document::Reader;
use crate::ir::Correction;
use crate::value::scan::{At, Kind as Json};

/// Instructions may be so long.
const INSTRUCTIONS_BYTES_MAX: usize = 16_384;
const TIMEOUT_NS: i64 = 60_000_000_000;

/// Reads a correction.
pub(crate) fn read_correction(reader: &mut Reader<'_, '_>, at: At) -> Option<Box<Correction>> {
    let [model, instructions, attempts, timeout] =
        reader.fields(at, "a correction", ["model", "instructions", "max_attempts", "timeout_s"]);
    if reader.document.kind(at) != Json::Object {
        return None;
    }
    let text = instructions.and_then(|at| {
        let text = reader.string(at, "instructions")?;
        if text.len() > INSTRUCTIONS_BYTES_MAX {
            let message = format!("instructions may have {INSTRUCTIONS_BYTES_MAX} bytes, these have {}", text.len());
            reader.note(at, "LIMIT_EXCEEDED", message);
            return None;
        }
        Some(text.into())
    });
    Some(Box::new(Correction {
        model: model.and_then(|at| reader.name(at, "model")).unwrap_or_default(),
        instructions: text.unwrap_or_default(),
        max_attempts: attempts.and_then(|at| reader.integer(at, "max_attempts", 1, 10)).unwrap_or(1),
        timeout_ns: timeout.and_then(|at| reader.seconds(at, "timeout_s", false)).unwrap_or(TIMEOUT_NS),
    }))
}
