//! apex-machine
