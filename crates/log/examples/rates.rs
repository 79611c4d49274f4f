//! What the log does on this disk: `cargo run --release -p apex-log --example rates -- [folder]`.
//!
//! One JSON object per line: durable appends with 1, 64 and 1,024 in flight (200-byte records, a batch each, woken by the
//! eventfd as the engine is), large batches, opening, scanning and single reads. CPU is user + system of the process.

use std::error::Error;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apex_log::{Log, Options, RealDisk, push_body};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};

const RECORD_BYTES: usize = 200;
const ROUND: Duration = Duration::from_secs(3);

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("apex-log-rates-{}", std::process::id()));
    let outcome = measure(&folder);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn measure(folder: &Path) -> Outcome {
    let begun = Instant::now();
    let log = open(folder)?;
    println!(r#"{{"name": "open_fresh", "ms": {:.1}}}"#, begun.elapsed().as_secs_f64() * 1e3);
    for in_flight in [1, 64, 1024] {
        append(&log, in_flight, 1)?;
    }
    append(&log, 64, 64)?;
    let records = log.durable();
    let stats = log.stats();
    println!(
        r#"{{"name": "fsync", "p50_us": {}, "p99_us": {}}}"#,
        stats.fsync_p50_ns / 1000,
        stats.fsync_p99_ns / 1000
    );
    drop(log);

    for _ in 0..3 {
        let begun = Instant::now();
        let log = open(folder)?;
        report("open", records, begun.elapsed());
        drop(log);
    }
    let log = open(folder)?;
    let begun = Instant::now();
    let mut bytes = 0;
    for record in log.scan(0) {
        bytes += record?.1.len();
    }
    report("scan", records, begun.elapsed());
    let begun = Instant::now();
    let (mut scan, mut again) = (log.scan(0), 0);
    while let Some(batch) = scan.next_batch(1 << 18)? {
        again += batch.bytes.len() - 4 * batch.count as usize;
    }
    report("scan_batches", records, begun.elapsed());
    if bytes != again {
        return Err("the two scans differ".into());
    }
    let reads = 200_000;
    let begun = Instant::now();
    for number in 0..reads {
        // Strides through the log so that neighbours are not read together.
        log.read((number * 7919) % records)?;
    }
    report("read", reads, begun.elapsed());
    Ok(())
}

fn open(folder: &Path) -> Result<Log, Box<dyn Error>> {
    Ok(Log::open(folder, Arc::new(RealDisk), Options::default())?.0)
}

/// Keeps `in_flight` appends of `batch` records each waiting for the disk, from one thread.
fn append(log: &Log, in_flight: usize, batch: u32) -> Outcome {
    let mut bytes = Vec::new();
    for _ in 0..batch {
        push_body(&mut bytes, &[b'x'; RECORD_BYTES]);
    }
    let first = log.durable();
    let groups = log.stats().groups;
    let (mut end, mut waiting) = (first, std::collections::VecDeque::new());
    let mut waits = Vec::new();
    let (begun, cpu) = (Instant::now(), cpu_time());
    while begun.elapsed() < ROUND {
        while waiting.len() < in_flight {
            end = log.append(bytes.clone(), batch, end)?;
            waiting.push_back((end, Instant::now()));
        }
        ring(log)?;
        let durable = log.rearm();
        if let Some(cause) = log.failure() {
            return Err(cause.into());
        }
        while let Some((position, since)) = waiting.pop_front_if(|(position, _)| *position <= durable) {
            debug_assert!(position <= durable);
            waits.push(since.elapsed());
        }
    }
    let (took, cpu) = (begun.elapsed(), cpu_time() - cpu);
    log.wait_durable(end, ROUND)?;
    waits.sort_unstable();
    let records = waits.len() as f64 * f64::from(batch);
    let quantile = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!(
        r#"{{"name": "append", "in_flight": {in_flight}, "batch": {batch}, "rate_per_s": {:.0}, "p50_us": {:.0}, "p99_us": {:.0}, "cpu_us_per_record": {:.2}, "groups": {}}}"#,
        records / took.as_secs_f64(),
        quantile(50),
        quantile(99),
        cpu.as_secs_f64() * 1e6 / records,
        log.stats().groups - groups,
    );
    Ok(())
}

#[allow(unsafe_code, reason = "the interface gives a raw descriptor, as event loops take it")]
fn ring(log: &Log) -> Outcome {
    // SAFETY: the log is alive, so its descriptor is open.
    let fd = unsafe { BorrowedFd::borrow_raw(log.wake_fd()) };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
    Ok(())
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn report(name: &str, records: u64, took: Duration) {
    let rate = records as f64 / took.as_secs_f64();
    println!(
        r#"{{"name": "{name}", "records": {records}, "ms": {:.1}, "rate_per_s": {rate:.0}}}"#,
        took.as_secs_f64() * 1e3
    );
}
