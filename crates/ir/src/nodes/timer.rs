//! `timer {duration_s | until}`: a wait for a time.

use super::Common;
use crate::document::{Reader, clip, nothing};
use crate::expressions::time::parse_timestamp;
use crate::ir::{Kind, Timer};
use crate::value::scan::Kind as Json;

pub(crate) fn read(reader: &mut Reader<'_, '_>, node: &Common) -> Kind {
    let what = "the config of a timer";
    let Some(config) = reader.required(node.config, node.at, "a timer node", "config") else {
        return Kind::Timer(Timer::Duration(nothing()));
    };
    let [duration, until] = reader.fields(config, what, ["duration_s", "until"]);
    match (duration, until) {
        (Some(_), Some(until)) => {
            reader.note(until - 1, "BAD_VALUE", "a timer has `duration_s` or `until`, not both");
        }
        (None, None) => reader.either(config, what, "duration_s", "until"),
        _ => {}
    }
    if let Some(at) = until {
        let template = reader.text_template(at, "until");
        if template.constant().is_some() && reader.document.kind(at) == Json::String {
            let text = reader.document.string(at);
            if parse_timestamp(&text).is_none() {
                let hint = Some("write it as 2026-01-31T08:00:00Z".to_owned());
                reader.note_hint(at, "BAD_VALUE", format!("{:?} is no RFC 3339 time", clip(&text)), hint);
            }
        }
        return Kind::Timer(Timer::Until(template));
    }
    let template = match duration {
        Some(at) if reader.document.kind(at) == Json::String => {
            let template = reader.template(at);
            if !template.is_single() {
                reader.wrong_type(at, "duration_s", "a number, or one `${…}` that gives one");
            }
            template
        }
        Some(at) => {
            reader.seconds(at, "duration_s", true);
            reader.template(at)
        }
        None => nothing(),
    };
    Kind::Timer(Timer::Duration(template))
}
