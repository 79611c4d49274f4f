//! The durable log: bytes that survive.
//!
//! Holds: the record format, group commit (one queue, one thread, one `fdatasync` per group), preallocated segments,
//! the hash chain, recovery, snapshots, archives, trimming, poison, and the disk seam.
//! May know: files, threads, bytes. Knows nothing of events, runs or partitions: a record is an opaque body.
//! Never: acknowledges before `fdatasync` returned, or anything at all after one failed; repairs silently.
//! In: batches of length-prefixed bodies. Out: positions, one wake-up per committed group, bodies by position.
//!
//! The bytes on disk are law: `docs/formats/log.md`.

mod archive;
mod batch;
mod bell;
mod blobs;
pub mod disk;
mod erase;
mod error;
mod floor;
mod format;
mod group;
mod index;
mod log;
mod meta;
mod options;
mod queue;
mod recovery;
mod scan;
mod seal;
mod segment;
mod snapshot;
mod spare;
mod stats;
mod view;
mod walk;
mod writer;

pub use batch::push_body;
pub use blobs::{Address, Blob, Blobs, Stored, Upload};
pub use disk::{Disk, DiskFile, Lock, RealDisk};
pub use erase::{Erased, Erasure, Swept, count_erasable, erase, sweep};
pub use error::{Damage, LogError};
pub use log::{Log, Recovered};
pub use options::Options;
pub use queue::Space;
pub use recovery::Cut;
pub use scan::{Scan, ScanBatch};
pub use seal::MasterKeys;
pub use stats::Stats;
pub use view::{Depth, Part, View};
