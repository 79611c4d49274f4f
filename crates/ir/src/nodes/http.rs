//! `http {method, url, query, headers, body, expect_status}`: a request. Scheme, user, host and port are written
//! down; what expressions insert is data.

use super::Common;
use crate::document::{Reader, clip, nothing};
use crate::expressions::{Budget, ExprError, Scope, Template, percent_encode};
use crate::ir::{Http, Kind};
use crate::value::Value;
use crate::value::canonical::write_string;
use crate::value::scan::{At, Kind as Json};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

pub(crate) fn read(reader: &mut Reader<'_, '_>, node: &Common) -> Kind {
    let mut http = Http {
        method: "GET".into(),
        url: nothing(),
        query: None,
        headers: None,
        body: None,
        expect_status: Box::default(),
    };
    let Some(config) = reader.required(node.config, node.at, "an http node", "config") else {
        return Kind::Http(http);
    };
    let [method, url, query, headers, body, status] = reader.fields(
        config,
        "the config of an http node",
        ["method", "url", "query", "headers", "body", "expect_status"],
    );
    if let Some(place) = method.and_then(|at| reader.word(at, "method", &METHODS)) {
        http.method = METHODS[place].into();
    }
    if let Some(at) = reader.required(url, config, "the config of an http node", "url") {
        http.url = reader.text_template(at, "url");
        if reader.document.kind(at) == Json::String
            && let Some((message, hint)) = url_fault(&http.url)
        {
            reader.note_hint(at, "BAD_VALUE", message, Some(hint.to_owned()));
        }
    }
    http.query = query.map(|at| {
        if reader.document.kind(at) != Json::Object {
            reader.wrong_type(at, "query", "an object");
        }
        reader.template(at)
    });
    http.headers = headers.map(|at| read_headers(reader, at));
    http.body = body.map(|at| reader.template(at));
    if let Some(at) = status {
        let statuses = reader.elements(at, "expect_status");
        let statuses = statuses.into_iter().filter_map(|at| reader.integer(at, "a status", 100, 599));
        http.expect_status = statuses.filter_map(|status| u16::try_from(status).ok()).collect();
    }
    Kind::Http(http)
}

/// What is wrong with the part of a URL that is written down.
fn url_fault(url: &Template) -> Option<(String, &'static str)> {
    let (start, whole) = url.literal_start();
    let written = "write `https://host/` down; expressions may stand after it";
    let rest = match start.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => rest,
        Some((scheme, _)) if !scheme.is_empty() => {
            return Some((format!("the scheme {:?} is neither http nor https", clip(scheme)), written));
        }
        _ => return Some(("a URL begins with its scheme and host".to_owned(), written)),
    };
    if start.contains(|c: char| c.is_control() || c == ' ' || c == '\\') {
        return Some(("a URL holds no spaces, backslashes or control characters".to_owned(), "write them as %20"));
    }
    let end = rest.find(['/', '?', '#']);
    let authority = &rest[..end.unwrap_or(rest.len())];
    if end.is_none() && !whole {
        return Some(("an expression may not form the host or port of a URL".to_owned(), written));
    }
    if authority.contains('@') {
        return Some(("a URL holds no user and password".to_owned(), "use a header with a secret"));
    }
    let host = authority.split(':').next().unwrap_or_default();
    (host.is_empty()).then(|| ("the URL has no host".to_owned(), written))
}

fn read_headers(reader: &mut Reader<'_, '_>, at: At) -> Template {
    if reader.document.kind(at) != Json::Object {
        reader.wrong_type(at, "headers", "an object");
        return nothing();
    }
    let members: Vec<(At, At)> = reader.document.members(at).collect();
    for (key, value) in members {
        let name = reader.document.string(key);
        // RFC 9110, 5.6.2: a token.
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.as_bytes().iter().all(token) {
            reader.note(key, "BAD_VALUE", format!("{:?} is no header name", clip(&name)));
        }
        match reader.document.kind(value) {
            Json::String => {
                let text = reader.document.string(value);
                if text.contains(['\r', '\n', '\0']) {
                    reader.note(value, "BAD_VALUE", "a header holds no CR, LF or NUL");
                }
            }
            Json::Object => {
                let [secret] = reader.fields(value, "a header", ["secret"]);
                if let Some(at) = reader.required(secret, value, "a header that is an object", "secret") {
                    reader.name(at, "the name of a secret");
                }
            }
            _ => reader.wrong_type(value, "a header", "a string or {\"secret\": name}"),
        }
    }
    reader.templated(|compiler, document| compiler.compile_with_secrets(document, at))
}

impl Http {
    /// The host and port that it goes to, as written down, in lower case.
    #[must_use]
    pub fn host(&self) -> String {
        let (start, _) = self.url.literal_start();
        let rest = start.split_once("://").map_or("", |(_, rest)| rest);
        rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())].to_ascii_lowercase()
    }

    /// Whether it goes unencrypted.
    pub(crate) fn is_clear(&self) -> bool {
        let (start, _) = self.url.literal_start();
        start.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("http"))
    }

    /// Renders the request, the input of the job: `{"body", "expect_status", "headers", "method", "url"}`; `body`
    /// and `headers` only where stated. The query is percent-encoded into the URL (a list gives one pair for each
    /// item, null gives none).
    ///
    /// # Errors
    /// As [`Template::render`] and [`Template::render_url`]; also where a header holds CR, LF or NUL or is no text.
    pub fn render(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Vec<u8>, ExprError> {
        let mut url = self.url.render_url(scope, budget)?;
        if let Some(query) = &self.query {
            add_query(&mut url, &query.evaluate(scope, budget)?)?;
        }
        let mut out = b"{".to_vec();
        if let Some(body) = &self.body {
            out.extend_from_slice(b"\"body\":");
            body.render_into(scope, budget, &mut out)?;
            out.push(b',');
        }
        out.extend_from_slice(b"\"expect_status\":[");
        for (i, status) in self.expect_status.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(status.to_string().as_bytes());
        }
        out.extend_from_slice(b"],");
        if let Some(headers) = &self.headers {
            out.extend_from_slice(b"\"headers\":");
            write_headers(&headers.evaluate(scope, budget)?, &mut out)?;
            out.push(b',');
        }
        out.extend_from_slice(b"\"method\":");
        write_string(&self.method, &mut out);
        out.extend_from_slice(b",\"url\":");
        write_string(&url, &mut out);
        out.push(b'}');
        Ok(out)
    }
}

fn failed(message: String) -> ExprError {
    ExprError { message, cost_exceeded_at: None }
}

fn add_query(url: &mut String, query: &Value) -> Result<(), ExprError> {
    let Value::Map(query) = query else { return Err(failed("the query of a URL must be an object".to_owned())) };
    let fragment = url.find('#').map(|at| url.split_off(at));
    for (key, value) in query.entries() {
        let single = std::slice::from_ref(value);
        let values = match value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => single,
        };
        for value in values {
            let sign = match url.find('?') {
                None => "?",
                Some(at) if at + 1 == url.len() || url.ends_with('&') => "",
                Some(_) => "&",
            };
            url.push_str(sign);
            let name = |message: String| failed(format!("query {:?}: {message}", key.to_text()));
            percent_encode(key, url).map_err(name)?;
            url.push('=');
            percent_encode(value, url).map_err(name)?;
        }
    }
    url.push_str(&fragment.unwrap_or_default());
    Ok(())
}

fn write_headers(headers: &Value, out: &mut Vec<u8>) -> Result<(), ExprError> {
    let Value::Map(headers) = headers else { return Err(failed("headers must be an object".to_owned())) };
    out.push(b'{');
    let mut first = true;
    for (name, value) in headers.entries() {
        let name = name.to_text();
        if matches!(value, Value::Null) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        write_string(&name, out);
        out.push(b':');
        match value {
            // A secret that comes this far was written down: the template refuses one from an expression.
            Value::Map(secret) if secret.entries().len() == 1 && secret.member("secret").is_some() => value.write(out),
            Value::Map(_) | Value::List(_) => return Err(failed(format!("the header {name:?} must be a text"))),
            value => {
                let text = value.to_text();
                if text.contains(['\r', '\n', '\0']) {
                    return Err(failed(format!("the header {name:?} holds CR, LF or NUL")));
                }
                write_string(&text, out);
            }
        }
    }
    out.push(b'}');
    Ok(())
}
