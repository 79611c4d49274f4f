//! The compiler: document in, IR or diagnostics out.

use crate::{Diagnostic, FunctionTable, Ir, Limits};

/// Compiles a definition.
///
/// # Errors
/// All faults at once, in document order.
pub fn compile(
    _definition: &[u8],
    _functions: Option<&FunctionTable>,
    _limits: &Limits,
) -> Result<Ir, Vec<Diagnostic>> {
    unimplemented!()
}
