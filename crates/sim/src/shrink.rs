//! A history that fails, made smaller: parts are left out as long as it still fails.

use crate::coverage::Coverage;
use crate::definition::{WORKFLOWS, definition};
use crate::plan::Plan;
use crate::wrong::Wrong;
use crate::{live, plan};

/// Histories tried, at most.
const TRIES_MAX: u32 = 2_000;

/// The smallest history found that still fails, and how it does.
#[must_use]
pub fn shrink(plan: &Plan, wrong: Wrong) -> (Plan, Wrong) {
    let mut shrinking = Shrinking { plan: plan.clone(), wrong, tries: 0 };
    shrinking.cut_steps();
    for part in plan::PARTS {
        shrinking.leave_out(&[(*part).to_owned()]);
    }
    shrinking.leave_out_steps();
    for node in nodes() {
        shrinking.leave_out_node(node);
    }
    shrinking.leave_out_steps();
    (shrinking.plan, shrinking.wrong)
}

struct Shrinking {
    plan: Plan,
    wrong: Wrong,
    tries: u32,
}

impl Shrinking {
    /// Takes a smaller history if it fails too.
    fn takes(&mut self, plan: Plan) -> bool {
        if self.tries >= TRIES_MAX {
            return false;
        }
        self.tries += 1;
        match live(&plan, &mut Coverage::default()) {
            Ok(()) => false,
            Err(wrong) => {
                (self.plan, self.wrong) = (plan, wrong);
                true
            }
        }
    }

    /// Ends it as early as it fails.
    fn cut_steps(&mut self) {
        let (mut low, mut high) = (0, self.plan.steps);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.takes(Plan { steps: middle, ..self.plan.clone() }) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }

    fn leave_out(&mut self, parts: &[String]) -> bool {
        let mut without = self.plan.without.clone();
        without.extend(parts.iter().cloned());
        without != self.plan.without && self.takes(Plan { without, ..self.plan.clone() })
    }

    /// A node that no definition has is not named.
    fn leave_out_node(&mut self, node: String) {
        let Plan { seed, without, .. } = &self.plan;
        let mut less = without.clone();
        less.insert(node.clone());
        let drawn = |without| WORKFLOWS.map(|name| [1, 2, 3].map(|version| definition(*seed, name, version, without)));
        if drawn(without) != drawn(&less) {
            self.leave_out(&[node]);
        }
    }

    /// Leaves out steps, many at a time and then one by one.
    fn leave_out_steps(&mut self) {
        let mut length = (self.plan.steps / 2).max(1);
        loop {
            for from in (0..self.plan.steps).step_by(length as usize) {
                let steps: Vec<String> =
                    (from..(from + length).min(self.plan.steps)).map(|step| format!("step:{step}")).collect();
                self.leave_out(&steps);
            }
            if length == 1 {
                return;
            }
            length /= 2;
        }
    }
}

/// Every node that a definition may have, outer ones first.
fn nodes() -> Vec<String> {
    let mut names: Vec<String> = WORKFLOWS.iter().flat_map(|w| (0..8).map(move |n| format!("{w}.n{n}"))).collect();
    let mut at = 0;
    while at < names.len() {
        if names[at].matches('_').count() < 2 {
            names.extend((0..3).map(|inner| format!("{}_{inner}", names[at])).collect::<Vec<_>>());
        }
        at += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        // Nothing fails: nothing smaller is taken.
        let plan = Plan { seed: 1, steps: 3, without: Default::default() };
        let (same, wrong) = shrink(&plan, Wrong("as it was".into()));
        assert_eq!((same, wrong), (plan, Wrong("as it was".into())));
    }
}
