//! `approval {prompt, timeout_s, on_timeout, escalate_to, escalate_after_s}`: a wait for a person.

use super::Common;
use crate::document::{Reader, nothing};
use crate::ir::{Approval, Kind, OnTimeout};

pub(crate) fn read(reader: &mut Reader<'_, '_>, node: &Common) -> Kind {
    let what = "the config of an approval";
    let mut approval = Approval {
        prompt: nothing(),
        timeout_ns: None,
        on_timeout: OnTimeout::Reject,
        escalate_to: Box::default(),
        escalate_after_ns: None,
    };
    let Some(config) = reader.required(node.config, node.at, "an approval node", "config") else {
        return Kind::Approval(approval);
    };
    let [prompt, timeout, on_timeout, escalate_to, escalate_after] =
        reader.fields(config, what, ["prompt", "timeout_s", "on_timeout", "escalate_to", "escalate_after_s"]);
    if let Some(at) = reader.required(prompt, config, what, "prompt") {
        approval.prompt = reader.text_template(at, "prompt");
    }
    approval.timeout_ns = timeout.and_then(|at| reader.seconds(at, "timeout_s", false));
    approval.on_timeout = match on_timeout.and_then(|at| reader.word(at, "on_timeout", &["reject", "approve", "fail"]))
    {
        Some(1) => OnTimeout::Approve,
        Some(2) => OnTimeout::Fail,
        _ => OnTimeout::Reject,
    };
    approval.escalate_to = escalate_to.map(|at| reader.names(at, "escalate_to")).unwrap_or_default();
    approval.escalate_after_ns = escalate_after.and_then(|at| reader.seconds(at, "escalate_after_s", false));
    if let (Some(at), true) = (escalate_after, escalate_to.is_none()) {
        reader.note(at - 1, "MISSING_FIELD", "escalate_after_s needs escalate_to");
    }
    if let (Some(at), Some(after), Some(end)) = (escalate_after, approval.escalate_after_ns, approval.timeout_ns)
        && after >= end
    {
        reader.note(at, "BAD_VALUE", "escalate_after_s must be less than timeout_s");
    }
    Kind::Approval(approval)
}
