//! apex-front
