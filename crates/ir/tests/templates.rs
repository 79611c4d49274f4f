//! Templates: what `${…}` gives, in JSON and in URLs.
#![allow(clippy::unwrap_used)]

mod support;

use apex_ir::expressions::{Budget, Template};
use apex_ir::ir::Kind;
use apex_ir::limits::ExpressionLimits;
use support::{JsonScope, ok, workflow};

const SCOPE: &str = r#"{"inputs": {"n": 3, "s": "a \"b\" ${x}", "o": { "k" : [ 1 ] }, "dots": "..", "path": "a/b?c=d&e#f %é",
 "crlf": "a\r\nb", "fake": {"secret": "db"}, "evil": "@evil.com:80/"}, "outputs": {"a": {"x": [1,  2]}}}"#;

fn render(json: &str) -> Result<String, String> {
    let template = Template::compile(json.as_bytes(), &ExpressionLimits::default()).map_err(|error| error.message)?;
    let bytes = template.render(&JsonScope::new(SCOPE), &mut Budget::default()).map_err(|error| error.message)?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn templates_render_to_json() {
    let cases = [
        (r#"{"b": 1.50, "a": [true, null]}"#, r#"{"a":[true,null],"b":1.5}"#),
        (r#""${inputs.n}""#, "3"),
        (r#""${inputs.o}""#, r#"{ "k" : [ 1 ] }"#),
        (r#""n=${inputs.n}, ${inputs.n + 1}""#, r#""n=3, 4""#),
        (r#""say ${inputs.s}""#, r#""say a \"b\" ${x}""#),
        (r#""$${inputs.n} $$${inputs.n} $5 {}""#, r#""${inputs.n} $${inputs.n} $5 {}""#),
        (r#"{"x": ["${nodes.a.output.x}", "<${nodes.a.output.x}>"]}"#, r#"{"x":[[1,  2],"<[1,2]>"]}"#),
        (r#""${nodes.gone.output.x}""#, "null"),
        (r#"["${'}'}", "${{'a': {'b': 1}}.a}", "${\"}\"}"]"#, r#"["}",{"b":1},"}"]"#),
    ];
    for (json, expected) in cases {
        assert_eq!(render(json).unwrap(), expected, "{json}");
    }
    assert!(render(r#""${inputs.nope}""#).unwrap_err().contains("no member \"nope\""));
    assert!(render(r#""${1.0 / 0.0}""#).unwrap_err().contains("not finite"));
    for bad in [r#""${""#, r#""${}""#, r#""${inputs.n""#, r#"{"${inputs.n}": 1}"#] {
        assert!(Template::compile(bad.as_bytes(), &ExpressionLimits::default()).is_err(), "{bad}");
    }
}

#[test]
fn a_constant_template_gives_its_bytes() {
    let template = Template::compile(br#"{"a": "$${x}"}"#, &ExpressionLimits::default()).unwrap();
    assert_eq!(template.constant(), Some(&br#"{"a":"${x}"}"#[..]));
}

fn request(config: &str) -> Result<String, String> {
    let ir = ok(&workflow(&format!(r#"{{"id": "h", "type": "http", "config": {config}}}"#), ""));
    let Kind::Http(http) = &ir.nodes[0].kind else { panic!("no http") };
    let bytes = http.render(&JsonScope::new(SCOPE), &mut Budget::default()).map_err(|error| error.message)?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn values_in_a_url_are_data() {
    let url = |text: &str| request(&format!(r#"{{"url": "{text}"}}"#));
    let wrap = |url: &str| Ok(format!(r#"{{"expect_status":[],"method":"GET","url":"{url}"}}"#));
    assert_eq!(url("https://x.org/${inputs.path}"), wrap("https://x.org/a%2Fb%3Fc%3Dd%26e%23f%20%25%C3%A9"));
    assert_eq!(url("https://x.org/?q=${inputs.evil}"), wrap("https://x.org/?q=%40evil.com%3A80%2F"));
    assert_eq!(url("https://x.org/v${inputs.n}/${inputs.dots}.txt"), wrap("https://x.org/v3/...txt"));
    for text in [
        "https://x.org/a/${inputs.dots}/b",
        "https://x.org/a/${inputs.dots}",
        "https://x.org/.${'.'}",
        "https://x.org/%2E${'.'}?x",
    ] {
        assert!(url(text).unwrap_err().contains("`.` or `..`"), "{text}");
    }
    assert!(url("https://x.org/${inputs.o}").unwrap_err().contains("no place in a URL"));
}

#[test]
fn requests_render_with_query_headers_and_body() {
    let config = r#"{"method": "POST", "url": "https://x.org/a?z=1#top", "query": {"q": "${inputs.s}", "l": [1, 2], "none": null},
      "headers": {"X-N": "${inputs.n}", "Authorization": {"secret": "token"}}, "body": {"n": "${inputs.n}"}, "expect_status": [404, 200]}"#;
    let expected = r#"{"body":{"n":3},"expect_status":[200,404],"headers":{"Authorization":{"secret":"token"},"X-N":"3"},"method":"POST","url":"https://x.org/a?z=1&l=1&l=2&q=a%20%22b%22%20%24%7Bx%7D#top"}"#;
    assert_eq!(request(config).unwrap(), expected);
    let header = |value: &str| request(&format!(r#"{{"url": "https://x.org/", "headers": {{"X": "{value}"}}}}"#));
    assert!(header("${inputs.crlf}").unwrap_err().contains("CR, LF or NUL"));
    assert!(header("${inputs.fake}").unwrap_err().contains("cannot name a secret"));
    assert!(header("${inputs.o}").is_err());
}

#[test]
fn an_expression_cannot_name_a_secret_in_a_functions_config() {
    let node = |value: &str| {
        let config = format!(r#"{{"name": "f", "config": {{"key": {value}}}}}"#);
        let ir = ok(&workflow(&format!(r#"{{"id": "f", "type": "function", "config": {config}}}"#), ""));
        let Kind::Function { config: Some(config), .. } = &ir.nodes[0].kind else { panic!("no config") };
        config.render(&JsonScope::new(SCOPE), &mut Budget::default()).map_err(|error| error.message)
    };
    assert_eq!(node(r#"{"secret": "db"}"#).unwrap(), br#"{"key":{"secret":"db"}}"#);
    assert!(node(r#""${inputs.fake}""#).unwrap_err().contains("cannot name a secret"));
    assert_eq!(node(r#""${inputs.n}""#).unwrap(), br#"{"key":3}"#);
}
