//! Sends once what is asked twice: `GET` and `HEAD` requests that are equal and ready at the same time.
//!
//! What a server answers may change from one moment to the next, so only requests with the same edges into them are
//! merged: both could have been answered at the same moment. No race, and no failure that decides where the run goes on.

use apex_pass::input::{Effect, Input};
use apex_pass::{Graph, Patch, merge::merge};

/// The pass.
pub fn pass(input: &Input) -> Option<Patch> {
    merge(Graph::new(input), |node, _| node.kind == "http" && node.effect != Effect::Write, "send the same request")
}

apex_pass::export!(crate::pass);
