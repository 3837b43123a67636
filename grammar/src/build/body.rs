//! The inside of a set body, read by a lexer of its own: one pass over the bytes, no parse tree.
//! A list of 100,000 prefixes takes a few milliseconds.

use std::net::{IpAddr, Ipv4Addr};

use super::Builder;
use super::literal::addr_lit;
use crate::ast::{AddrLit, Element, SetBody, Span, Spanned};
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::Pair;
use crate::scan::is_blank;

impl Builder<'_> {
    /// `{ elements }`. Elements that are wrong are reported and left out.
    pub(super) fn set_body(&mut self, leaf: &Pair<'_>) -> SetBody {
        let text = leaf.as_str();
        let inner = text
            .strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'))
            .unwrap_or(text);
        let start = self.base + leaf.as_span().start() + 1;
        let mut lexer = BodyLexer {
            text: inner,
            start,
            limit: self.limit,
            at: 0,
            errors: &mut self.errors,
        };
        lexer.run()
    }
}

struct BodyLexer<'t, 'e> {
    /// What stands between the braces.
    text: &'t str,
    /// Where that begins in the source.
    start: usize,
    /// Where the source ends for us.
    limit: usize,
    /// How far we are.
    at: usize,
    errors: &'e mut Vec<SyntaxError>,
}

impl BodyLexer<'_, '_> {
    fn run(&mut self) -> SetBody {
        // A prefix and a comma take about this much; one growth of the vector is well spent.
        let mut elements = Vec::with_capacity(self.text.len() / 20 + 1);
        let mut comma_due = false;
        while let Some(byte) = self.next_token() {
            if byte == b',' {
                if !comma_due {
                    self.report(SyntaxErrorKind::Unexpected, self.at, self.at + 1, |_| {
                        (
                            "expected an element of the set before this comma".to_owned(),
                            None,
                        )
                    });
                }
                comma_due = false;
                self.at += 1;
                continue;
            }
            let begin = self.at;
            self.at = self.token_end();
            if comma_due {
                self.missing_comma(begin);
            }
            if let Some(element) = self.element(begin, self.at) {
                elements.push(Spanned::new(element, self.span(begin, self.at)));
            }
            comma_due = true;
        }
        SetBody { elements }
    }

    /// Skips blanks and comments; the byte at which the next token starts.
    fn next_token(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            let byte = *bytes.get(self.at)?;
            match byte {
                _ if is_blank(byte) => self.at += 1,
                b'#' => {
                    let rest = bytes.get(self.at..).unwrap_or_default();
                    self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                }
                _ => return Some(byte),
            }
        }
    }

    /// Where the token that starts here ends.
    fn token_end(&self) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let ends = |b: &u8| matches!(b, b',' | b'#') || is_blank(*b);
        self.at + rest.iter().position(ends).unwrap_or(rest.len())
    }

    fn element(&mut self, begin: usize, end: usize) -> Option<Element> {
        let token = self.text.get(begin..end)?;
        if let Some(addr) = plain_v4(token.as_bytes()) {
            return Some(Element::Addr(addr));
        }
        if let Some(name) = token.strip_prefix('@')
            && is_set_name(name)
        {
            return Some(Element::Ref(name.to_owned()));
        }
        if !has_address_shape(token) {
            self.report(SyntaxErrorKind::Unexpected, begin, end, |token| {
                (
                    format!("expected an address or `@set`, found `{token}`"),
                    element_help(token),
                )
            });
            return None;
        }
        match addr_lit(token) {
            Ok(addr) => Some(Element::Addr(addr)),
            Err(bad) => {
                self.errors.push(bad.at(self.start + begin));
                None
            }
        }
    }

    fn missing_comma(&mut self, begin: usize) {
        let token = self.text.get(begin..self.at).unwrap_or_default();
        // `10.0.0.1 - 10.0.0.9`: what is wrong there is said of the dash.
        let dash = |text: &str| text.trim_end().ends_with('-');
        if token == "-" || dash(self.text.get(..begin).unwrap_or_default()) {
            return;
        }
        self.report(SyntaxErrorKind::MissingComma, begin, self.at, |token| {
            (
                format!("a comma is missing before `{token}`"),
                Some("the elements of a list are separated by commas".to_owned()),
            )
        });
    }

    fn report(
        &mut self,
        kind: SyntaxErrorKind,
        begin: usize,
        end: usize,
        say: impl FnOnce(&str) -> (String, Option<String>),
    ) {
        let (message, help) = say(self.text.get(begin..end).unwrap_or_default());
        let span = self.span(begin, end);
        self.errors.push(SyntaxError {
            span,
            kind,
            message,
            help,
        });
    }

    fn span(&self, begin: usize, end: usize) -> Span {
        Span::new(
            (self.start + begin).min(self.limit),
            (self.start + end).min(self.limit),
        )
    }
}

/// What to do about a token that is no element.
fn element_help(token: &str) -> Option<String> {
    if token == "-" {
        return Some("a range is written without blanks: `10.0.0.1-10.0.0.9`".to_owned());
    }
    if token.starts_with('"') {
        return Some("addresses need no quotes".to_owned());
    }
    if token.contains('%') {
        return Some("an address is written without a zone".to_owned());
    }
    if is_set_name(token) {
        return Some(format!("a set is written `@{token}`"));
    }
    None
}

/// Whether a token is an address, prefix or range, or an attempt at one.
fn has_address_shape(token: &str) -> bool {
    let shaped = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/' | '-');
    token.contains(['.', ':'])
        && token.chars().all(shaped)
        && !token.starts_with(['-', '/'])
        && !token.ends_with(['-', '/', '.'])
}

/// Whether `text` is a name, possibly qualified.
fn is_set_name(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            && !part.ends_with('-')
    };
    match text.split_once('.') {
        Some((alias, name)) => part(alias) && part(name),
        None => part(text),
    }
}

/// Reads a well-formed IPv4 address or prefix; `None` for anything else, and for what needs an
/// error message.
fn plain_v4(token: &[u8]) -> Option<AddrLit> {
    let mut bytes = token.iter().copied().peekable();
    let mut octets = [0_u8; 4];
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 && bytes.next()? != b'.' {
            return None;
        }
        *octet = small_number(&mut bytes)?;
    }
    let ip = IpAddr::V4(Ipv4Addr::from(octets));
    match bytes.next() {
        None => Some(AddrLit::Addr(ip)),
        Some(b'/') => {
            let bits = small_number(&mut bytes)?;
            (bits <= 32 && bytes.next().is_none()).then_some(AddrLit::Prefix(ip, bits))
        }
        Some(_) => None,
    }
}

/// Reads digits up to 255, without a leading zero.
fn small_number(bytes: &mut std::iter::Peekable<impl Iterator<Item = u8>>) -> Option<u8> {
    let first = bytes.next().filter(u8::is_ascii_digit)?;
    let mut value = first - b'0';
    while let Some(digit) = bytes.next_if(u8::is_ascii_digit) {
        if value == 0 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit - b'0')?;
    }
    Some(value)
}
