//! JSON Schema, draft 2020-12 (json-schema.org/draft/2020-12): what `inputs` and `output_schema` may be, and whether
//! inputs are valid.
//!
//! Own code, because a check runs where a run is decided: it must cost the same units everywhere and have a bound
//! (a schema of thirty lines of `allOf` can ask for 2^30 checks), match patterns in linear time, and fetch nothing.
//! All keywords of core, applicator, validation and unevaluated are there, save `$dynamicRef` and `$id` inside a
//! schema, which are refused; `format` and `content…` are annotations, as the standard has it by default.

mod check;
mod compile;

pub(crate) use compile::{Schema, check, closed_properties};
