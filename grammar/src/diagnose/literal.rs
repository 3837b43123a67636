//! Malformed addresses and numbers.

use super::Case;
use crate::build::addr_lit;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::Rule;
use crate::scan::Kind;
use crate::span::Span;

impl Case<'_> {
    /// All that stands without blanks around the place of the failure.
    fn chunk(&self) -> Option<(Span, &str)> {
        let token = self.found()?;
        let literal = |kind: Kind, text: &str| match kind {
            Kind::Word => true,
            Kind::Open(byte) | Kind::Close(byte) => matches!(byte, b'[' | b']'),
            Kind::Punct => text == "/",
            _ => false,
        };
        if !literal(token.kind, token.text(self.source)) {
            return None;
        }
        let mut span = token.span;
        for before in self.tokens.iter().take(self.found).rev() {
            if before.span.end != span.start || !literal(before.kind, before.text(self.source)) {
                break;
            }
            span.start = before.span.start;
        }
        for after in self.tokens.iter().skip(self.found + 1) {
            if after.span.start != span.end || !literal(after.kind, after.text(self.source)) {
                break;
            }
            span.end = after.span.end;
        }
        Some((span, self.source.get(span.range())?))
    }

    /// Something that was meant as an address.
    pub(super) fn address(&self) -> Option<SyntaxError> {
        let (span, text) = self.chunk()?;
        let digits = text
            .trim_start_matches('[')
            .starts_with(|c: char| c.is_ascii_hexdigit() || c == ':');
        let kind = SyntaxErrorKind::Address;
        if text.contains(['[', ']']) {
            let bare = text.trim_matches(['[', ']']);
            let error =
                SyntaxError::new(kind, span, format!("`{text}` is not an address or socket"));
            return Some(match text.rsplit_once(']') {
                Some((_, port)) if port.starts_with(':') => {
                    error.help("a socket is written `[2001:db8::1]:80`")
                }
                Some((address, "")) if address.starts_with('[') => error.help(format!(
                    "without a port an address needs no brackets: `{bare}`"
                )),
                _ => error.help("a socket is written `[2001:db8::1]:80`"),
            });
        }
        let colons = text.matches(':').count();
        if !digits || (colons < 2 && !text.contains('.')) {
            return self.short_prefix(span, text);
        }
        let shaped = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/' | '-');
        if !text.chars().all(shaped) {
            if colons < 2 {
                return None;
            }
            let message = format!("`{text}` is not an IPv6 address");
            return Some(SyntaxError::new(kind, span, message));
        }
        match addr_lit(text) {
            Err(bad) => Some(bad.at(span.start as usize)),
            Ok(_) => None,
        }
    }

    /// `10/8`
    fn short_prefix(&self, span: Span, text: &str) -> Option<SyntaxError> {
        let (number, length) = text.split_once('/')?;
        let wanted = [
            Rule::addr,
            Rule::end,
            Rule::ends,
            Rule::set_term,
            Rule::set_expr,
        ];
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !(digits(number) && digits(length) && wanted.iter().any(|&rule| self.expects(rule))) {
            return None;
        }
        let message = format!("`{text}` is not a prefix");
        Some(
            SyntaxError::new(SyntaxErrorKind::Address, span, message).help(format!(
                "all four parts are written: `{number}.0.0.0/{length}`"
            )),
        )
    }

    /// A number or duration with a suffix that does not exist.
    pub(super) fn number(&self) -> Option<SyntaxError> {
        let token = self.found().filter(|token| token.kind == Kind::Word)?;
        let text = token.text(self.source);
        let kind = SyntaxErrorKind::Number;
        if self.expects(Rule::time_unit) && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let message = format!("there is no unit `{text}` of time");
            let help = match text {
                "m" | "minute" | "minutes" => "a minute is `min`",
                "sec" | "second" | "seconds" => "a second is `s`",
                "hour" | "hours" | "hr" => "an hour is `h`",
                "day" | "days" => "a day is `d`",
                _ => "a rate is per `s`, `min`, `h` or `d`",
            };
            return Some(SyntaxError::new(kind, token.span, message).help(help));
        }
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (digits, suffix) = text.split_at_checked(split)?;
        if digits.is_empty() {
            return None;
        }
        let start = token.span.start as usize + digits.len();
        let span = Span::new(start, token.span.end as usize);
        let duration = self.expects(Rule::duration) || self.expects(Rule::idle);
        let wanted = [
            Rule::number,
            Rule::num,
            Rule::rate,
            Rule::rate_lit,
            Rule::value,
            Rule::port,
            Rule::ports,
            Rule::mark,
            Rule::outcome,
        ];
        if !duration && !wanted.iter().any(|&rule| self.expects(rule)) {
            return None;
        }
        if let Some(fraction) = suffix.strip_prefix('.') {
            if !fraction.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            let message = format!("`{text}` is not a whole number");
            return Some(
                SyntaxError::new(kind, token.span, message).help("numbers are whole numbers"),
            );
        }
        if digits == "0" && suffix.starts_with('x') {
            let message = format!("`{text}` is not a hexadecimal number");
            return Some(SyntaxError::new(kind, token.span, message));
        }
        if !suffix
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return None;
        }
        let error = SyntaxError::new(kind, span, format!("there is no suffix `{suffix}`"));
        Some(if duration {
            error.help("a duration ends with `ms`, `s`, `min`, `h` or `d`")
        } else {
            error.help("a count may end with `k`, `M` or `G`: thousands, millions, milliards")
        })
    }
}
