//! A history as a file (docs/formats/history.md): magic, version, a header as JSON, then the bodies of the records.

use super::HistoryError;
use crate::event::wire::write_json_str;
use crate::id::RunId;
use crate::record::split_records;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"apexhist";
const VERSION: u32 = 1;

/// A version of a workflow that the run was on.
#[derive(Debug)]
pub struct Definition<'a> {
    /// Name of the workflow.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:…`, as it was registered.
    pub hash: String,
    /// Canonical JSON.
    pub definition: &'a [u8],
}

type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

fn definitions(head: &[u8]) -> Option<Vec<Definition<'_>>> {
    let members: Members<'_> = serde_json::from_slice(head).ok()?;
    let list: Vec<Members<'_>> = serde_json::from_str(members.get("definitions")?.get()).ok()?;
    let read =
        |members: &Members<'_>, name: &str| -> Option<String> { serde_json::from_str(members.get(name)?.get()).ok() };
    list.iter()
        .map(|members| {
            let definition = members.get("definition")?.get().as_bytes();
            let (name, version) = (read(members, "name")?, read(members, "version")?);
            Some(Definition { name, version, hash: read(members, "hash")?, definition })
        })
        .collect()
}

/// A history, borrowed from the bytes of a file.
#[derive(Debug)]
pub struct History<'a> {
    /// Every version that the run was on.
    pub definitions: Vec<Definition<'a>>,
    /// The bodies of its records, in order.
    pub records: Vec<&'a [u8]>,
}

/// What stands before the records. `definitions`: name, version, address of the hash, canonical JSON.
#[must_use]
pub fn header(engine: &str, run_id: &RunId, tenant: &str, definitions: &[(&str, &str, &str, &[u8])]) -> Vec<u8> {
    let mut head = b"{\"engine\":".to_vec();
    write_json_str(engine, &mut head);
    head.extend_from_slice(b",\"run_id\":\"");
    run_id.write(&mut head);
    head.extend_from_slice(b"\",\"tenant\":");
    write_json_str(tenant, &mut head);
    head.extend_from_slice(b",\"definitions\":[");
    for (n, (name, version, hash, definition)) in definitions.iter().enumerate() {
        head.extend_from_slice(if n > 0 { b",{" } else { b"{" });
        for (member, text) in [("\"name\":", name), ("\"version\":", version), ("\"hash\":", hash)] {
            head.extend_from_slice(member.as_bytes());
            write_json_str(text, &mut head);
            head.push(b',');
        }
        head.extend_from_slice(b"\"definition\":");
        head.extend_from_slice(definition);
        head.push(b'}');
    }
    head.extend_from_slice(b"]}");
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&head);
    out
}

impl<'a> History<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// Bytes that are no history, or one of a version that is not known here.
    pub fn read(bytes: &'a [u8]) -> Result<History<'a>, HistoryError> {
        let bad = |reason: &str| HistoryError::Format(reason.to_owned());
        let rest =
            bytes.strip_prefix(MAGIC).ok_or_else(|| bad("this is no history: it does not begin with apexhist"))?;
        let (version, rest) = number(rest).ok_or_else(|| bad("the history is cut short in its header"))?;
        if version != VERSION {
            return Err(bad(&format!("the history has format version {version}; this engine reads {VERSION}")));
        }
        let (length, rest) = number(rest).ok_or_else(|| bad("the history is cut short in its header"))?;
        let (head, rest) =
            rest.split_at_checked(length as usize).ok_or_else(|| bad("the history is cut short in its header"))?;
        let definitions = definitions(head).ok_or_else(|| bad("the header of the history is not what it should be"))?;
        let records = split_records(rest).map_err(|_| bad("the history is cut short within a record"))?;
        Ok(History { definitions, records })
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_at_checked(4)?;
    Some((u32::from_le_bytes([number[0], number[1], number[2], number[3]]), rest))
}
