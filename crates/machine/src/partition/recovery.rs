//! Recovery: records are folded, then jobs in flight are handed out again and every run is looked at once.

use crate::action::Released;
use crate::config::Config;
use crate::error::{ReplayError, RestoreError};
use crate::event::Event;
use crate::machine::{Action, Machine};
use crate::partition::jobs::InFlight;
use crate::record::{Header, stored_hash};
use crate::state::State;
use crate::state::run::{ROOT, Wait};
use crate::state::snapshot::Capture;

/// Slots looked at for one that may rest, a record of a replay. Most runs that are awake wait for nothing else.
const RESTS_PER_RECORD: usize = 8;

impl Machine {
    /// Recovery: folds one record. Its hash is taken as it stands (the log has checked its bytes; `verify_chain` checks
    /// the chain); numbers, offsets and the position before it are checked.
    ///
    /// # Errors
    /// A record that cannot be read or does not follow: the partition stops here, and the machine must not be used.
    pub fn apply(&mut self, position: u64, body: &[u8]) -> Result<(), ReplayError> {
        let damaged = |reason: String| ReplayError { position, reason };
        if position != self.state.position {
            return Err(damaged(format!("record {} was expected", self.state.position)));
        }
        let (header, payload) = Header::split(body).map_err(|error| damaged(error.to_string()))?;
        if header.flags & 1 != 0 {
            return Err(damaged(crate::error::BadRecord::Address.to_string()));
        }
        let hash = stored_hash(body).map_err(|error| damaged(error.to_string()))?;
        let event = Event::decode(header.event_type, header.event_version, payload)
            .map_err(|error| damaged(error.to_string()))?;
        self.state.fold(&header, &hash, &event).map_err(damaged)?;
        self.now = self.state.time_ns;
        self.state.rest_some(self.config.limits.runs_awake_max, RESTS_PER_RECORD);
        Ok(())
    }

    /// After the last `apply`: jobs in flight are handed out again, with the same attempt and key, and every open run
    /// is looked at in the next steps. A job of a failing run is not handed out: nobody executes it any more, and the
    /// next step records it as cancelled with an unknown outcome.
    pub fn recovered(&mut self) -> Released {
        let (awake, at_rest) = self.state.open_runs();
        self.unseen = at_rest.into();
        let position = self.state.position;
        // Who has sent a signal hears of it before the run that took it goes on, and maybe ends.
        if let Some(slot) = self.state.index.sender.and_then(|sender| self.state.find(&sender)) {
            self.queue(slot);
        }
        for (run_id, slot) in awake {
            self.queue(slot);
            let Some(run) = self.state.run_mut(slot) else { continue };
            let is_failing = run.failing.is_some();
            let job = |scope, slot_in, attempt, compensation| InFlight {
                run: slot,
                run_id,
                scope,
                slot: slot_in,
                attempt,
                compensation,
                released: false,
            };
            for (scope_ix, scope) in run.scopes.iter_mut().enumerate().filter(|_| !is_failing) {
                for (node_ix, node) in scope.iter_mut().flat_map(|scope| scope.nodes.iter_mut().enumerate()) {
                    if let Wait::Job(flight) = &mut node.wait {
                        flight.job = self.jobs.add(job(scope_ix as u32, node_ix as u32, node.attempt, false));
                        self.actions.push_back((position, Action::Job(flight.job)));
                    }
                }
            }
            let Some(failing) = &mut run.failing else { continue };
            let steps = failing.steps.iter_mut().flatten().enumerate();
            for (number, step) in steps {
                if let Some(flight) = &mut step.flight {
                    flight.job = self.jobs.add(job(ROOT, number as u32, step.attempt, true));
                    self.actions.push_back((position, Action::Job(flight.job)));
                }
            }
        }
        self.advance(self.state.position)
    }

    /// The state as bytes: equal for equal states, whatever way they came about.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.capture().bytes()
    }

    /// The state as it stands, to be written without the machine.
    #[must_use]
    pub fn capture(&self) -> Capture {
        self.state.capture()
    }

    /// A machine from a snapshot. Apply the records from `position()` on, then call `recovered`.
    ///
    /// # Errors
    /// Bytes that are no snapshot of a version known here, or of another number of partitions.
    pub fn restore(config: Config, snapshot: &[u8]) -> Result<Machine, RestoreError> {
        let state = State::restore(snapshot, config.partitions)?;
        let mut machine = Machine::new(config);
        machine.now = state.time_ns;
        machine.state = state;
        Ok(machine)
    }
}
