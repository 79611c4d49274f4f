//! What is wrong with a document: a code, the place, a sentence and, where one is known, a hint.

use crate::value::ValueError;

/// One fault of a definition, or of a run's inputs. Codes are explained in `docs/errors/diagnostics.md`.
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

impl From<ValueError> for Diagnostic {
    fn from(error: ValueError) -> Self {
        Self { code: error.code, pointer: error.pointer, message: error.message, hint: None }
    }
}

/// Names longer than this are not compared: a typing error in one is no likelier than another name.
const NEAR_BYTES_MAX: usize = 64;

/// The known name that is closest to a mistyped one: at most a third of its letters differ.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if name.is_empty() || name.len() > NEAR_BYTES_MAX {
        return None;
    }
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for other in known {
        if other.len() > NEAR_BYTES_MAX || other == name || other.len().abs_diff(name.len()) > allowed * 4 {
            continue;
        }
        let distance = edits(name, other);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, other));
        }
    }
    best.map(|(_, other)| other)
}

/// Edits between two words: insert, delete, replace, swap of neighbours (optimal string alignment); case is half
/// the matter, so it is not counted.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut two_back: Vec<usize> = vec![0; b.len() + 1];
    let mut before: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            row[j] = (before[j] + 1).min(row[j - 1] + 1).min(before[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(two_back[j - 2] + 1);
            }
        }
        two_back = std::mem::replace(&mut before, row);
    }
    before[b.len()]
}
