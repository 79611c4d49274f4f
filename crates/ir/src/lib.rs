//! apex-ir
