//! Power losses, kills and failed syncs at any change, again and again, on 10,000 seeds: what was acknowledged is there.

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{LogError, MasterKeys, Options};

use super::common::{PATIENCE, Random, batch, contents, open, small};

const SEEDS: u64 = 10_000;

/// One folder's life on one seed.
fn live(seed: u64) {
    let mut random = Random(seed);
    let disk = FaultyDisk::new(random.below(u64::MAX));
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let options = Options {
        segment_bytes: 4096 << random.below(2),
        group_bytes_max: 512,
        record_bytes_max: 256,
        archive_after_segments: random.below(2),
        keys: if random.below(3) == 0 { MasterKeys::parse(key).unwrap() } else { MasterKeys::default() },
        ..small()
    };
    // What was handed to `append`; a prefix of at least `acknowledged` must be there.
    let mut history: Vec<Vec<u8>> = Vec::new();
    let (mut acknowledged, mut term) = (0, 0);
    for _ in 0..2 + random.below(3) {
        let nth = Some(1 + random.below(60));
        disk.plan(match random.below(4) {
            0 => Faults { fail_sync_at: nth, ..Faults::default() },
            1 => Faults { fail_write_at: nth, ..Faults::default() },
            2 => Faults { power_off_at: nth, fail_sync_at: Some(1 + random.below(60)), ..Faults::default() },
            _ => Faults { power_off_at: nth, ..Faults::default() },
        });
        let opened = open(&disk, &options);
        match &opened {
            Ok((log, recovered)) => {
                assert!(recovered.position >= acknowledged, "{acknowledged} acknowledged, {recovered:?}");
                assert!(recovered.position <= history.len() as u64, "more than was written");
                assert!(recovered.term > term, "the term did not rise");
                term = recovered.term;
                acknowledged = recovered.position;
                history.truncate(acknowledged as usize);
                // The disk may fail under the reader too; what it returns is right.
                for record in log.scan(0) {
                    match record {
                        Ok((position, body)) => assert_eq!(body, history[position as usize]),
                        Err(LogError::Io { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                run(log, &mut random, &mut history);
                acknowledged = log.durable();
            }
            Err(LogError::Io { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        drop(opened);
        // After a failed sync a process may be restarted on the same machine, with a page cache that tells tales.
        if random.below(3) == 0 { disk.kill() } else { disk.crash() }
    }
    let (log, recovered) = open(&disk, &options).unwrap();
    assert!(recovered.position >= acknowledged, "{acknowledged} acknowledged, {recovered:?}");
    assert_eq!(contents(&log, 0), history[..recovered.position as usize]);
    drop(log);
    disk.crash();
    let (log, again) = open(&disk, &options).unwrap();
    assert_eq!(again.position, recovered.position, "what recovery served was not durable");
    assert_eq!(contents(&log, 0), history[..recovered.position as usize]);
}

/// Appends, sometimes waiting, until it fails or is enough.
fn run(log: &apex_log::Log, random: &mut Random, history: &mut Vec<Vec<u8>>) {
    for _ in 0..random.below(40) {
        if random.below(8) == 0 {
            // It may fail with the disk, and lets older segments go to archives.
            let _ = log.save_snapshot(log.durable(), b"state");
        }
        let bodies = random.bodies(4, 100);
        let (bytes, count) = batch(&bodies);
        match log.append(bytes, count, history.len() as u64) {
            Ok(end) => {
                history.extend(bodies);
                assert_eq!(end, history.len() as u64);
                if random.below(2) == 0 && log.wait_durable(end, PATIENCE).is_err() {
                    return;
                }
            }
            Err(LogError::Poisoned(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_else_appears() {
    let only: Option<u64> = std::env::var("APEX_LOG_SEED").ok().and_then(|seed| seed.parse().ok());
    let lanes = std::thread::available_parallelism().map_or(1, |lanes| lanes.get() as u64);
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let seeds = (0..SEEDS).filter(move |seed| seed % lanes == lane && only.is_none_or(|only| only == *seed));
            scope.spawn(move || {
                for seed in seeds {
                    if let Err(panic) = std::panic::catch_unwind(|| live(seed)) {
                        eprintln!("seed {seed}: repeat with APEX_LOG_SEED={seed}");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

#[test]
fn power_lost_at_every_single_change_of_a_short_life() {
    let script = |disk: &FaultyDisk| -> Result<u64, LogError> {
        let (log, recovered) = open(disk, &small())?;
        for number in 0..6_u8 {
            let (bytes, count) = batch(&[vec![number; 700], vec![number; 10]]);
            let end = log.append(bytes, count, recovered.position + u64::from(number) * 2)?;
            if log.wait_durable(end, PATIENCE).is_err() {
                break;
            }
        }
        Ok(log.durable())
    };
    let disk = FaultyDisk::new(0);
    assert_eq!(script(&disk).unwrap(), 12);
    let changes = disk.changes();
    assert!(changes > 20);
    for nth in 1..=changes {
        for seed in 0..20 {
            let disk = FaultyDisk::new(seed);
            disk.plan(Faults { power_off_at: Some(nth), ..Faults::default() });
            let acknowledged = script(&disk).unwrap_or(0);
            disk.crash();
            let (log, recovered) = open(&disk, &small()).unwrap_or_else(|error| panic!("{nth} {seed}: {error}"));
            assert!(recovered.position >= acknowledged && recovered.position <= 12, "{nth} {seed}");
            for (position, body) in contents(&log, 0).into_iter().enumerate() {
                assert_eq!(body[0], position as u8 / 2, "{nth} {seed}");
            }
        }
    }
}
