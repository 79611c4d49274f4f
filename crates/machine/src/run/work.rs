//! What is to be done next in a run. A cache: it follows from the state and the IR, and is made anew from them.
//! Each piece looks at the state again before it does anything, so one that came too late changes nothing.

use apex_ir::ir::NodeIx;

/// One piece; it records a few events at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The join of a node fired.
    Start { scope: u32, ix: NodeIx, cause: u64 },
    /// No token will reach a node.
    Skip { scope: u32, ix: NodeIx, cause: u64 },
    /// A required quorum cannot be reached any more.
    Unreachable { scope: u32, ix: NodeIx, cause: u64 },
    /// A join with `cancel_rest` fired: go on with the nodes it cancels at this place of its list.
    Rest { scope: u32, ix: NodeIx, at: u32 },
    /// An attempt failed and is to be tried again.
    Retry { scope: u32, slot: u32 },
    /// The time of a retry came while the run was paused.
    Again { scope: u32, slot: u32 },
    /// A map or a loop has bodies to open, or is done.
    Pump { scope: u32, slot: u32, ix: NodeIx },
    /// All nodes of a body are decided.
    Close { scope: u32 },
    /// A body failed, or its node did: cancel what is in flight in it, then close it.
    Abandon { scope: u32, failed: bool },
    /// Take back one job or child in flight in a body that is abandoned.
    Recall { scope: u32, slot: u32 },
    /// A composite node was said to start a run: its first record.
    Begin { scope: u32, slot: u32 },
    /// The run is failing: ask one job or child to end, or note that nobody executes it.
    Stop { scope: u32, slot: u32 },
}
