//! JSON Schema, draft 2020-12 (json-schema.org/draft/2020-12): what `inputs` and `output_schema` may be, and whether
//! inputs are valid.
//!
//! Own code, because a check runs where a run is decided: it must cost the same units everywhere and have a bound
//! (a schema of thirty lines of `allOf` can ask for 2^30 checks), match patterns in linear time, and fetch nothing.
//! All keywords of core, applicator, validation and unevaluated are there, save `$dynamicRef` and `$id` inside a
//! schema, which are refused; `format` and `content…` are annotations, as the standard has it by default.

mod check;
mod compile;

use crate::Diagnostic;
use crate::value::ValueLimits;
use crate::value::scan::read;

/// Checks a value against a schema that stood in a definition.
///
/// # Errors
/// All faults, with pointers into the value.
pub fn check_against(schema: &[u8], value: &[u8]) -> Result<(), Vec<Diagnostic>> {
    let document = read(value, &ValueLimits::default()).map_err(|error| vec![error.into()])?;
    Schema::of_canonical(schema).check(&document)
}

pub(crate) use compile::{Schema, check, closed_properties};
