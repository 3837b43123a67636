//! Comments that silence findings: `# polc: allow(POL201, reason="…", until=2027-01-01)`.

use std::ops::Range;

use jiff::civil::Date;

use super::{Meta, lookup};

/// What such a comment says.
#[derive(Clone, Debug, Default)]
pub(super) struct Directive {
    /// The codes it silences, and where in the comment each stands.
    pub(super) codes: Vec<(&'static Meta, Range<usize>)>,
    /// Why.
    pub(super) reason: Option<String>,
    /// The last day on which it counts.
    pub(super) until: Option<Date>,
    /// Where in the comment the arguments stand: all between the parentheses.
    pub(super) arguments: Vec<Range<usize>>,
}

/// Something in a comment that cannot be understood: what, and where in the comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) what: String,
    pub(super) at: Range<usize>,
}

/// What a comment with its `#` says to polc; `None` when it says nothing to it.
pub(super) fn parse(comment: &str) -> Option<Result<Directive, Mistake>> {
    let body = comment.trim_start_matches('#').trim_start();
    let order = body.strip_prefix("polc:")?;
    Some(read(comment, order))
}

/// Reads what stands behind `polc:`, which is the end of `comment`.
fn read(comment: &str, order: &str) -> Result<Directive, Mistake> {
    let start = comment.len() - order.trim_start().len();
    let inside = order
        .trim_start()
        .strip_prefix("allow")
        .map(str::trim_start);
    let inside = inside.and_then(|rest| rest.strip_prefix('('));
    let inside = inside.ok_or_else(|| Mistake {
        what: "polc understands only `allow(…)` here".to_owned(),
        at: start..comment.len(),
    })?;
    let begin = comment.len() - inside.len();
    let end = closing(inside).ok_or_else(|| Mistake {
        what: "`allow(` is never closed".to_owned(),
        at: start..comment.len(),
    })?;
    let behind = inside.get(end + 1..).unwrap_or_default();
    if !behind.trim().is_empty() {
        return Err(Mistake {
            what: "nothing can stand behind `allow(…)`: a reason goes into it".to_owned(),
            at: comment.len() - behind.trim_start().len()..comment.len(),
        });
    }
    let mut directive = Directive {
        arguments: arguments(comment, begin..begin + end),
        ..Directive::default()
    };
    for at in directive.arguments.clone() {
        let text = comment.get(at.clone()).unwrap_or_default();
        argument(&mut directive, text, &at).map_err(|what| Mistake { what, at })?;
    }
    if directive.codes.is_empty() {
        return Err(Mistake {
            what: "`allow` needs the code of what it silences".to_owned(),
            at: start..comment.len(),
        });
    }
    Ok(directive)
}

/// Where the parenthesis closes, outside of strings.
fn closing(text: &str) -> Option<usize> {
    outside(text).find(|(_, c)| *c == ')').map(|(at, _)| at)
}

/// The characters outside of strings.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quoted = false;
    let mut escaped = false;
    text.char_indices().filter(move |(_, c)| {
        let was_quoted = quoted;
        match c {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = was_quoted && *c == '\\' && !escaped;
        !was_quoted && *c != '"'
    })
}

/// The places between commas, without blanks around them; a last one may be empty.
fn arguments(comment: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let text = comment.get(range.clone()).unwrap_or_default();
    let commas = outside(text).filter(|(_, c)| *c == ',').map(|(at, _)| at);
    let mut out = Vec::new();
    let mut start = 0;
    for end in commas.chain([text.len()]) {
        let part = text.get(start..end).unwrap_or_default();
        let from = range.start + start + (part.len() - part.trim_start().len());
        let len = part.trim().len();
        if len > 0 || end < text.len() {
            out.push(from..from + len);
        }
        start = end + 1;
    }
    out
}

fn argument(directive: &mut Directive, text: &str, at: &Range<usize>) -> Result<(), String> {
    let Some((key, value)) = text.split_once('=') else {
        directive.codes.push((lookup(text)?, at.clone()));
        return Ok(());
    };
    match (key.trim(), value.trim()) {
        ("reason", value) => {
            let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let inner = inner.ok_or("a reason stands in double quotes")?;
            let reason = inner.replace("\\\"", "\"").replace("\\\\", "\\");
            directive.reason = (!reason.trim().is_empty()).then_some(reason);
        }
        ("until", value) => {
            let date = value.parse();
            directive.until = Some(date.map_err(|_| "write the date as 2027-03-31")?);
        }
        (key, _) => return Err(format!("`allow` has `reason` and `until`, and no `{key}`")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(comment: &str) -> Directive {
        parse(comment).expect("for polc").expect("right")
    }

    fn wrong(comment: &str) -> (String, &str) {
        let mistake = parse(comment).expect("for polc").expect_err("wrong");
        (mistake.what, &comment[mistake.at])
    }

    #[test]
    fn other_comments_say_nothing() {
        for comment in ["# allow(POL401)", "#", "# polcat: allow(POL401)", "## polc"] {
            assert!(parse(comment).is_none(), "{comment}");
        }
    }

    #[test]
    fn codes_reason_and_date_are_read() {
        let comment = "#polc: allow(POL401, unused-definition , reason=\"a, \\\"b\\\" (c)\", until=2027-01-01)";
        let directive = good(comment);
        let codes: Vec<_> = directive.codes.iter().map(|(m, _)| m.id).collect();
        assert_eq!(codes, ["POL401", "POL705"]);
        assert_eq!(&comment[directive.codes[1].1.clone()], "unused-definition");
        assert_eq!(directive.reason.as_deref(), Some("a, \"b\" (c)"));
        assert_eq!(directive.until, Some(jiff::civil::date(2027, 1, 1)));
        assert_eq!(
            good("# polc: allow ( POL401, reason=\" \" , )").reason,
            None
        );
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        let (what, at) = wrong("# polc: allow(POL401, unused-definitoin)");
        assert!(what.contains("did you mean `unused-definition`?"), "{what}");
        assert_eq!(at, "unused-definitoin");
        for (comment, place) in [
            ("# polc: deny(POL401)", "deny(POL401)"),
            ("# polc: allow(POL401", "allow(POL401"),
            (
                "# polc: allow(POL401, reason=\"x)",
                "allow(POL401, reason=\"x)",
            ),
            ("# polc: allow(POL401) because", "because"),
            ("# polc: allow(POL401, reason=x)", "reason=x"),
            (
                "# polc: allow(POL401, until=2027-02-30)",
                "until=2027-02-30",
            ),
            ("# polc: allow(POL401, when=2027-02-03)", "when=2027-02-03"),
            ("# polc: allow(reason=\"x\")", "allow(reason=\"x\")"),
            ("# polc: allow(, POL401)", ""),
            ("# polc:", ""),
        ] {
            assert_eq!(wrong(comment).1, place, "{comment}");
        }
    }
}
