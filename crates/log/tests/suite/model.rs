//! Any sequence of operations on a log does what the same operations do on a list.

use std::path::Path;

use apex_log::disk::FaultyDisk;
use apex_log::{Log, LogError, Options};
use proptest::prelude::*;

use super::common::{PATIENCE, batch, commit, contents, open, small};

#[derive(Debug, Clone)]
enum Operation {
    Append(Vec<Vec<u8>>),
    AppendAtWrongPosition(u64),
    Snapshot(Vec<u8>),
    Trim(u64),
    Reopen,
    Crash,
}

fn operation() -> impl Strategy<Value = Operation> {
    let body = proptest::collection::vec(any::<u8>(), 1..400);
    prop_oneof![
        10 => proptest::collection::vec(body, 1..6).prop_map(Operation::Append),
        1 => any::<u64>().prop_map(Operation::AppendAtWrongPosition),
        1 => proptest::collection::vec(any::<u8>(), 0..100).prop_map(Operation::Snapshot),
        1 => (0..200_u64).prop_map(Operation::Trim),
        2 => Just(Operation::Reopen),
        1 => Just(Operation::Crash),
    ]
}

struct Model {
    records: Vec<Vec<u8>>,
    start: u64,
    term: u64,
    snapshots: Vec<(u64, Vec<u8>)>,
}

impl Model {
    fn reopen(&mut self, disk: &FaultyDisk, options: &Options) -> Log {
        let (log, recovered) = open(disk, options).unwrap();
        self.term += 1;
        assert_eq!(recovered.position, self.records.len() as u64);
        assert_eq!((recovered.term, recovered.start), (self.term, self.start));
        assert_eq!(recovered.snapshot, self.snapshots.last().cloned());
        assert_eq!(recovered.cut, None);
        log
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_list(operations in proptest::collection::vec(operation(), 1..60), seed in any::<u64>()) {
        let (disk, options) = (FaultyDisk::new(seed), Options { segment_bytes: 4096, archive_after_segments: 0, ..small() });
        let mut model = Model { records: Vec::new(), start: 0, term: 0, snapshots: Vec::new() };
        let mut log = model.reopen(&disk, &options);
        for operation in operations {
            let end = model.records.len() as u64;
            match operation {
                Operation::Append(bodies) => {
                    commit(&log, &bodies).unwrap();
                    model.records.extend(bodies);
                }
                Operation::AppendAtWrongPosition(position) if position != end => {
                    let outcome = log.append(batch(&[vec![1]]).0, 1, position);
                    prop_assert_eq!(outcome, Err(LogError::Conflict { expected: position, next: end }));
                }
                Operation::AppendAtWrongPosition(_) => {}
                Operation::Snapshot(bytes) => {
                    log.save_snapshot(end, &bytes).unwrap();
                    prop_assert!(log.wait_archived(PATIENCE));
                    model.snapshots.retain(|(position, _)| *position != end);
                    model.snapshots.push((end, bytes));
                    let surplus = model.snapshots.len().saturating_sub(2);
                    model.snapshots.drain(..surplus);
                }
                Operation::Trim(upto) => {
                    let start = log.trim(upto).unwrap();
                    let limit = model.snapshots.first().map_or(0, |(oldest, _)| upto.min(*oldest));
                    prop_assert!(start >= model.start && (start == model.start || start <= limit));
                    model.start = start;
                }
                Operation::Reopen => {
                    drop(log);
                    log = model.reopen(&disk, &options);
                }
                Operation::Crash => {
                    drop(log);
                    disk.crash();
                    log = model.reopen(&disk, &options);
                }
            }
            prop_assert_eq!(log.durable(), model.records.len() as u64);
            prop_assert_eq!(contents(&log, model.start), &model.records[model.start as usize..]);
        }
    }

    #[test]
    fn whatever_is_in_a_file_the_log_answers_and_invents_nothing(
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0..4096_usize,
        name in prop_oneof![Just("00000000000000000000.segment"), Just("meta"), Just("floor"), Just("snapshot-00000000000000000003")],
    ) {
        let disk = FaultyDisk::new(0);
        let (log, _) = open(&disk, &small()).unwrap();
        let records: Vec<Vec<u8>> = (0..5).map(|number| vec![number; 50]).collect();
        for record in &records {
            commit(&log, std::slice::from_ref(record)).unwrap();
        }
        log.save_snapshot(3, b"three").unwrap();
        drop(log);
        disk.edit(&Path::new("/log").join(name), |bytes| {
            let at = at.min(bytes.len());
            bytes.splice(at..(at + garbage.len()).min(bytes.len()), garbage.iter().copied());
        });
        match open(&disk, &small()) {
            Err(LogError::Damage(_)) => {}
            Err(error) => prop_assert!(false, "{}", error),
            Ok((log, recovered)) => {
                let kept = contents(&log, 0);
                prop_assert_eq!(kept.as_slice(), &records[..kept.len()]);
                prop_assert!(recovered.snapshot.is_none_or(|(position, bytes)| position == 3 && bytes == b"three"));
            }
        }
    }
}
