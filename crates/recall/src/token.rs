//! A text as tokens: runs of letters, runs of digits, single marks, each with its lower-case form and its class.

use std::ops::Range;

use crate::lexicon::{Class, Lexicon};

/// What a token is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Word,
    Digits,
    Mark(char),
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) start: usize,
    pub(crate) end: usize,
    low_start: usize,
    low_end: usize,
    pub(crate) shape: Shape,
    pub(crate) class: Class,
    /// The number that a word or digits stand for, `u32::MAX` when there is none.
    pub(crate) value: u32,
    /// Starts with a letter that is not lower case (scripts without case count as capitals).
    pub(crate) is_capital: bool,
    /// No white space before it.
    pub(crate) is_glued: bool,
    /// The first one of a line.
    pub(crate) starts_line: bool,
}

/// A text and its tokens. The lower-case forms stand in one buffer, single-spaced, so a phrase of
/// several tokens is one slice of it.
#[derive(Debug)]
pub(crate) struct Doc<'a> {
    pub(crate) text: &'a str,
    pub(crate) lexicon: &'a Lexicon,
    low: String,
    pub(crate) tokens: Vec<Token>,
}

fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic() || c == '_';
    }
    // Combining marks belong to the letter before them.
    c.is_alphabetic() || ('\u{300}'..='\u{36f}').contains(&c)
}

/// Typographic apostrophes are written as the plain one, so that both spellings are one word.
fn plain(c: char) -> char {
    if matches!(c, '\u{2019}' | '\u{2bc}') { '\'' } else { c }
}

impl<'a> Doc<'a> {
    pub(crate) fn new(text: &'a str, lexicon: &'a Lexicon) -> Doc<'a> {
        let mut doc =
            Doc { text, lexicon, low: String::with_capacity(text.len() + 32), tokens: Vec::with_capacity(24) };
        let mut rest = 0;
        let (mut is_glued, mut starts_line) = (false, true);
        while let Some(c) = text[rest..].chars().next() {
            let start = rest;
            if c.is_whitespace() {
                rest += c.len_utf8();
                is_glued = false;
                starts_line |= c == '\n';
                continue;
            }
            let shape = if is_letter(c) {
                rest += word_len(&text[start..]);
                Shape::Word
            } else if c.is_ascii_digit() {
                rest += text[start..].bytes().take_while(u8::is_ascii_digit).count();
                Shape::Digits
            } else if plain(c) == '\'' && is_glued && is_genitive(&text[start + c.len_utf8()..]) {
                rest += c.len_utf8() + 1;
                Shape::Word
            } else {
                rest += c.len_utf8();
                Shape::Mark(plain(c))
            };
            doc.push(start..rest, shape, is_glued, starts_line);
            (is_glued, starts_line) = (true, false);
        }
        doc
    }

    fn push(&mut self, span: Range<usize>, shape: Shape, is_glued: bool, starts_line: bool) {
        let Range { start, end } = span;
        if !self.low.is_empty() {
            self.low.push(' ');
        }
        let low_start = self.low.len();
        let source = &self.text[start..end];
        if source.is_ascii() {
            self.low.push_str(source);
            self.low[low_start..].make_ascii_lowercase();
        } else {
            self.low.extend(source.chars().map(plain).flat_map(char::to_lowercase));
        }
        let low = &self.low[low_start..];
        let (class, value) = match shape {
            Shape::Word => self.lexicon.word(low),
            Shape::Digits => (Class::NONE, low.parse().unwrap_or(u32::MAX)),
            Shape::Mark(_) => (Class::NONE, u32::MAX),
        };
        let is_capital = source.chars().next().is_some_and(|c| c.is_alphabetic() && !c.is_lowercase());
        let low_end = self.low.len();
        self.tokens.push(Token {
            start,
            end,
            low_start,
            low_end,
            shape,
            class,
            value,
            is_capital,
            is_glued,
            starts_line,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The lower-case form of a token, empty behind the end.
    pub(crate) fn low(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &self.low[token.low_start..token.low_end])
    }

    /// The lower-case form of the tokens `from..to`, single-spaced. `from < to <= len`.
    pub(crate) fn phrase(&self, from: usize, to: usize) -> &str {
        &self.low[self.tokens[from].low_start..self.tokens[to - 1].low_end]
    }

    pub(crate) fn is(&self, at: usize, class: Class) -> bool {
        self.tokens.get(at).is_some_and(|token| token.class.has(class))
    }

    pub(crate) fn is_mark(&self, at: usize, mark: char) -> bool {
        self.tokens.get(at).is_some_and(|token| token.shape == Shape::Mark(mark))
    }

    pub(crate) fn mark(&self, at: usize) -> Option<char> {
        match self.tokens.get(at)?.shape {
            Shape::Mark(mark) => Some(mark),
            Shape::Word | Shape::Digits => None,
        }
    }

    pub(crate) fn is_digits(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.shape == Shape::Digits)
    }

    pub(crate) fn is_word(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.shape == Shape::Word)
    }

    pub(crate) fn is_glued(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_glued)
    }

    pub(crate) fn starts_line(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.starts_line)
    }

    pub(crate) fn is_capital(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_capital)
    }

    /// The value of digits or of a number word.
    pub(crate) fn value(&self, at: usize) -> Option<u32> {
        self.tokens.get(at).map(|token| token.value).filter(|value| *value != u32::MAX)
    }

    /// The number of bytes of a token.
    pub(crate) fn width(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(0, |token| token.end - token.start)
    }

    /// The bytes that the tokens `from..to` cover. `from < to <= len`.
    pub(crate) fn span(&self, from: usize, to: usize) -> (usize, usize) {
        (self.tokens[from].start, self.tokens[to - 1].end)
    }

    /// True when a border before `at` would cut a chunk such as `8th`, `a.b@c` or `12:30` in two.
    pub(crate) fn is_inside_chunk(&self, at: usize) -> bool {
        if at == 0 || at >= self.len() || !self.is_glued(at) || self.low(at) == "'s" {
            return false;
        }
        match (self.mark(at - 1), self.mark(at)) {
            (None, None) => true,
            (None, Some(mark)) => {
                matches!(mark, '@' | '.' | '-' | '/' | ':' | '&' | '+' | '\'')
                    && self.is_glued(at + 1)
                    && self.mark(at + 1).is_none_or(|next| matches!(next, '/'))
            }
            (Some(mark), None) => {
                matches!(mark, '@' | '.' | '-' | '/' | ':' | '&' | '+' | '\'') && self.is_glued(at - 1) && at > 1
            }
            (Some(left), Some(right)) => matches!((left, right), (':' | '/', '/')),
        }
    }
}

/// The bytes of the word that `text` starts with. An apostrophe, or the double quote that people type for one,
/// belongs to the word when letters stand on both sides, except in a genitive `'s`.
fn word_len(text: &str) -> usize {
    let mut len = 0;
    loop {
        len += text[len..].chars().take_while(|c| is_letter(*c)).map(char::len_utf8).sum::<usize>();
        let rest = &text[len..];
        let Some(mark) = rest.chars().next() else { return len };
        let after = &rest[mark.len_utf8()..];
        let joins = match plain(mark) {
            '\'' => !is_genitive(after),
            '"' => text[..len].eq_ignore_ascii_case("o"),
            _ => false,
        };
        if !joins || !after.starts_with(is_letter) {
            return len;
        }
        len += mark.len_utf8();
    }
}

fn is_genitive(after: &str) -> bool {
    after.starts_with(['s', 'S']) && !after[1..].starts_with(|c: char| is_letter(c) || c.is_ascii_digit())
}
