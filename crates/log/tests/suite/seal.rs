//! Encryption: nothing of what was written can be read from the files, everything can with the key, and nothing without.

use std::path::Path;
use std::sync::Arc;

use apex_log::disk::faulty::{Faults, FaultyDisk};
use apex_log::{Depth, Disk, Log, LogError, MasterKeys, Options, Recovered, View};

use super::common::{PATIENCE, commit, contents, folder, open, small};

const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SECOND: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn keys(text: &str) -> MasterKeys {
    MasterKeys::parse(text).unwrap()
}

fn options(text: &str) -> Options {
    Options { segment_bytes: 8192, archive_after_segments: 0, keys: keys(text), ..small() }
}

fn secret(position: u64) -> Vec<u8> {
    format!("secret number {position}, ").into_bytes().repeat(9)
}

fn all(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(secret).collect()
}

fn write(log: &Log, from: u64, to: u64) {
    for position in (from..to).step_by(2) {
        commit(log, &[secret(position), secret(position + 1)]).unwrap();
    }
}

/// Two hundred records; most of them archived.
fn life(disk: &FaultyDisk, text: &str) -> Log {
    let (log, _) = open(disk, &options(text)).unwrap();
    write(&log, 0, 200);
    log.save_snapshot(150, b"a secret state at 150").unwrap();
    log.save_snapshot(198, b"a secret state at 198").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert_eq!(log.stats().archive_failures, 0);
    assert!(log.stats().archives > 0);
    log
}

fn view(disk: &FaultyDisk, text: &str) -> Result<View, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    View::open(folder(), &disk, Depth::Everything, &keys(text))
}

fn says(outcome: Result<(Log, Recovered), LogError>, words: &str) {
    match outcome.map(|_| ()) {
        Err(LogError::Key(reason)) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read_with_the_key_and_stands_in_no_file() {
    let disk = FaultyDisk::new(1);
    let log = life(&disk, FIRST);
    assert_eq!(contents(&log, 0), all(200));
    drop(log);
    disk.crash();
    for name in disk.list(folder()).unwrap() {
        let bytes = disk.bytes(&folder().join(&name)).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"secret"), "{name}");
    }
    let (log, recovered) = open(&disk, &options(FIRST)).unwrap();
    assert_eq!(recovered.position, 200);
    assert_eq!(recovered.snapshot, Some((198, b"a secret state at 198".to_vec())));
    assert_eq!(contents(&log, 0), all(200));
    write(&log, 200, 220);
    drop(log);
    assert_eq!(view(&disk, FIRST).unwrap().scan(0).map(|record| record.unwrap().1).collect::<Vec<_>>(), all(220));
}

#[test]
fn without_the_key_nothing_opens_and_nothing_is_changed() {
    let disk = FaultyDisk::new(1);
    drop(life(&disk, FIRST));
    let before: Vec<_> = disk.list(folder()).unwrap().iter().map(|name| disk.bytes(&folder().join(name))).collect();
    says(open(&disk, &small()), "log.key_file");
    says(open(&disk, &options(SECOND)), "is wrapped by the master key");
    assert!(matches!(view(&disk, SECOND).map(|_| ()), Err(LogError::Key(_))));
    let after: Vec<_> = disk.list(folder()).unwrap().iter().map(|name| disk.bytes(&folder().join(name))).collect();
    assert!(before == after);
    assert_eq!(open(&disk, &options(FIRST)).unwrap().1.term, 2);
}

#[test]
fn a_new_first_key_takes_over_at_the_next_opening_and_the_old_one_may_go() {
    let disk = FaultyDisk::new(1);
    drop(life(&disk, FIRST));
    let both = format!("{SECOND}  # since today\n\n{FIRST}\n");
    let (log, _) = open(&disk, &options(&both)).unwrap();
    assert_eq!(contents(&log, 0), all(200));
    drop(log);
    let (log, _) = open(&disk, &options(SECOND)).unwrap();
    assert_eq!(contents(&log, 0), all(200));
    drop(log);
    says(open(&disk, &options(FIRST)), "is wrapped by the master key");
}

#[test]
fn a_log_that_was_plain_is_sealed_from_then_on_and_its_archives_wholly() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &small()).unwrap();
    write(&log, 0, 40);
    drop(log);
    let (log, _) = open(&disk, &options(FIRST)).unwrap();
    write(&log, 40, 200);
    assert_eq!(contents(&log, 0), all(200));
    log.save_snapshot(150, b"state").unwrap();
    log.save_snapshot(200, b"state").unwrap();
    assert!(log.wait_archived(PATIENCE));
    assert_eq!(contents(&log, 0), all(200));
    drop(log);
    for name in disk.list(folder()).unwrap().iter().filter(|name| name.ends_with(".archive")) {
        let bytes = disk.bytes(&folder().join(name)).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"secret"), "{name}");
    }
    assert_eq!(view(&disk, FIRST).unwrap().position, 200);
    says(open(&disk, &small()), "log.key_file");
}

#[test]
fn each_opening_has_a_data_key_of_its_own_so_a_position_is_never_sealed_twice_with_one() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, &options(FIRST)).unwrap();
    commit(&log, &[b"before".to_vec()]).unwrap();
    drop(log);
    // Two gateways go on from one copy of the folder: the same position, the same content, other bytes.
    let sealed = |seed| {
        let copy = disk.copy(seed);
        let (log, _) = open(&copy, &options(FIRST)).unwrap();
        commit(&log, &[b"the same position".to_vec()]).unwrap();
        drop(log);
        let path = folder().join("00000000000000000000.segment");
        let bytes = copy.bytes(&path).unwrap();
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        bytes[end - 64 - 37..end - 63].to_vec()
    };
    assert_ne!(sealed(1), sealed(2));
}

#[test]
fn a_flipped_bit_is_named_and_never_opens() {
    let sample = FaultyDisk::new(1);
    drop(life(&sample, FIRST));
    for name in sample.list(folder()).unwrap() {
        let path = folder().join(&name);
        if !Path::new(&name).extension().is_some_and(|kind| kind == "archive" || kind == "segment") && name != "keys" {
            continue;
        }
        let used = sample.bytes(&path).unwrap().iter().rposition(|&byte| byte != 0).unwrap();
        for byte in (0..used).step_by(5) {
            let disk = sample.copy(1);
            disk.flip(&path, byte, 2);
            match view(&disk, FIRST) {
                Err(LogError::Damage(_) | LogError::Key(_)) => {}
                Err(error) => panic!("{name} {byte}: {error}"),
                // In the last group it is a torn tail.
                Ok(view) => assert!(name.ends_with(".segment") && view.unfinished.is_some(), "{name} {byte}"),
            }
        }
    }
}

#[test]
fn power_lost_at_any_change_of_an_encrypted_life_loses_nothing() {
    for nth in 1..70 {
        for seed in 0..4 {
            let disk = FaultyDisk::new(seed);
            let (log, _) = open(&disk, &options(FIRST)).unwrap();
            write(&log, 0, 60);
            drop(log);
            disk.plan(Faults { power_off_at: Some(nth), ..Faults::default() });
            let mut durable = 60;
            if let Ok((log, _)) = open(&disk, &options(&format!("{SECOND}\n{FIRST}"))) {
                let _ = log.save_snapshot(30, b"state").and_then(|()| log.save_snapshot(60, b"state"));
                for position in 60..70 {
                    if commit_quietly(&log, &secret(position)).is_err() {
                        break;
                    }
                }
                durable = log.durable();
            }
            disk.crash();
            let (log, recovered) = open(&disk, &options(&format!("{SECOND}\n{FIRST}")))
                .unwrap_or_else(|error| panic!("{nth} {seed}: {error}"));
            assert!(recovered.position >= durable, "{nth} {seed}");
            assert_eq!(contents(&log, 0), all(recovered.position), "{nth} {seed}");
        }
    }
}

fn commit_quietly(log: &Log, body: &[u8]) -> Result<u64, LogError> {
    let (bytes, count) = super::common::batch(&[body.to_vec()]);
    let end = log.append(bytes, count, log.durable())?;
    log.wait_durable(end, PATIENCE)
}

#[test]
fn what_is_no_key_is_refused_with_its_line() {
    for (text, words) in [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        ("00ff", "line 1"),
        (&format!("{FIRST}\nnot a key\n"), "line 2"),
        (&FIRST[1..], "line 1"),
    ] {
        match MasterKeys::parse(text) {
            Err(LogError::Key(reason)) => {
                assert!(reason.contains(words), "{reason}");
                assert!(!reason.contains("000102"), "{reason}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    assert_eq!(keys(FIRST), keys("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    assert!(!format!("{:?}", keys(FIRST)).contains("0001020304"));
}
