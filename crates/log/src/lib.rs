//! apex-log
