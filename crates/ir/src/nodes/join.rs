//! `join`: only joins. Its rule is the `join` field that every node has; it has no config.

use super::Common;
use crate::document::Reader;
use crate::ir::Kind;

pub(crate) fn read(reader: &mut Reader<'_, '_>, node: &Common) -> Kind {
    if let Some(config) = node.config {
        let [] = reader.fields(config, "the config of a join", []);
    }
    Kind::Join
}
