//! The arms of a tag: checked when it is set, drawn when a run starts.

use crate::action::Refusal;
use crate::command::{Runs, Selector, TagWorkflow};
use crate::error::code;
use crate::event::registry::TaggedArm;
use crate::machine::Machine;
use crate::partition::registry::{over, unknown};
use crate::partition::turn::{listed, refusal};
use crate::state::fold::patch_set::set_key;
use crate::state::trial::{Arm, CONTROL, WHOLE};
use crate::state::{Version, Workflow};

/// What an arm says, with the names that it goes by in events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    version: String,
    base: String,
    set: String,
    share: u32,
}

impl Part {
    pub(crate) fn of(arm: &Arm) -> Part {
        let (base, set) = arm.set.rsplit_once('+').unwrap_or_default();
        Part { version: arm.version.to_string(), base: base.into(), set: set.into(), share: arm.share }
    }

    pub(crate) fn tagged(&self) -> TaggedArm<'_> {
        TaggedArm { version: &self.version, set: &self.set, share: self.share, base_version: &self.base }
    }

    fn label(&self) -> String {
        if self.set.is_empty() { self.version.clone() } else { set_key(&self.base, &self.set) }
    }
}

impl Machine {
    /// The arms of a tag that is to point at a version.
    pub(crate) fn check_arms(
        &self,
        command: &TagWorkflow,
        workflow: &Workflow,
        version: &Version,
    ) -> Result<Vec<Part>, Refusal> {
        let max = self.config.limits.arms_per_tag_max;
        if command.arms.len() > max {
            return Err(over("arms_per_tag_max", max));
        }
        let mut parts: Vec<Part> = Vec::new();
        for (at, arm) in command.arms.iter().enumerate() {
            let part = self.part(command, workflow, version, arm)?;
            let label = part.label();
            let invalid = |what: &str| Err(invalid(format!("/arms/{at}"), format!("{label} {what}")));
            if arm.share == 0 || arm.share > WHOLE {
                return invalid("gets a share of 0.001 to 1");
            }
            if label == CONTROL || part.version == command.version {
                return invalid("is what the tag runs without arms");
            }
            if parts.iter().any(|other| other.label() == label) {
                return invalid("is named by two arms");
            }
            parts.push(part);
        }
        if parts.iter().map(|part| part.share).sum::<u32>() > WHOLE {
            return Err(invalid("/arms".into(), "the shares of the arms are more than all starts".into()));
        }
        Ok(parts)
    }

    fn part(
        &self,
        command: &TagWorkflow,
        workflow: &Workflow,
        version: &Version,
        arm: &crate::command::Arm,
    ) -> Result<Part, Refusal> {
        let share = arm.share;
        match &arm.runs {
            Runs::Version(wanted) => {
                let found = self.state.symbols.find(wanted).and_then(|sym| workflow.version(sym));
                found.ok_or_else(|| unknown(&command.name, &Selector::Version(wanted.clone())))?;
                Ok(Part { version: wanted.clone(), base: String::new(), set: String::new(), share })
            }
            Runs::Set(set) => {
                let base = self.base_of(workflow, version);
                let found = workflow.patching.as_ref().and_then(|held| held.sets.get(set_key(&base, set).as_str()));
                if found.is_none_or(|set| set.generation == 0) {
                    let message = format!("version {base} of {} has no patch set {set} with a version", command.name);
                    return Err(refusal(code::WORKFLOW_NOT_FOUND, message));
                }
                Ok(Part { version: String::new(), base, set: set.clone(), share })
            }
        }
    }

    /// The version that the patch sets of a version stand on: that which it was derived from, else itself.
    fn base_of(&self, workflow: &Workflow, version: &Version) -> String {
        let set = version.derived.as_ref().and_then(|derived| workflow.patching.as_ref()?.sets.get(&derived.set));
        self.state.symbols.name(set.map_or(version.version, |set| set.base)).to_string()
    }
}

fn invalid(pointer: String, detail: String) -> Refusal {
    listed(code::VALUE_INVALID, detail.clone(), &[(pointer, detail)])
}
