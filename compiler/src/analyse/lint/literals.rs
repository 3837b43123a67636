//! Addresses that are written in a text.

use std::net::{IpAddr, SocketAddr};

use polc_grammar::ast::Span;

/// An address or prefix as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// Where it stands, without a port.
    pub(super) span: Span,
    /// The address.
    pub(super) addr: IpAddr,
    /// The length of a prefix.
    pub(super) len: Option<u8>,
}

/// The addresses and prefixes of a text; those in comments and strings are none.
pub(super) fn literals(text: &str) -> Vec<Literal> {
    let mut out = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let mut at = 0;
        // Every second part is inside of quotes: strings end on their line.
        for (number, part) in line.split('"').enumerate() {
            let plain = number % 2 == 0;
            let code = part.split('#').next().unwrap_or_default();
            if plain {
                words(code, line_start + at, &mut out);
            }
            if plain && code.len() < part.len() {
                break;
            }
            at += part.len() + 1;
        }
        line_start += line.len();
    }
    out
}

/// Adds the addresses of a piece of text that begins at `offset`.
fn words(text: &str, offset: usize, out: &mut Vec<Literal>) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_.:/".contains(c);
    let mut start = 0;
    for word in text.split(|c| !is_part(c)) {
        let end = start + word.len();
        if let Some((addr, len, used)) = address(word) {
            let span = Span::new(offset + start, offset + start + used);
            out.push(Literal { span, addr, len });
        }
        start = end + 1;
    }
}

/// The address that a word begins with, and how much of the word it is.
fn address(word: &str) -> Option<(IpAddr, Option<u8>, usize)> {
    if let Ok(socket) = word.parse::<SocketAddr>() {
        let used = word.rfind(':').unwrap_or(word.len());
        return Some((socket.ip(), None, used));
    }
    let (addr, len) = match word.split_once('/') {
        Some((addr, len)) => (addr, Some(len.parse().ok()?)),
        None => (word, None),
    };
    Some((addr.parse().ok()?, len, word.len()))
}

#[cfg(test)]
mod tests {
    use super::literals;

    fn found(text: &str) -> Vec<&str> {
        let found = literals(text).into_iter();
        found.map(|l| &text[l.span.range()]).collect()
    }

    #[test]
    fn addresses_prefixes_ranges_and_sockets_are_found() {
        let text = "set a = { 192.0.2.1, 2001:db8::/32, 192.0.2.7-192.0.2.9 }\n=> 10.1.0.1:80, [fd00::1]:80";
        let all = [
            "192.0.2.1",
            "2001:db8::/32",
            "192.0.2.7",
            "192.0.2.9",
            "10.1.0.1",
            "fd00::1",
        ];
        assert_eq!(found(text), all);
    }

    #[test]
    fn comments_strings_and_other_words_are_not() {
        let text = "note \"192.0.2.1 # \" from 192.0.2.2 # 192.0.2.3 \"\ntcp/80 mark 0x1/0xff eth0.4 02:00:00:00:00:01";
        assert_eq!(found(text), ["192.0.2.2"]);
    }
}
