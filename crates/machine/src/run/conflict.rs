//! What stands against a patch, or on one that is to be dropped: the details of `PATCH_CONFLICT`, for programs that make
//! their patch anew (docs/decisions/0017).

use crate::action::Refusal;
use crate::error::code;
use crate::event::wire::write_json_str;
use crate::partition::turn::error_list;
use crate::run::patch::id_of;
use crate::state::run::{Layer, Run};
use apex_ir::overlay::{Operation, conflicts, read_operations};

/// Patches that are named in one refusal.
const NAMED: usize = 100;
/// Bytes of what they and the refused one do; over that, whoever wants it reads the patch by its id.
const OPERATIONS_BYTES: usize = 8 << 10;

/// A patch that another one is compared with.
pub(crate) struct Other {
    pub(crate) id: String,
    /// That it made; 0: it is of no run.
    pub(crate) epoch: u32,
    /// That dropping it made; 0: it is in force.
    pub(crate) dropped: u32,
    pub(crate) operations: Vec<Operation>,
}

impl Other {
    pub(crate) fn of(run: &Run, layer: &Layer) -> Other {
        let operations = read_operations(&layer.operations).unwrap_or_default();
        Other { id: id_of(&run.id, layer.number), epoch: layer.epoch, dropped: layer.dropped, operations }
    }
}

impl Run {
    /// What was applied or dropped after an epoch.
    pub(crate) fn changed_since(&self, epoch: u32) -> Vec<Other> {
        let is_since = |layer: &&Layer| layer.epoch > epoch || layer.dropped > epoch;
        self.layers().iter().filter(is_since).map(|layer| Other::of(self, layer)).collect()
    }
}

/// Refuses `own` where it touches what others do: `why` says of one of them how, and `epoch` is the one in force.
pub(crate) fn compare(
    message: &str,
    why: impl Fn(&Other, &str) -> String,
    epoch: u32,
    own: &[Operation],
    others: &[Other],
) -> Result<(), Refusal> {
    let lists: Vec<&[Operation]> = others.iter().map(|other| &*other.operations).collect();
    let found = conflicts(own, &lists);
    if found.is_empty() {
        return Ok(());
    }
    let errors: Vec<(String, String)> =
        found.iter().map(|conflict| (String::new(), why(&others[conflict.patch], &conflict.what))).collect();
    let patches = others.iter().enumerate().filter_map(|(at, other)| {
        let of_other: Vec<_> = found.iter().filter(|conflict| conflict.patch == at).collect();
        let theirs = (!of_other.is_empty()).then(|| conflicts(&other.operations, &[own]))?;
        Some(Standing {
            other,
            what: of_other.iter().map(|conflict| &*conflict.what).collect(),
            operations: in_order(&other.operations, theirs.iter().map(|conflict| conflict.operation)),
            own: in_order(own, of_other.iter().map(|conflict| conflict.operation)),
        })
    });
    Err(refusal(code::PATCH_CONFLICT, message, &errors, epoch, patches))
}

/// The refusal of a patch that does not go with others as a whole, for reasons in the definition that they make.
pub(crate) fn against(message: &str, errors: &[(String, String)], epoch: u32, others: &[Other]) -> Refusal {
    let whole = others.iter().map(|other| Standing {
        other,
        what: Vec::new(),
        operations: other.operations.iter().collect(),
        own: Vec::new(),
    });
    refusal(code::PATCH_CONFLICT, message, errors, epoch, whole)
}

/// The refusal of a patch whose key was used for this one.
pub(crate) fn key_reused(key: &str, epoch: u32, other: &Other) -> Refusal {
    let message = format!("the key {key} was used for another patch, {}", other.id);
    let standing = Standing { other, what: Vec::new(), operations: Vec::new(), own: Vec::new() };
    refusal(code::IDEMPOTENCY_KEY_REUSED, &message, &[], epoch, std::iter::once(standing))
}

/// One patch in the way, and where.
struct Standing<'s> {
    other: &'s Other,
    what: Vec<&'s str>,
    operations: Vec<&'s Operation>,
    own: Vec<&'s Operation>,
}

/// Each operation that is named, once.
fn in_order(operations: &[Operation], named: impl Iterator<Item = usize>) -> Vec<&Operation> {
    let mut named: Vec<usize> = named.collect();
    named.sort_unstable();
    named.dedup();
    named.into_iter().map(|at| &operations[at]).collect()
}

fn refusal<'s>(
    code: &'static str,
    message: &str,
    errors: &[(String, String)],
    epoch: u32,
    patches: impl Iterator<Item = Standing<'s>>,
) -> Refusal {
    let mut details = error_list(&errors[..errors.len().min(NAMED)]);
    details.extend_from_slice(format!(",\"conflict\":{{\"epoch\":{epoch},\"patches\":[").as_bytes());
    let (mut room, mut more) = (OPERATIONS_BYTES, false);
    for (n, standing) in patches.enumerate() {
        if n == NAMED {
            more = true;
            break;
        }
        details.extend_from_slice(if n > 0 { b",{\"patch_id\":" } else { b"{\"patch_id\":" });
        let Other { id, epoch, dropped, .. } = standing.other;
        write_json_str(id, &mut details);
        details.extend_from_slice(format!(",\"epoch\":{epoch},\"dropped_epoch\":{dropped}").as_bytes());
        let written = standing.written();
        match room.checked_sub(written.len()) {
            Some(left) => {
                room = left;
                details.extend_from_slice(&written);
            }
            None => details.extend_from_slice(b",\"truncated\":true"),
        }
        details.push(b'}');
    }
    details.extend_from_slice(if more { b"],\"truncated\":true}}" } else { b"]}}" });
    Refusal { code, message: message.to_owned(), details }
}

impl Standing<'_> {
    fn written(&self) -> Vec<u8> {
        let mut out = b",\"what\":[".to_vec();
        for (n, what) in self.what.iter().enumerate() {
            out.extend_from_slice(if n > 0 { b"," } else { b"" });
            write_json_str(what, &mut out);
        }
        for (name, list) in [("operations", &self.operations), ("own_operations", &self.own)] {
            out.extend_from_slice(format!("],\"{name}\":[").as_bytes());
            for (n, operation) in list.iter().enumerate() {
                out.extend_from_slice(if n > 0 { b"," } else { b"" });
                operation.to_value().write_canonical(&mut out);
            }
        }
        out.push(b']');
        out
    }
}
