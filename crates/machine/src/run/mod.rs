//! One run: what follows from a command, a result or a time. A file per subject; each decides, records, and leaves the
//! rest as `Work`. May evaluate expressions and read limits; what they gave is in the event.

pub(crate) mod again;
pub(crate) mod approval;
pub(crate) mod body;
pub(crate) mod breaker;
pub(crate) mod cancel;
pub(crate) mod changes;
pub(crate) mod composite;
pub(crate) mod correction;
pub(crate) mod finish;
pub(crate) mod fit;
pub(crate) mod heartbeat;
pub(crate) mod letter;
pub(crate) mod lock;
pub(crate) mod r#loop;
pub(crate) mod map;
pub(crate) mod migrate;
pub(crate) mod node;
pub(crate) mod patch;
pub(crate) mod pause;
pub(crate) mod query;
pub(crate) mod rate;
pub(crate) mod replay;
pub(crate) mod result;
pub(crate) mod retry;
pub(crate) mod rollback;
pub(crate) mod routing;
pub(crate) mod saga;
pub(crate) mod scope;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod timer;
pub(crate) mod verdict;
pub(crate) mod visit;
pub(crate) mod work;
