//! What a history finds.

use std::fmt;

/// Something is not as it must be. The sentence says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// Goes on if it holds.
macro_rules! check {
    ($holds:expr, $($said:tt)*) => {
        if !$holds {
            return Err($crate::wrong::Wrong(format!($($said)*)));
        }
    };
}
pub(crate) use check;
