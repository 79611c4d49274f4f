//! The one that writes: group after group at the end of the segment, a sync, then the word that it is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::floor::Floor;
use crate::format::{HEADER_BYTES, Hash, Header, TRAILER_BYTES};
use crate::group::Group;
use crate::index::Index;
use crate::options::Options;
use crate::queue::{Pending, Queue, Space, Taken};
use crate::seal::Keyring;
use crate::segment::Segment;
use crate::spare::{self, Blank, Spare};
use crate::stats::Meter;

/// How often a log looks whether its next segment is there, or whether a full disk has space again.
const TICK: Duration = Duration::from_millis(100);

/// What a writer shares with the rest of the log, and the numbers that it starts from.
pub(crate) struct Ground {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) queue: Arc<Queue>,
    pub(crate) index: Arc<Index>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) floor: Floor,
    pub(crate) term: u64,
}

/// The segment after this one.
enum Next {
    /// Not begun.
    Absent,
    Preparing(Spare),
    Ready(Blank),
    /// It failed, by a full disk or otherwise, at that time; tried again a tick later.
    Failed(Instant),
}

pub(crate) struct Writer {
    ground: Ground,
    file: Arc<dyn DiskFile>,
    segment: Arc<Segment>,
    /// Of the trailers in this segment.
    seed: u32,
    size: u64,
    /// Where the next group goes.
    end: u64,
    position: u64,
    chain: Hash,
    next: Next,
    group: Group,
}

impl Writer {
    /// Begins a segment at `position` with the groups that recovery believes but cannot know to be on the disk, and
    /// makes it durable before anything is served.
    pub(crate) fn start(ground: Ground, position: u64, chain: Hash, tail: Vec<Group>) -> Result<Self, LogError> {
        let need = tail.iter().map(|group| (group.bytes.len() + TRAILER_BYTES) as u64).sum::<u64>();
        let size = ground.options.first_segment_bytes;
        let size_min = HEADER_BYTES as u64 + need;
        let path = ground.dir.join(spare::NAME);
        let blank = spare::make(ground.disk.as_ref(), &path, size, size_min, &AtomicBool::new(false))?;
        let header = Header { base: position, term: ground.term, chain, is_sealed: ground.keyring.seals() };
        let segment = Segment::new(&ground.dir, position, Arc::clone(&blank.file), Vec::new(), HEADER_BYTES as u32);
        let mut writer = Writer {
            file: blank.file,
            segment: Arc::new(segment),
            seed: 0,
            size: blank.size,
            end: 0,
            position,
            chain,
            next: Next::Absent,
            group: Group::new(),
            ground,
        };
        writer.write_header(&header)?;
        for mut group in tail {
            writer.write(&mut group)?;
        }
        writer.sync()?;
        writer.name_segment()?;
        Ok(writer)
    }

    /// The life of the log's thread: until the queue is closed and empty, or the first failure.
    pub(crate) fn run(mut self) {
        let mut batches = Vec::new();
        loop {
            let tick = matches!(self.next, Next::Preparing(_) | Next::Failed(_)).then_some(TICK);
            let outcome = match self.ground.queue.take(&mut batches, self.ground.options.group_bytes_max, tick) {
                Taken::Batches => self.commit(&batches),
                Taken::Tick => Ok(()),
                Taken::Closing => break,
            };
            batches.clear();
            if let Err(cause) = outcome {
                return self.ground.queue.poison(cause);
            }
            self.look_ahead();
        }
        if let Err(cause) = self.close() {
            self.ground.queue.poison(cause);
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    fn commit(&mut self, batches: &[Pending]) -> Result<(), LogError> {
        self.ground.floor.raise(self.position)?;
        let mut group = std::mem::replace(&mut self.group, Group::new());
        group.fill(&self.chain, self.position, batches, &self.ground.keyring)?;
        let need = (group.bytes.len() + TRAILER_BYTES) as u64;
        let is_fresh = self.end + need > self.size;
        if is_fresh {
            self.change_segment(need)?;
        }
        self.write(&mut group)?;
        self.sync()?;
        if is_fresh {
            self.name_segment()?;
        }
        self.ground.meter.committed(u64::from(group.count), need);
        self.ground.queue.acknowledge(self.position);
        self.group = group;
        Ok(())
    }

    /// Writes a group at the end and takes it into the index; it counts as durable only after a sync.
    fn write(&mut self, group: &mut Group) -> Result<(), LogError> {
        group.seal(self.end, self.seed);
        self.write_at(&group.bytes, self.end)?;
        let offset = self.end as u32;
        self.end += group.bytes.len() as u64;
        self.position = group.end();
        self.chain = group.hash;
        self.segment.extend(&group.starts, offset, self.end as u32);
        Ok(())
    }

    fn write_header(&mut self, header: &Header) -> Result<(), LogError> {
        let (bytes, seed) = header.encode();
        self.seed = seed;
        self.end = HEADER_BYTES as u64;
        self.write_at(&bytes, 0)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), LogError> {
        self.file.write_at(bytes, offset).map_err(|error| LogError::io("write", &self.path(), &error))
    }

    fn sync(&self) -> Result<(), LogError> {
        let begun = Instant::now();
        self.file.fdatasync().map_err(|error| LogError::io("fdatasync", &self.path(), &error))?;
        self.ground.meter.synced(begun.elapsed());
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.ground.dir.join(&self.segment.name)
    }

    /// Goes on in a blank file. It has no name of its own until its header and first group are durable, so that a
    /// segment that is seen is always whole up to there.
    fn change_segment(&mut self, need: u64) -> Result<(), LogError> {
        let blank = self.take_blank(HEADER_BYTES as u64 + need)?;
        let file = Arc::clone(&blank.file);
        self.segment = Arc::new(Segment::new(&self.ground.dir, self.position, file, Vec::new(), HEADER_BYTES as u32));
        self.file = blank.file;
        self.size = blank.size;
        let is_sealed = self.ground.keyring.seals();
        self.write_header(&Header { base: self.position, term: self.ground.term, chain: self.chain, is_sealed })
    }

    fn name_segment(&mut self) -> Result<(), LogError> {
        let (from, to) = (self.ground.dir.join(spare::NAME), self.path());
        self.ground.disk.rename(&from, &to).map_err(|error| LogError::io("rename", &to, &error))?;
        self.ground.disk.sync_dir(&self.ground.dir).map_err(|error| LogError::io("sync", &self.ground.dir, &error))?;
        self.ground.index.push(Arc::clone(&self.segment));
        Ok(())
    }

    /// A blank of at least `size_min`. On a full disk it waits here, with what was queued, until there is space or the
    /// log is closed.
    fn take_blank(&mut self, size_min: u64) -> Result<Blank, LogError> {
        loop {
            let made = match std::mem::replace(&mut self.next, Next::Absent) {
                Next::Ready(blank) => Ok(blank),
                Next::Preparing(spare) => spare.join(),
                Next::Absent | Next::Failed(_) => self.make_blank(size_min),
            };
            let made = match made {
                Ok(blank) if blank.size < size_min => self.make_blank(size_min),
                made => made,
            };
            match made {
                Ok(blank) => {
                    self.ground.queue.set_space(Space::Ample);
                    return Ok(blank);
                }
                Err(error) if error.is_out_of_space() => {
                    self.ground.queue.set_space(Space::Out);
                    if self.ground.queue.is_closing_within(TICK) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn make_blank(&self, size_min: u64) -> Result<Blank, LogError> {
        let path = self.ground.dir.join(spare::NAME);
        let size_min = size_min.max(self.ground.options.first_segment_bytes.min(self.next_size()));
        spare::make(self.ground.disk.as_ref(), &path, self.next_size(), size_min, &AtomicBool::new(false))
    }

    fn next_size(&self) -> u64 {
        (self.size * 2).min(self.ground.options.segment_bytes)
    }

    /// Has the next segment prepared when a quarter of this one is used; sees how far that is, and says so when the
    /// disk is full. Any other failure shows itself, and poisons, only if it is still there when the segment is needed.
    fn look_ahead(&mut self) {
        self.next = match std::mem::replace(&mut self.next, Next::Absent) {
            Next::Absent if self.end > self.size / 4 => self.prepare(),
            Next::Preparing(spare) if spare.is_finished() => match spare.join() {
                Ok(blank) => {
                    self.ground.queue.set_space(Space::Ample);
                    Next::Ready(blank)
                }
                Err(error) => {
                    if error.is_out_of_space() {
                        self.ground.queue.set_space(Space::Low);
                    }
                    Next::Failed(Instant::now())
                }
            },
            Next::Failed(at) if at.elapsed() >= TICK => self.prepare(),
            next => next,
        };
    }

    fn prepare(&self) -> Next {
        let size_min = self.ground.options.first_segment_bytes.min(self.next_size());
        let path = self.ground.dir.join(spare::NAME);
        Spare::start(Arc::clone(&self.ground.disk), path, self.next_size(), size_min)
            .map_or(Next::Absent, Next::Preparing)
    }

    fn close(&mut self) -> Result<(), LogError> {
        let path = self.ground.dir.join(spare::NAME);
        match std::mem::replace(&mut self.next, Next::Absent) {
            Next::Absent | Next::Failed(_) => {}
            Next::Preparing(spare) => {
                drop(spare);
                // Tidiness; an open would remove it too.
                let _ = self.ground.disk.remove(&path);
            }
            Next::Ready(_) => {
                let _ = self.ground.disk.remove(&path);
            }
        }
        self.ground.floor.sync()
    }
}
