//! Finding a member in checked bytes without building anything.

/// The raw bytes of a member: `path` is member names from the outside in. `bytes` must have passed
/// [`super::check`]; other bytes give `None` or a slice without meaning, never a panic.
#[must_use]
pub fn cut<'a, S: AsRef<str>>(bytes: &'a [u8], path: &[S]) -> Option<&'a [u8]> {
    let mut at = blank(bytes, 0);
    for name in path {
        at = member(bytes, at, name.as_ref())?;
    }
    let end = skip(bytes, at)?;
    bytes.get(at..end)
}

/// Where the value of the member `name` of the object at `at` begins.
fn member(bytes: &[u8], at: usize, name: &str) -> Option<usize> {
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    let mut pos = blank(bytes, at + 1);
    while bytes.get(pos) == Some(&b'"') {
        let end = string_end(bytes, pos)?;
        let key = bytes.get(pos + 1..end - 1)?;
        let same = key == name.as_bytes()
            || (key.contains(&b'\\') && std::str::from_utf8(key).is_ok_and(|key| super::scan::unescape(key) == name));
        pos = blank(bytes, end);
        if bytes.get(pos) != Some(&b':') {
            return None;
        }
        pos = blank(bytes, pos + 1);
        if same {
            return Some(pos);
        }
        pos = blank(bytes, skip(bytes, pos)?);
        if bytes.get(pos) != Some(&b',') {
            return None;
        }
        pos = blank(bytes, pos + 1);
    }
    None
}

#[inline]
fn blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// After the closing quote of the string that opens at `at`.
#[inline]
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut pos = at + 1;
    loop {
        match bytes.get(pos)? {
            b'"' => return Some(pos + 1),
            b'\\' => pos += 2,
            _ => pos += 1,
        }
    }
}

/// After the value that begins at `at`.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut pos = at;
            loop {
                match bytes.get(pos)? {
                    b'"' => {
                        pos = string_end(bytes, pos)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(pos + 1);
                        }
                    }
                    _ => {}
                }
                pos += 1;
            }
        }
        _ => {
            let rest = &bytes[at..];
            let end = rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'));
            Some(end.map_or(bytes.len(), |end| at + end))
        }
    }
}
