//! Text to tokens; length, depth of brackets, number of terms and depth of comprehensions are refused here, before
//! anything is parsed.

use super::Refusal;
use crate::limits::ExpressionLimits;
use std::borrow::Cow;

/// A piece of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'a> {
    /// A name.
    Name(&'a str),
    /// Magnitude of an integer: up to 2^63, so that the smallest int64 can be written.
    Int(u64),
    /// Any other number.
    Double(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An operator or bracket.
    Sign(&'static str),
    /// The end.
    End,
}

/// The longest first, so that `<=` is not read as `<`.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// Names that open a scope of their own when called on a list.
pub(crate) const MACROS: [&str; 5] = ["all", "exists", "exists_one", "map", "filter"];

/// Cuts a text into tokens with their offsets.
pub(crate) fn tokens<'a>(text: &'a str, limits: &ExpressionLimits) -> Result<Vec<(Token<'a>, u32)>, Refusal> {
    if text.len() > limits.bytes_max {
        return Err(Refusal {
            code: "EXPRESSION_TOO_LONG",
            offset: limits.bytes_max,
            message: format!("the expression has {} bytes, the limit is {}", text.len(), limits.bytes_max),
            hint: None,
        });
    }
    let bytes = text.as_bytes();
    let mut out: Vec<(Token<'a>, u32)> = Vec::with_capacity(text.len() / 4 + 2);
    // Open brackets: whether each is a comprehension's.
    let mut open: Vec<bool> = Vec::new();
    let (mut comprehensions, mut terms, mut pos) = (0, 0, 0);
    while pos < bytes.len() {
        let start = pos;
        let byte = bytes[pos];
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c) {
            pos += 1;
            continue;
        }
        if bytes[pos..].starts_with(b"//") {
            pos = bytes[pos..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| pos + end);
            continue;
        }
        let after_dot = matches!(out.last(), Some((Token::Sign("."), _)));
        let token = if let Some((prefix, quote)) = string_start(bytes, pos) {
            let (value, end) = string(text, pos, prefix, quote)?;
            pos = end;
            Token::Text(value)
        } else if byte.is_ascii_digit()
            || (byte == b'.' && !after_dot && bytes.get(pos + 1).is_some_and(u8::is_ascii_digit))
        {
            let (token, end) = number(text, pos)?;
            pos = end;
            token
        } else if byte.is_ascii_alphabetic() || byte == b'_' {
            pos += bytes[pos..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            Token::Name(&text[start..pos])
        } else if let Some(sign) = SIGNS.iter().find(|sign| bytes[pos..].starts_with(sign.as_bytes())) {
            pos += sign.len();
            match *sign {
                "(" | "[" | "{" => {
                    let comprehension = *sign == "(" && calls_macro(&out);
                    comprehensions += usize::from(comprehension);
                    open.push(comprehension);
                    if open.len() > limits.depth_max {
                        return Err(too_deep(limits, start));
                    }
                    if comprehensions > limits.comprehensions_max {
                        return Err(Refusal {
                            code: "EXPRESSION_TOO_COSTLY",
                            offset: start,
                            message: format!("comprehensions are nested deeper than {}", limits.comprehensions_max),
                            hint: Some("compute the list in a function of its own".to_owned()),
                        });
                    }
                }
                ")" | "]" | "}" => comprehensions -= usize::from(open.pop().unwrap_or(false)),
                _ => {}
            }
            Token::Sign(sign)
        } else {
            let found = text[pos..].chars().next().unwrap_or(' ');
            return Err(Refusal::syntax(start, format!("{found:?} has no meaning in an expression")));
        };
        if !matches!(token, Token::Sign(_)) {
            terms += 1;
            if terms > limits.terms_max {
                return Err(Refusal {
                    code: "EXPRESSION_TOO_LONG",
                    offset: start,
                    message: format!("the expression has more than {} terms", limits.terms_max),
                    hint: None,
                });
            }
        }
        out.push((token, start as u32));
    }
    out.push((Token::End, bytes.len() as u32));
    Ok(out)
}

pub(crate) fn too_deep(limits: &ExpressionLimits, offset: usize) -> Refusal {
    Refusal {
        code: "EXPRESSION_TOO_DEEP",
        offset,
        message: format!("the expression is nested deeper than {}", limits.depth_max),
        hint: None,
    }
}

fn calls_macro(out: &[(Token<'_>, u32)]) -> bool {
    matches!(out, [.., (Token::Sign("."), _), (Token::Name(name), _)] if MACROS.contains(name))
}

/// Whether a string begins at `pos`: the length of its prefix (`r`) and its quote.
fn string_start(bytes: &[u8], pos: usize) -> Option<(usize, u8)> {
    match (bytes[pos], bytes.get(pos + 1)) {
        (quote @ (b'"' | b'\''), _) => Some((0, quote)),
        (b'r' | b'R' | b'b' | b'B', Some(&quote @ (b'"' | b'\''))) => Some((1, quote)),
        (b'b' | b'B', Some(b'r' | b'R')) | (b'r' | b'R', Some(b'b' | b'B')) => match bytes.get(pos + 2) {
            Some(&quote @ (b'"' | b'\'')) => Some((2, quote)),
            _ => None,
        },
        _ => None,
    }
}

fn string<'a>(text: &'a str, start: usize, prefix: usize, quote: u8) -> Result<(Cow<'a, str>, usize), Refusal> {
    let bytes = text.as_bytes();
    if bytes[start..start + prefix].iter().any(|byte| matches!(byte, b'b' | b'B')) {
        return Err(Refusal::syntax(start, "bytes literals are not supported".to_owned()));
    }
    let raw = prefix > 0;
    let open = start + prefix;
    let triple = bytes[open..].starts_with(&[quote; 3]);
    let first = open + if triple { 3 } else { 1 };
    let mut pos = first;
    let mut escaped = false;
    let end = loop {
        match bytes.get(pos) {
            None => return Err(Refusal::syntax(start, "a string has no end".to_owned())),
            Some(b'\\') if !raw => {
                escaped = true;
                pos += 2;
            }
            Some(b'\n' | b'\r') if !triple => {
                return Err(Refusal::syntax(start, "a string ends at the end of its line".to_owned()));
            }
            Some(&byte) if byte == quote && (!triple || bytes[pos..].starts_with(&[quote; 3])) => break pos,
            Some(_) => pos += 1,
        }
    };
    let after = end + if triple { 3 } else { 1 };
    let inner = &text[first..end];
    Ok((if escaped { Cow::Owned(unescape(inner, first)?) } else { Cow::Borrowed(inner) }, after))
}

fn unescape(inner: &str, offset: usize) -> Result<String, Refusal> {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let bad = || Refusal::syntax(offset + at, "no such escape".to_owned());
        let (_, kind) = chars.next().ok_or_else(bad)?;
        let (digits, radix, first) = match kind {
            'a' => ('\u{7}', 0, 0),
            'b' => ('\u{8}', 0, 0),
            'f' => ('\u{c}', 0, 0),
            'n' => ('\n', 0, 0),
            'r' => ('\r', 0, 0),
            't' => ('\t', 0, 0),
            'v' => ('\u{b}', 0, 0),
            '\\' | '"' | '\'' | '`' | '?' => (kind, 0, 0),
            'x' | 'X' => ('2', 16, 0),
            'u' => ('4', 16, 0),
            'U' => ('8', 16, 0),
            '0'..='3' => ('2', 8, kind as u32 - '0' as u32),
            _ => return Err(bad()),
        };
        if radix == 0 {
            out.push(digits);
            continue;
        }
        let mut code = first;
        for _ in 0..digits.to_digit(10).unwrap_or(0) {
            let digit = chars.next().and_then(|(_, c)| c.to_digit(radix)).ok_or_else(bad)?;
            code = code.checked_mul(radix).and_then(|code| code.checked_add(digit)).ok_or_else(bad)?;
        }
        out.push(char::from_u32(code).ok_or_else(bad)?);
    }
    Ok(out)
}

fn number<'a>(text: &str, start: usize) -> Result<(Token<'a>, usize), Refusal> {
    let bytes = text.as_bytes();
    let run = |from: usize, hex: bool| {
        let digit = |byte: &&u8| if hex { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
        from + bytes[from..].iter().take_while(digit).count()
    };
    let bad = |message: &str| Refusal::syntax(start, message.to_owned());
    if bytes[start] == b'0' && matches!(bytes.get(start + 1), Some(b'x' | b'X')) {
        let end = run(start + 2, true);
        let value = u64::from_str_radix(&text[start + 2..end], 16).map_err(|_| bad("no hexadecimal integer"))?;
        return finish(bytes, end, start, Token::Int(value));
    }
    let mut end = run(start, false);
    let mut double = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        end = run(end + 1, false);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let digits = run(end + 1 + sign, false);
        if digits > end + 1 + sign {
            double = true;
            end = digits;
        }
    }
    let token = if double {
        let value: f64 = text[start..end].parse().map_err(|_| bad("no number"))?;
        if !value.is_finite() {
            return Err(bad("the number is too large for a double"));
        }
        Token::Double(value)
    } else {
        let value: u64 = text[start..end].parse().map_err(|_| bad("the integer is outside int64"))?;
        if value > 1 << 63 {
            return Err(bad("the integer is outside int64"));
        }
        Token::Int(value)
    };
    finish(bytes, end, start, token)
}

fn finish<'a>(bytes: &[u8], end: usize, start: usize, token: Token<'a>) -> Result<(Token<'a>, usize), Refusal> {
    match bytes.get(end) {
        Some(b'u' | b'U') => Err(Refusal::syntax(start, "unsigned integers are not supported".to_owned())),
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' => {
            Err(Refusal::syntax(start, "a number and a name must be apart".to_owned()))
        }
        _ => Ok((token, end)),
    }
}

/// Where the expression that begins at `from` (after `${`) ends: the offset of its `}`.
pub(crate) fn closing_brace(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut pos, mut depth) = (from, 0_usize);
    let mut in_name = false;
    while let Some(&byte) = bytes.get(pos) {
        if !in_name && let Some((prefix, quote)) = string_start(bytes, pos) {
            let open = pos + prefix;
            let raw = bytes[pos..open].iter().any(|byte| matches!(byte, b'r' | b'R'));
            let width = if bytes[open..].starts_with(&[quote; 3]) { 3 } else { 1 };
            pos = open + width;
            while !bytes[pos.min(bytes.len())..].starts_with(&[quote; 3][..width]) {
                pos += if !raw && bytes.get(pos)? == &b'\\' { 2 } else { 1 };
                if pos >= bytes.len() {
                    return None;
                }
            }
            pos += width;
            continue;
        }
        in_name = byte.is_ascii_alphanumeric() || byte == b'_';
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(pos),
            b'}' => depth -= 1,
            _ => {}
        }
        pos += 1;
    }
    None
}
