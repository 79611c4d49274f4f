//! What is wrong with a document: a code, the place, a sentence and, where one is known, a hint.

/// One fault of a definition, or of a run's inputs. Codes have a page each in `docs/errors/diagnostics.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, for programs.
    pub code: &'static str,
    /// JSON pointer (RFC 6901) into the document; empty is the whole document.
    pub pointer: String,
    /// One sentence for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}
