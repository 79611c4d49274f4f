//! A tag with arms: which part of its starts runs what, and what became of them (docs/decisions/0019).

use super::State;
use super::symbols::Sym;
use crate::command::Selector;
use crate::id::{RunId, mix};
use crate::state::Version;
use crate::view::RunState;
use std::collections::BTreeMap;

/// The arm of the version that the tag points at: what the other arms leave.
pub(crate) const CONTROL: &str = "control";
/// All starts.
pub(crate) const WHOLE: u32 = 1_000;
/// The tag of starts that name none.
pub(crate) const MAIN: &str = "main";
/// Steps of a power of two in which durations are counted: each is at most 12.5 % wide.
const STEP_BITS: u32 = 3;

/// The arms of a tag, and what was counted since it has them.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) number: u64,
    pub(crate) began_ns: i64,
    pub(crate) arms: Vec<Arm>,
    /// Of the rest of the starts.
    pub(crate) control: Outcomes,
}

/// A part of the starts by a tag.
#[derive(Debug)]
pub(crate) struct Arm {
    /// Empty: the head of the set.
    pub(crate) version: Box<str>,
    /// Key of a set; empty: the version.
    pub(crate) set: Box<str>,
    pub(crate) share: u32,
    pub(crate) outcomes: Outcomes,
}

/// The arm of a run.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) tag: Box<str>,
    pub(crate) arm: Box<str>,
    pub(crate) test: u64,
}

/// What became of the runs of an arm.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcomes {
    pub(crate) started: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// Of those that completed.
    pub(crate) duration_ns: u64,
    /// How many of them took how long, by step.
    pub(crate) steps: BTreeMap<u32, u64>,
}

impl Arm {
    /// How events and lists name it.
    pub(crate) fn label(&self) -> &str {
        if self.set.is_empty() { &self.version } else { &self.set }
    }
}

impl Outcomes {
    fn end(&mut self, state: RunState, duration_ns: i64) {
        match state {
            RunState::Completed => {
                let duration_ns = duration_ns.max(0).unsigned_abs();
                self.completed += 1;
                self.duration_ns = self.duration_ns.saturating_add(duration_ns);
                *self.steps.entry(step(duration_ns)).or_default() += 1;
            }
            RunState::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
    }

    /// The duration that this share (in thousandths) of the completed runs does not exceed, as the middle of its step.
    pub(crate) fn quantile_ns(&self, thousandths: u64) -> Option<u64> {
        let wanted = (self.completed * thousandths).div_ceil(1_000).max(1);
        let mut seen = 0;
        self.steps.iter().find_map(|(&step, &count)| {
            seen += count;
            (seen >= wanted).then(|| middle(step))
        })
    }
}

/// The step of a duration: its power of two, and the bits after the first.
fn step(ns: u64) -> u32 {
    let power = ns.max(1).ilog2();
    if power < STEP_BITS {
        return ns as u32;
    }
    let bits = (ns >> (power - STEP_BITS)) as u32 & ((1 << STEP_BITS) - 1);
    ((power - STEP_BITS + 1) << STEP_BITS) | bits
}

fn middle(step: u32) -> u64 {
    let (power, bits) = (step >> STEP_BITS, u64::from(step & ((1 << STEP_BITS) - 1)));
    if power == 0 {
        return bits;
    }
    let low = ((1 << STEP_BITS) | bits) << (power - 1);
    low + (1 << (power - 1)) / 2
}

impl Trial {
    /// The arm with this label, and `None` for the control.
    fn arm(&self, thousandth: u32) -> Option<&Arm> {
        let mut before = 0;
        self.arms.iter().find(|arm| {
            before += arm.share;
            thousandth < before
        })
    }

    fn outcomes(&mut self, label: &str) -> Option<&mut Outcomes> {
        if label == CONTROL {
            return Some(&mut self.control);
        }
        self.arms.iter_mut().find(|arm| arm.label() == label).map(|arm| &mut arm.outcomes)
    }
}

/// Where a run falls: the same for the same run, and independent of where it falls in another test.
fn thousandth(tag: &str, test: u64, run: &RunId) -> u32 {
    (mix(tag, &run.to_string(), test) % u64::from(WHOLE)) as u32
}

/// The tag that a selector goes by.
fn tag_of(selector: &Selector) -> Option<&str> {
    match selector {
        Selector::Version(_) => None,
        Selector::Tag(tag) => Some(tag),
        Selector::Latest => Some(MAIN),
    }
}

impl State {
    /// The version that a start of this run by a selector comes to, and the arm where the tag has some.
    pub(crate) fn draw(
        &self,
        tenant: &str,
        name: &str,
        selector: &Selector,
        run: &RunId,
    ) -> Option<(&Version, Option<Drawn>)> {
        let plain = self.select(tenant, name, selector)?;
        let workflow = self.workflow(tenant, name)?;
        let Some((tag, trial)) = tag_of(selector).and_then(|tag| Some((tag, workflow.trials.get(tag)?))) else {
            return Some((plain, None));
        };
        let test = trial.number;
        let drawn = |arm: &str| Some(Drawn { tag: tag.into(), arm: arm.into(), test });
        let arm = trial.arm(thousandth(tag, test, run));
        match arm.and_then(|arm| Some((arm, workflow.version(self.head_of(workflow, arm)?)?))) {
            Some((arm, version)) => Some((version, drawn(arm.label()))),
            None => Some((plain, drawn(CONTROL))),
        }
    }

    /// The version that an arm runs now.
    pub(crate) fn head_of(&self, workflow: &super::Workflow, arm: &Arm) -> Option<Sym> {
        if arm.set.is_empty() {
            return self.symbols.find(&arm.version);
        }
        Some(workflow.patching.as_ref()?.sets.get(&arm.set)?.head)
    }

    /// Counts a run of an arm: that it started, or how it ended. Where the tag has other arms by now, it is not counted.
    pub(crate) fn count_drawn(&mut self, tenant: Sym, name: Sym, drawn: &Drawn, ended: Option<(RunState, i64)>) {
        let workflow = self.tenants.get_mut(&tenant).and_then(|held| held.workflows.get_mut(&name));
        let trial = workflow.and_then(|workflow| workflow.trials.get_mut(&drawn.tag));
        let Some(trial) = trial.filter(|trial| trial.number == drawn.test) else { return };
        let Some(outcomes) = trial.outcomes(&drawn.arm) else { return };
        match ended {
            None => outcomes.started += 1,
            Some((state, duration_ns)) => outcomes.end(state, duration_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_step_is_an_eighth_of_a_power_of_two() {
        let mut last = 0;
        for ns in (0..5_000).chain((13..63).map(|power| (1u64 << power) + 5)) {
            let at = step(ns);
            assert!(at >= last, "steps rise: {ns}");
            last = at;
            let middle = middle(at);
            assert!(middle.abs_diff(ns) <= ns / 8, "{ns} is told as {middle}");
        }
        assert!(step(u64::MAX) < 512, "what is kept is bounded");
    }

    #[test]
    fn arms_get_their_shares_and_two_tests_are_independent() {
        let runs: Vec<RunId> = (0..10_000).map(|n| RunId::new_v7(1_700_000_000_000 + n, 3, mix("r", "", n))).collect();
        let mut cells = [[0f64; 2]; 2];
        for run in &runs {
            let (one, other) = (thousandth("main", 7, run) < 300, thousandth("main", 8, run) < 500);
            assert_eq!(one, thousandth("main", 7, run) < 300, "the choice is stable");
            cells[usize::from(one)][usize::from(other)] += 1.0;
        }
        let expected = [[0.7 * 0.5, 0.7 * 0.5], [0.3 * 0.5, 0.3 * 0.5]];
        let chi: f64 = (0..4)
            .map(|n| (cells[n / 2][n % 2], 10_000.0 * expected[n / 2][n % 2]))
            .map(|(seen, wanted)| (seen - wanted) * (seen - wanted) / wanted)
            .sum();
        // 3 degrees of freedom: above 16.3 once in a thousand times.
        assert!(chi < 16.3, "chi-square {chi}: {cells:?}");
        let mut tenths = [0f64; 10];
        runs.iter().for_each(|run| tenths[thousandth("canary", 1, run) as usize / 100] += 1.0);
        let chi: f64 = tenths.iter().map(|seen| (seen - 1_000.0) * (seen - 1_000.0) / 1_000.0).sum();
        assert!(chi < 27.9, "chi-square {chi} of 9 degrees of freedom: {tenths:?}");
    }
}
