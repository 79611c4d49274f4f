//! Schedules: put, paused, removed, and fired when they are due.
//!
//! The start comes before the record that says so: its idempotency key is (schedule, time) and its run id follows from
//! them, so that a crash between the two finds the run again and starts no other.

use crate::action::{Answer, Refusal};
use crate::command::{ChangeSchedule, PutSchedule, ScheduleChange, Selector, StartRun, Timing};
use crate::cron::{Cron, zone};
use crate::error::code;
use crate::event::Event;
use crate::event::failure::NodeError;
use crate::event::registry::{ScheduleChanged, ScheduleFired};
use crate::event::wire::{Json, Labels, Time, write_json_str};
use crate::id::{RunId, mix, partition_of_key};
use crate::machine::Machine;
use crate::partition::registry::{over, unknown};
use crate::partition::turn::{listed, refusal, refused};
use crate::run::start::Started;
use crate::state::fold::{priority, priority_name};
use crate::state::schedule::{Overlap, Schedule};
use crate::state::symbols::Sym;
use crate::time::{SECOND, write_rfc3339};
use crate::view::{FiringView, Page, ScheduleView};
use apex_ir::value::{self, ValueLimits};
use sha2::{Digest, Sha256};
use std::ops::Bound;

/// The label of every run that a schedule started.
const LABEL: &str = "schedule";
const NAME_BYTES_MAX: usize = 128;
const JITTER_NS_MAX: i64 = 86_400 * SECOND;
const CATCH_UP_NS_MAX: i64 = 366 * 86_400 * SECOND;
const EVERY_NS_MAX: i64 = 3_660 * 86_400 * SECOND;
/// Times that the view of one schedule looks ahead.
const UPCOMING: usize = 5;

/// When a schedule fires: its times, as a function of the one before.
enum Times {
    Every(i64),
    Cron(Cron, jiff::tz::TimeZone),
}

impl Times {
    fn of(schedule: &Schedule) -> Option<Times> {
        if schedule.cron.is_empty() {
            return (schedule.every_ns > 0).then_some(Times::Every(schedule.every_ns));
        }
        Some(Times::Cron(Cron::parse(&schedule.cron).ok()?, zone(&schedule.time_zone)?))
    }

    /// The first time after this one; 0: there is none.
    fn after(&self, time_ns: i64) -> i64 {
        match self {
            Times::Every(every) => {
                time_ns.div_euclid(*every).checked_add(1).and_then(|n| n.checked_mul(*every)).unwrap_or(0)
            }
            Times::Cron(cron, zone) => cron.next(zone, time_ns).unwrap_or(0),
        }
    }
}

/// When a time is due: later by a part of the jitter that depends on what fires and for when, and on nothing else.
fn due(tenant: &str, name: &str, time: i64, jitter_ns: i64) -> i64 {
    if time == 0 || jitter_ns == 0 {
        return time;
    }
    let part = mix(tenant, name, time as u64) % jitter_ns.unsigned_abs();
    time.saturating_add(part as i64)
}

impl Machine {
    pub(crate) fn put_schedule(&mut self, token: u64, command: &PutSchedule) {
        let outcome = self.try_put_schedule(command);
        self.reply(token, outcome);
    }

    fn try_put_schedule(&mut self, command: &PutSchedule) -> Result<Answer, Refusal> {
        let times = self.check_schedule(command)?;
        let next = times.after(self.now);
        let start = self.scheduled_start(command, next);
        self.check_start(&start)?;
        let not_there = || unknown(&command.workflow, &command.selector);
        let version = self.state.select(&command.tenant, &command.workflow, &command.selector).ok_or_else(not_there)?;
        let version = version.version;
        let symbols = &self.state.symbols;
        let (tenant, workflow) = (symbols.find(&command.tenant), symbols.find(&command.workflow));
        let (tenant, workflow) = tenant.zip(workflow).ok_or_else(not_there)?;
        let program = self.program(tenant, workflow, version).map_err(|reason| {
            refusal(code::DEFINITION_UNREADABLE, format!("the definition no longer compiles: {reason}"))
        })?;
        program.ir.check_inputs(&start.inputs).map_err(|found| refused(code::INPUTS_INVALID, found))?;
        let standing = self.state.tenants.get(&tenant).map(|tenant| &tenant.schedules);
        let limit = self.config.limits.schedules_per_tenant_max;
        match standing.map(|schedules| (schedules.get(command.name.as_str()), schedules.len())) {
            Some((Some(standing), _)) if standing.says(command) => {
                return Ok(Answer { existing: true, ..Answer::default() });
            }
            Some((None, count)) if count >= limit => return Err(over("schedules_per_tenant_max", limit)),
            _ => {}
        }
        let (version, tag) = selector_parts(&command.selector);
        let (cron, time_zone, every_ns) = match &command.timing {
            Timing::Cron { expression, time_zone } => (expression.as_str(), time_zone.as_str(), 0),
            Timing::Every(every_ns) => ("", "", *every_ns),
        };
        let event = Event::ScheduleChanged(ScheduleChanged {
            name: &command.name,
            change: "put",
            workflow: &command.workflow,
            version,
            tag,
            inputs: Json(&command.inputs),
            cron,
            time_zone,
            every_ns,
            jitter_ns: command.jitter_ns,
            overlap: command.overlap.as_str(),
            catch_up_ns: command.catch_up_ns,
            priority: priority_name(command.priority),
            labels: Labels(sorted(&command.labels)),
            time_input: &command.time_input,
            next: Time(next),
            due: Time(due(&command.tenant, &command.name, next, command.jitter_ns)),
        });
        self.emit_registry(&command.tenant, &event);
        Ok(Answer::default())
    }

    /// Everything about a schedule that can be wrong in itself.
    fn check_schedule(&self, command: &PutSchedule) -> Result<Times, Refusal> {
        self.check_name("tenant", &command.tenant)?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let name = command.name.as_bytes();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(|&byte| named(byte)) {
            return Err(invalid("/name", "a name has 1 to 128 of the letters A-Z, a-z, 0-9, _, . and -"));
        }
        let within = |pointer, value: i64, min: i64, max: i64, what: &str| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(invalid(pointer, what)) }
        };
        within("/jitter_s", command.jitter_ns, 0, JITTER_NS_MAX, "0 to 86400 seconds are possible")?;
        within("/catch_up_s", command.catch_up_ns, SECOND, CATCH_UP_NS_MAX, "1 second to 366 days are possible")?;
        let limit = self.config.limits.schedule_inputs_bytes_max;
        if command.inputs.len() > limit {
            return Err(over("schedule_inputs_bytes_max", limit));
        }
        value::check(&command.inputs, &ValueLimits::default()).map_err(|error| invalid("/inputs", &error.message))?;
        let Ok(inputs) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&command.inputs) else {
            return Err(invalid("/inputs", "an object is expected"));
        };
        if inputs.contains_key(&command.time_input) {
            return Err(invalid("/time_input", "the inputs have this field already"));
        }
        if command.labels.iter().any(|(key, _)| key == LABEL) {
            return Err(invalid("/labels", "the label `schedule` is set by the schedule, to its name"));
        }
        match &command.timing {
            Timing::Every(every_ns) => {
                within("/every_s", *every_ns, SECOND, EVERY_NS_MAX, "1 second to 3660 days are possible")?;
                Ok(Times::Every(*every_ns))
            }
            Timing::Cron { expression, time_zone } => {
                self.check_name("cron", expression)?;
                let cron = Cron::parse(expression).map_err(|reason| invalid("/cron", &reason))?;
                let zone = zone(time_zone).ok_or_else(|| {
                    invalid("/time_zone", "no time zone of the IANA database has this name (try Europe/Berlin)")
                })?;
                Ok(Times::Cron(cron, zone))
            }
        }
    }

    pub(crate) fn change_schedule(&mut self, token: u64, command: &ChangeSchedule) {
        let outcome = self.try_change_schedule(command);
        self.reply(token, outcome);
    }

    fn try_change_schedule(&mut self, command: &ChangeSchedule) -> Result<Answer, Refusal> {
        let schedule = self
            .state
            .schedule(&command.tenant, &command.name)
            .ok_or_else(|| refusal(code::SCHEDULE_NOT_FOUND, format!("there is no schedule {:?}", command.name)))?;
        let mut event = ScheduleChanged { name: &command.name, ..ScheduleChanged::default() };
        match command.change {
            ScheduleChange::Remove => event.change = "removed",
            ScheduleChange::Pause | ScheduleChange::Resume => {
                let paused = command.change == ScheduleChange::Pause;
                if schedule.paused == paused {
                    return Ok(Answer { existing: true, ..Answer::default() });
                }
                event.change = if paused { "paused" } else { "resumed" };
                let next = Times::of(schedule).map_or(0, |times| times.after(self.now));
                event.next = Time(next);
                event.due = Time(due(&command.tenant, &command.name, next, schedule.jitter_ns));
            }
        }
        self.emit_registry(&command.tenant, &Event::ScheduleChanged(event));
        Ok(Answer::default())
    }

    /// One schedule whose time has come. Afterwards it is due later, or never.
    pub(crate) fn fire_schedule(&mut self, tenant: Sym, name: &str) {
        let Some(held) = self.state.tenants.get(&tenant) else { return };
        let Some(schedule) = held.schedules.get(name) else { return };
        let open = held.scheduled_open(name);
        let tenant: std::sync::Arc<str> = self.state.symbols.name(tenant).clone();
        let from_buffer = schedule.buffered != 0 && open == 0;
        let time = if from_buffer { schedule.buffered } else { schedule.next };
        let mut next = schedule.next;
        let mut action = "started";
        if !from_buffer {
            let after = |time| Times::of(schedule).map_or(0, |times| times.after(time));
            let late = self.now.saturating_sub(schedule.catch_up_ns);
            next = if schedule.due < late {
                action = "missed";
                after(time.max(late - 1))
            } else {
                after(time)
            };
            if action == "started" && open > 0 {
                action = match schedule.overlap {
                    Overlap::Allow => "started",
                    Overlap::BufferOne if schedule.buffered == 0 => "buffered",
                    Overlap::BufferOne | Overlap::Skip => "skipped",
                };
            }
        }
        let due = due(&tenant, name, next, schedule.jitter_ns);
        let mut started = None;
        let mut fault = None;
        let mut run = None;
        if action == "started" {
            let command = self.scheduled_start(&schedule.command(&tenant, name), time);
            match self.try_start(&command, None) {
                Ok(Started::New(slot)) => {
                    started = Some(slot);
                    run = Some(command.run_id);
                }
                Ok(Started::Existing(answer)) => run = answer.run_id,
                Err(refusal) => {
                    action = "failed";
                    fault = Some(refusal);
                }
            }
        }
        let run = run.map_or_else(String::new, |run: RunId| run.to_string());
        let error = fault.as_ref().map(|fault| NodeError { r#type: fault.code, message: &fault.message });
        let (time, next, due) = (Time(time), Time(next), Time(due));
        let event = Event::ScheduleFired(ScheduleFired { name, time, action, run: &run, error, next, due });
        self.emit_registry(&tenant, &event);
        if let Some(slot) = started {
            self.visit_now(slot);
        }
    }

    /// The start of a schedule for one of its times.
    fn scheduled_start(&self, command: &PutSchedule, time: i64) -> StartRun {
        let mut text = Vec::new();
        write_rfc3339(time, &mut text);
        let key = format!("schedule/{}/{}", command.name, String::from_utf8_lossy(&text));
        let partition = partition_of_key(&command.tenant, &key, self.config.partitions);
        let millis = u64::try_from(time / 1_000_000).unwrap_or(0);
        let mut labels = command.labels.clone();
        labels.push((LABEL.into(), command.name.clone()));
        StartRun {
            run_id: RunId::new_v7(millis, partition, mix(&command.tenant, &key, 0)),
            tenant: command.tenant.clone(),
            workflow: command.workflow.clone(),
            selector: command.selector.clone(),
            inputs: with_time(&command.inputs, &command.time_input, &text),
            request_hash: Sha256::digest(key.as_bytes()).into(),
            idempotency_key: key,
            correlation: String::new(),
            priority: command.priority,
            labels,
            goal: None,
            fidelity: None,
            schedule: command.name.clone(),
        }
    }

    /// A schedule of a tenant, with the times that come next.
    #[must_use]
    pub fn schedule(&self, tenant: &str, name: &str) -> Option<ScheduleView> {
        let schedule = self.state.schedule(tenant, name)?;
        let mut view = self.schedule_view(tenant, name, schedule);
        let times = Times::of(schedule)?;
        let mut time = schedule.next;
        while time != 0 && view.upcoming_ns.len() < UPCOMING {
            view.upcoming_ns.push(time);
            time = times.after(time);
        }
        Some(view)
    }

    /// Schedules of a tenant, by name. `page`: what the page before gave as `next`.
    #[must_use]
    pub fn schedules(&self, tenant: &str, limit: usize, page: &str) -> Page<ScheduleView> {
        let mut found = Page { items: Vec::new(), next: String::new() };
        let held = self.state.symbols.find(tenant).and_then(|sym| self.state.tenants.get(&sym));
        let Some(held) = held else { return found };
        let from = if page.is_empty() { Bound::Unbounded } else { Bound::Excluded(page) };
        let mut after = held.schedules.range::<str, _>((from, Bound::Unbounded));
        for (name, schedule) in after.by_ref().take(limit.max(1)) {
            found.items.push(self.schedule_view(tenant, name, schedule));
        }
        if after.next().is_some() {
            found.next = found.items.last().map_or_else(String::new, |view| view.spec.name.clone());
        }
        found
    }

    fn schedule_view(&self, tenant: &str, name: &str, schedule: &Schedule) -> ScheduleView {
        let held = self.state.symbols.find(tenant).and_then(|sym| self.state.tenants.get(&sym));
        ScheduleView {
            spec: schedule.command(tenant, name),
            changed_ns: schedule.changed_ns,
            paused: schedule.paused,
            next_ns: (schedule.next != 0 && !schedule.paused).then_some(schedule.next),
            buffered_ns: (schedule.buffered != 0).then_some(schedule.buffered),
            upcoming_ns: Vec::new(),
            runs_open: held.map_or(0, |held| held.scheduled_open(name)),
            last: schedule.last.as_ref().map(|last| FiringView {
                time_ns: last.time,
                decided_ns: last.decided_ns,
                action: last.action.to_string(),
                run_id: last.run.to_string(),
                error: last.error.as_ref().map(|error| (error.kind.to_string(), error.message.to_string())),
            }),
        }
    }
}

impl Schedule {
    /// The command that put it.
    fn command(&self, tenant: &str, name: &str) -> PutSchedule {
        let selector = match (&*self.version, &*self.tag) {
            ("", "") => Selector::Latest,
            ("", tag) => Selector::Tag(tag.to_owned()),
            (version, _) => Selector::Version(version.to_owned()),
        };
        let timing = if self.cron.is_empty() {
            Timing::Every(self.every_ns)
        } else {
            Timing::Cron { expression: self.cron.to_string(), time_zone: self.time_zone.to_string() }
        };
        PutSchedule {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            workflow: self.workflow.to_string(),
            selector,
            inputs: self.inputs.to_vec(),
            timing,
            jitter_ns: self.jitter_ns,
            overlap: self.overlap,
            catch_up_ns: self.catch_up_ns,
            priority: priority(priority_name(self.priority)),
            labels: self.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            time_input: self.time_input.to_string(),
        }
    }

    /// Whether it stands as the command would put it. Inputs count by their value.
    fn says(&self, command: &PutSchedule) -> bool {
        let mut wanted = command.clone();
        wanted.labels.sort_unstable();
        let canonical = |inputs: &[u8]| value::canonical(inputs, &ValueLimits::default()).ok();
        if canonical(&wanted.inputs) == canonical(&self.inputs) {
            wanted.inputs = self.inputs.to_vec();
        }
        self.command(&command.tenant, &command.name) == wanted
    }
}

fn selector_parts(selector: &Selector) -> (&str, &str) {
    match selector {
        Selector::Version(version) => (version, ""),
        Selector::Tag(tag) => ("", tag),
        Selector::Latest => ("", ""),
    }
}

fn sorted(labels: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    labels.sort_unstable();
    labels
}

/// The inputs (an object) with the time in a field that they do not have.
fn with_time(inputs: &[u8], field: &str, time: &[u8]) -> Vec<u8> {
    let Some(open) = inputs.strip_suffix(b"}").map(<[u8]>::trim_ascii_end).filter(|_| !field.is_empty()) else {
        return inputs.to_vec();
    };
    let mut out = open.to_vec();
    if open.trim_ascii() != b"{" {
        out.push(b',');
    }
    write_json_str(field, &mut out);
    out.extend_from_slice(b":\"");
    out.extend_from_slice(time);
    out.extend_from_slice(b"\"}");
    out
}

fn invalid(pointer: &str, detail: &str) -> Refusal {
    listed(code::SCHEDULE_INVALID, format!("{pointer}: {detail}"), &[(pointer.to_owned(), detail.to_owned())])
}
