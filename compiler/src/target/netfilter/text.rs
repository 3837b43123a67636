//! Text that the kernel's tools accept between quotes.

use polc_bundle::sha256_hex;

/// `text` as it can stand between quotes: no quote, backslash or control character, and at most
/// `max` bytes.
pub(crate) fn quotable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = match c {
            '"' => '\'',
            '\\' => '/',
            c if c.is_control() => ' ',
            c => c,
        };
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    out
}

/// Eight digits that change with `text`.
pub(crate) fn short_hash(text: &str) -> String {
    let mut hash = sha256_hex(text.as_bytes());
    hash.truncate(8);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_fits_and_closes() {
        assert_eq!(quotable("a \"b\" \\\n", 99), "a 'b' / ");
        assert_eq!(quotable("üüü", 5), "üü");
    }
}
