//! Appending, reading, waking, closing; on the real disk unless a fault is needed.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{Log, LogError, Options, RealDisk};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::common::{Folder, PATIENCE, Random, batch, commit, contents, open, small};

fn real(folder: &Folder, options: Options) -> (Log, apex_log::Recovered) {
    Log::open(&folder.0, Arc::new(RealDisk), options).unwrap()
}

#[test]
fn what_was_appended_is_read_back_after_reopening_across_segments() {
    let folder = Folder::new("reopen");
    let mut random = Random(1);
    let mut expected = Vec::new();
    for round in 1..=5 {
        let (log, recovered) = real(&folder, small());
        assert_eq!((recovered.position, recovered.term), (expected.len() as u64, round));
        assert_eq!(recovered.cut, None);
        assert_eq!(contents(&log, 0), expected);
        for _ in 0..60 {
            let bodies = random.bodies(5, 200);
            commit(&log, &bodies).unwrap();
            expected.extend(bodies);
        }
        assert_eq!(contents(&log, 0), expected);
        assert!(log.stats().segments > 2);
        log.close().unwrap();
        assert_eq!(contents(&log, 0), expected, "reading goes on after close");
    }
}

#[test]
fn a_fresh_folder_opens_with_the_defaults_and_writes_no_full_grown_segment_for_it() {
    let folder = Folder::new("fresh").0.join("in/new/folders");
    let (log, recovered) = Log::open(&folder, Arc::new(RealDisk), Options::default()).unwrap();
    let sizes = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    let bytes: u64 = sizes.sum();
    assert!(bytes < 5 << 20, "{bytes} bytes were written before it was open");
    assert_eq!((recovered.position, recovered.start, recovered.term), (0, 0, 1));
    assert_eq!(log.durable(), 0);
    drop(log);
    std::fs::remove_dir_all(folder.ancestors().nth(3).unwrap()).unwrap();
}

#[test]
fn a_batch_that_is_not_what_it_says_is_refused_and_changes_nothing() {
    let folder = Folder::new("refuse");
    let (log, _) = real(&folder, small());
    let (one, _) = batch(&[vec![1; 10]]);
    assert!(matches!(log.append(one.clone(), 2, 0), Err(LogError::Invalid(_))));
    assert!(matches!(log.append(one.clone(), 0, 0), Err(LogError::Invalid(_))));
    assert!(matches!(log.append(one[..9].to_vec(), 1, 0), Err(LogError::Invalid(_))));
    assert!(matches!(log.append([one.clone(), vec![0; 3]].concat(), 1, 0), Err(LogError::Invalid(_))));
    assert!(matches!(log.append(vec![0; 4], 1, 0), Err(LogError::Invalid(_))), "an empty record");
    assert!(matches!(log.append(Vec::new(), 0, 0), Err(LogError::Invalid(_))));
    let (large, _) = batch(&[vec![1; 2049]]);
    assert!(matches!(log.append(large, 1, 0), Err(LogError::TooLarge { what: "record", bytes: 2049, .. })));
    let (many, count) = batch(&vec![vec![1; 2000]; 3]);
    assert!(matches!(log.append(many, count, 0), Err(LogError::TooLarge { what: "batch", .. })));
    assert_eq!(log.append(one.clone(), 1, 1), Err(LogError::Conflict { expected: 1, next: 0 }));
    assert_eq!(log.append(one.clone(), 1, 0), Ok(1));
    assert_eq!(log.append(one, 1, 0), Err(LogError::Conflict { expected: 0, next: 1 }));
    log.close().unwrap();
    assert_eq!(contents(&log, 0), vec![vec![1; 10]]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let folder = Folder::new("options");
    let defaults = Options::default;
    for options in [
        Options { segment_bytes: 2 << 30, ..defaults() },
        Options { first_segment_bytes: 1, ..defaults() },
        Options { record_bytes_max: 33 << 20, ..defaults() },
        Options { queue_bytes_max: 1, ..defaults() },
    ] {
        let refused = Log::open(&folder.0, Arc::new(RealDisk), options);
        assert!(matches!(refused, Err(LogError::Invalid(_))));
    }
    assert!(!folder.0.exists());
}

#[test]
fn close_drains_the_queue_and_then_refuses() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &small()).unwrap();
    // Nothing is durable before the log is being closed.
    disk.plan(Faults { sync_time: Duration::from_secs(3600), ..Faults::default() });
    for position in 0..500 {
        log.append(batch(&[vec![7; 20]]).0, 1, position).unwrap();
    }
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| log.close());
        let begun = Instant::now();
        while log.append(batch(&[vec![7; 20]]).0, 1, 0) != Err(LogError::Closed) {
            assert!(begun.elapsed() < PATIENCE, "it does not close");
            std::thread::yield_now();
        }
        assert_eq!(log.durable(), 0);
        disk.plan(Faults::default());
        closing.join().unwrap().unwrap();
    });
    log.close().unwrap();
    assert_eq!(log.durable(), 500);
    assert_eq!(log.append(batch(&[vec![7; 20]]).0, 1, 500), Err(LogError::Closed));
    assert_eq!(log.wait_durable(501, PATIENCE), Err(LogError::Closed));
    assert_eq!(log.save_snapshot(500, b"late"), Err(LogError::Closed));
    assert_eq!(log.trim(500), Err(LogError::Closed));
    let (again, _) = open(&disk, &small()).unwrap();
    assert_eq!(again.durable(), 500, "the folder is free");
    assert!(log.stats().groups <= 4, "appends that wait share a sync");
}

#[test]
fn batches_of_concurrent_callers_are_kept_whole_and_in_order() {
    let folder = Folder::new("concurrent");
    let (log, _) = real(&folder, Options { segment_bytes: 1 << 20, first_segment_bytes: 1 << 16, ..small() });
    let accepted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for caller in 0..4_u8 {
            let (log, accepted) = (&log, &accepted);
            scope.spawn(move || {
                for number in 0..300_u64 {
                    // Three records that name their batch; who loses the race takes the next position.
                    let tag = [vec![caller], number.to_le_bytes().to_vec()].concat();
                    let (bytes, count) = batch(&[tag.clone(), tag.clone(), tag]);
                    let mut expected = 0;
                    let end = loop {
                        match log.append(bytes.clone(), count, expected) {
                            Ok(end) => break end,
                            Err(LogError::Conflict { next, .. }) => expected = next,
                            Err(error) => panic!("{error}"),
                        }
                    };
                    accepted.fetch_add(3, Ordering::Relaxed);
                    if number % 50 == 0 {
                        assert!(log.wait_durable(end, PATIENCE).unwrap() >= end);
                    }
                }
            });
        }
    });
    log.close().unwrap();
    let kept = contents(&log, 0);
    assert_eq!(kept.len() as u64, accepted.load(Ordering::Relaxed));
    let mut next = [0_u64; 4];
    for records in kept.chunks(3) {
        assert!(records[0] == records[1] && records[1] == records[2]);
        let caller = records[0][0] as usize;
        assert_eq!(records[0][1..], next[caller].to_le_bytes());
        next[caller] += 1;
    }
}

#[test]
fn the_bell_rings_once_until_it_is_armed_again_and_misses_nothing() {
    let folder = Folder::new("bell");
    let (log, _) = real(&folder, small());
    let rings = |wait: Duration| {
        let fd = duplicate(&log);
        let timeout = Timespec::try_from(wait).unwrap();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    assert!(!rings(Duration::ZERO));
    commit(&log, &[vec![1]]).unwrap();
    assert!(rings(PATIENCE));
    commit(&log, &[vec![2]]).unwrap();
    assert_eq!(log.rearm(), 2);

    // A reader that only wakes by the bell sees everything.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for position in 2..400 {
                log.append(batch(&[vec![3]]).0, 1, position).unwrap();
            }
        });
        let mut seen = 2;
        while seen < 400 {
            assert!(rings(PATIENCE), "asleep at {seen} with {} durable", log.durable());
            seen = log.rearm();
        }
    });

    for _ in 0..10 {
        commit(&log, &[vec![4]]).unwrap();
    }
    // A position is seen before its bell; with the thread's end each has rung.
    log.close().unwrap();
    let mut count = [0; 8];
    rustix::io::read(duplicate(&log), &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1, "once since it was armed");
    commit(&log, &[vec![5]]).unwrap_err();
    assert_eq!(log.rearm(), 410);
    assert!(!rings(Duration::ZERO));
}

/// The bell, for `poll`, through a descriptor that this test owns.
#[allow(unsafe_code, reason = "the interface gives a raw descriptor, as event loops take it")]
fn duplicate(log: &Log) -> OwnedFd {
    // SAFETY: the log is alive, so its descriptor is open.
    unsafe { BorrowedFd::borrow_raw(log.wake_fd()) }.try_clone_to_owned().unwrap()
}

#[test]
fn a_scan_that_caught_up_goes_on_later_and_batches_hold_what_records_hold() {
    let folder = Folder::new("scan");
    let (log, _) = real(&folder, small());
    let mut random = Random(5);
    let mut scan = log.scan(0);
    assert!(scan.next().is_none());
    let mut expected = Vec::new();
    for _ in 0..50 {
        let bodies = random.bodies(4, 100);
        commit(&log, &bodies).unwrap();
        for body in &bodies {
            assert_eq!(scan.next().unwrap().unwrap(), (expected.len() as u64, body.clone()));
            expected.push(body.clone());
        }
        assert!(scan.next().is_none());
    }
    let mut batches = log.scan(3);
    let (mut position, mut bytes) = (3, Vec::new());
    while let Some(batch) = batches.next_batch(300).unwrap() {
        assert_eq!(batch.position, position);
        assert!(batch.count == 1 || batch.bytes.len() <= 300);
        position += u64::from(batch.count);
        bytes.extend(batch.bytes);
    }
    assert_eq!(position, expected.len() as u64);
    assert_eq!(bytes, batch(&expected[3..]).0);
}

#[test]
fn a_second_opener_is_told_who_has_the_folder() {
    let folder = Folder::new("locked");
    let (log, _) = real(&folder, small());
    match Log::open(&folder.0, Arc::new(RealDisk), small()).map(|_| ()) {
        Err(LogError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(log);
    assert_eq!(real(&folder, small()).1.term, 2);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = Folder::new("file");
    std::fs::write(&folder.0, b"a file").unwrap();
    match Log::open(&folder.0.join("log"), Arc::new(RealDisk), small()).map(|_| ()) {
        Err(LogError::Io { op: "create", path, .. }) => assert_eq!(path, folder.0.join("log")),
        other => panic!("{other:?}"),
    }
    std::fs::remove_file(&folder.0).unwrap();
}
