//! The table of jobs in flight. An id names a place and how often the place was used, so that a result for a job that
//! is gone is never taken for another one. Process-local: not state.

use crate::id::RunId;

/// A job in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) run: u32,
    pub(crate) run_id: RunId,
    pub(crate) scope: u32,
    pub(crate) slot: u32,
    pub(crate) attempt: u32,
    pub(crate) compensation: bool,
    /// It was handed out.
    pub(crate) released: bool,
}

#[derive(Debug)]
struct Place {
    uses: u32,
    job: Option<InFlight>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Jobs {
    /// A new id, never 0.
    pub(crate) fn add(&mut self, job: InFlight) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { uses: 0, job: None });
            (self.places.len() - 1) as u32
        });
        let entry = &mut self.places[place as usize];
        entry.uses = entry.uses.wrapping_add(1).max(1);
        entry.job = Some(job);
        u64::from(entry.uses) << 32 | u64::from(place)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut InFlight> {
        let place = self.places.get_mut((id & 0xffff_ffff) as usize)?;
        if u64::from(place.uses) == id >> 32 { place.job.as_mut() } else { None }
    }

    pub(crate) fn get(&self, id: u64) -> Option<&InFlight> {
        let place = self.places.get((id & 0xffff_ffff) as usize)?;
        if u64::from(place.uses) == id >> 32 { place.job.as_ref() } else { None }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<InFlight> {
        let at = id & 0xffff_ffff;
        let place = self.places.get_mut(at as usize)?;
        if u64::from(place.uses) != id >> 32 {
            return None;
        }
        let job = place.job.take()?;
        self.free.push(at as u32);
        Some(job)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_is_never_taken_for_another() {
        let job = InFlight {
            run: 0,
            run_id: RunId::REGISTRY,
            scope: 0,
            slot: 0,
            attempt: 1,
            compensation: false,
            released: false,
        };
        let mut jobs = Jobs::default();
        let first = jobs.add(job);
        assert_ne!(first, 0);
        jobs.remove(first).unwrap();
        let second = jobs.add(InFlight { attempt: 2, ..job });
        assert_ne!(first, second);
        assert!(jobs.get(first).is_none() && jobs.remove(first).is_none() && jobs.get_mut(first).is_none());
        assert_eq!(jobs.get(second).unwrap().attempt, 2);
        assert!(jobs.get(u64::MAX).is_none() && jobs.get(0).is_none());
        assert_eq!(jobs.len(), 1);
    }
}
