//! What the log promises, proved through its public interface, on the real disk and on one that fails on a seed.
#![allow(clippy::unwrap_used)]

mod append;
mod archive;
mod blobs;
mod common;
mod crash;
mod damage;
mod erase;
mod faults;
mod fixtures;
mod kill;
mod model;
mod order;
mod seal;
mod snapshots;
mod view;
