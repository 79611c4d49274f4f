//! One owner of the store: a machine, the log it writes, and the executors that hold its jobs. Drives both by the calls
//! that the shell uses: `step`, `append`, `advance`.

use crate::disk::SimDisk;
use crate::wrong::{Wrong, check};
use apex_log::{Log, LogError, Options, Recovered, Space};
use apex_machine::record::split_records;
use apex_machine::{Command, Config, Job, Machine, Turn};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it waits before it looks at the disk again.
const MOMENT: Duration = Duration::from_millis(1);

/// What one step may record beyond the bounds of a turn.
const SLACK: u32 = 4;

/// Turns that were decided and are not with the log yet.
struct Decided {
    records: Vec<u8>,
    count: u32,
}

/// What a client waits for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Register,
    Tag,
    DropLetter,
    Start(Box<apex_machine::command::StartRun>),
    Cancel(apex_machine::RunId),
    Pause(apex_machine::RunId),
    Resume(apex_machine::RunId),
    Signal {
        run_id: apex_machine::RunId,
        sent: crate::oracle::waiting::Sent,
    },
    Publish,
    Schedule,
    PatchWorkflow,
    Change {
        run_id: apex_machine::RunId,
        wish: Box<crate::oracle::programs::Wish>,
        expected: crate::history::changes::Expected,
        /// Nothing was left to decide when it was asked for.
        was_at_rest: bool,
    },
    Resolve {
        ticket: String,
        approve: bool,
    },
    Result {
        run_id: apex_machine::RunId,
        node: String,
        attempt: u32,
        compensation: bool,
    },
}

/// An owner.
pub(crate) struct House {
    pub(crate) machine: Machine,
    disk: SimDisk,
    log: Log,
    decided: VecDeque<Decided>,
    /// Records that the log has taken.
    appended: u64,
    pub(crate) more: bool,
    /// Jobs that an executor holds.
    pub(crate) jobs: BTreeMap<u64, Job>,
    /// Results that were told: job and attempt.
    pub(crate) told: Vec<(u64, u32)>,
    pub(crate) asked_to_end: BTreeSet<u64>,
    pub(crate) asked: BTreeMap<u64, Asked>,
    bounds: (u32, usize),
}

pub(crate) fn folder() -> &'static Path {
    Path::new("/log")
}

impl House {
    /// Opens the log; the machine is still empty.
    pub(crate) fn open(disk: &SimDisk, config: &Config, options: &Options) -> Result<(House, Recovered), LogError> {
        let disk = disk.of_next_process();
        let (log, recovered) = Log::open(folder(), Arc::new(disk.clone()), options.clone())?;
        let config = Config { term: recovered.term, ..config.clone() };
        let bounds = (config.limits.events_per_turn_max + SLACK, config.limits.bytes_per_turn_max);
        let house = House {
            machine: Machine::new(config),
            disk,
            log,
            decided: VecDeque::new(),
            appended: recovered.position,
            more: false,
            jobs: BTreeMap::new(),
            told: Vec::new(),
            asked_to_end: BTreeSet::new(),
            asked: BTreeMap::new(),
            bounds,
        };
        Ok((house, recovered))
    }

    /// One turn; gives its record bodies.
    pub(crate) fn step(&mut self, now: i64, commands: Vec<(u64, Command)>) -> Result<Vec<Vec<u8>>, Wrong> {
        let before = self.machine.position();
        let Turn { records, count, position, more } = self.machine.step(now, commands);
        let bodies = split_records(&records).map_err(|error| Wrong(format!("a turn cannot be read: {error}")))?;
        let bodies: Vec<Vec<u8>> = bodies.into_iter().map(<[u8]>::to_vec).collect();
        check!(bodies.len() == count as usize, "a turn of {} records says {count}", bodies.len());
        check!(position == before + u64::from(count), "invariant 3: position {position} after {before} and {count}");
        let (count_max, bytes_max) = self.bounds;
        check!(count <= count_max, "invariant 10: a turn of {count} records, bound {count_max}");
        let largest = bodies.iter().map(Vec::len).max().unwrap_or(0) * SLACK as usize;
        check!(records.len() <= bytes_max + largest, "invariant 10: a turn of {} bytes", records.len());
        self.more = more;
        if count > 0 {
            self.decided.push_back(Decided { records, count });
        }
        Ok(bodies)
    }

    /// Whether something waits for the log.
    pub(crate) fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// Gives the log the first turns that wait, as one group, and waits for it, unless the disk is full or slow. Gives
    /// what is durable.
    pub(crate) fn write(&mut self, turns: usize) -> Result<u64, LogError> {
        let turns = turns.min(self.decided.len());
        let batch: Vec<u8> = self.decided.iter().take(turns).flat_map(|turn| turn.records.iter().copied()).collect();
        let count = self.decided.iter().take(turns).map(|turn| turn.count).sum();
        if count > 0 {
            match self.log.append(batch, count, self.appended) {
                Ok(appended) => self.appended = appended,
                // It is kept, and told again when there is room.
                Err(LogError::NoSpace) if self.disk.is_full() => return Ok(self.log.durable()),
                Err(error) => return Err(error),
            }
            self.decided.drain(..turns);
        }
        self.wait()
    }

    /// Waits for what was appended, or until the disk says that it must wait longer.
    fn wait(&self) -> Result<u64, LogError> {
        let begun = Instant::now();
        loop {
            let is_held = || {
                let is_full = self.disk.is_full() && self.log.space() == Space::Out;
                is_full || self.disk.is_slow() && self.disk.holds_sync()
            };
            let durable = self.log.wait_durable(self.appended, MOMENT)?;
            if durable >= self.appended || is_held() || begun.elapsed() > PATIENCE {
                return Ok(durable);
            }
        }
    }

    /// The disk is well again: what waited for it is written. Gives what is durable.
    pub(crate) fn catch_up(&mut self) -> Result<u64, LogError> {
        self.disk.be_well();
        self.log.wait_durable(self.appended, PATIENCE)
    }

    /// Whether the log waits for room.
    pub(crate) fn is_out_of_room(&self) -> bool {
        self.disk.is_full() && self.log.space() == Space::Out
    }

    /// Waits until all that may be archived is, or could not be.
    pub(crate) fn wait_archived(&self) -> bool {
        self.log.wait_archived(PATIENCE)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.log.durable()
    }

    pub(crate) fn save_snapshot(&self, position: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.log.save_snapshot(position, bytes)
    }

    pub(crate) fn trim(&self, upto: u64) -> Result<u64, LogError> {
        self.log.trim(upto)
    }

    pub(crate) fn read(&self, position: u64) -> Result<Option<Vec<u8>>, LogError> {
        self.log.read(position)
    }

    pub(crate) fn scan(&self, from: u64) -> Result<Vec<(u64, Vec<u8>)>, LogError> {
        self.log.scan(from).collect()
    }
}
