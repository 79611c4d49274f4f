//! Compiles the protos to one descriptor set, so that reflection can serve them. Needs no protoc.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 8] = [
    "apex/v1/approval.proto",
    "apex/v1/optimizer.proto",
    "apex/v1/patch.proto",
    "apex/v1/run.proto",
    "apex/v1/schedule.proto",
    "apex/v1/worker.proto",
    "apex/v1/workflow.proto",
    "grpc/health/v1/health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let set = protox::compile(FILES, [&root])?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("apex.bin"), set.encode_to_vec())?;
    Ok(())
}
