//! apex-recall
