//! Why the kernel refuses a program.

use std::fmt;

use aya::programs::ProgramError;

/// How many lines of the verifier's log are shown: the end of the way on which it met the mistake.
const SHOWN: usize = 30;

/// What the kernel says of a program that it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its error.
    pub error: String,
    /// The line of the policy at which the verifier was last, where the object says which
    /// instructions come from which line: `FILE:LINE: TEXT`.
    pub line: Option<String>,
    /// The last lines of the verifier's log.
    pub log: Vec<String>,
}

impl Refusal {
    pub(super) fn new(error: &ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => Self::read(io_error.to_string(), &verifier_log.to_string()),
            other => Self::read(other.to_string(), ""),
        }
    }

    fn read(error: String, log: &str) -> Self {
        let lines = log.lines().map(str::trim_end);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let named = lines.iter().rev().find_map(|line| line.strip_prefix("; "));
        let from = lines.len().saturating_sub(SHOWN);
        let shown = lines.iter().skip(from);
        Self {
            error,
            line: named.map(place_first),
            log: shown.map(|line| (*line).to_owned()).collect(),
        }
    }
}

/// `TEXT @ FILE:LINE`, as the verifier has it since Linux 6.9, with the place first.
fn place_first(named: &str) -> String {
    match named.rsplit_once(" @ ") {
        Some((text, place)) => format!("{place}: {}", text.trim()),
        None => named.trim().to_owned(),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        if let Some(line) = &self.line {
            write!(f, "\n  at {line}")?;
        }
        for line in &self.log {
            write!(f, "\n  | {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_comes_first_and_the_end_of_the_log_after_it() {
        let steps: Vec<String> = (0..100).map(|n| format!("{n}: (b7) r0 = 0")).collect();
        let log = format!(
            "; allow from 10.0.0.0/8 @ edge.pol:2\n{}\n; deny from @list @ edge.pol:3\n100: (bf) r0 = r9\nR9 !read_ok\n\n",
            steps.join("\n")
        );
        let refusal = Refusal::read("Permission denied".to_owned(), &log);
        assert_eq!(refusal.line.as_deref(), Some("edge.pol:3: deny from @list"));
        assert_eq!(refusal.log.len(), SHOWN);
        let shown = refusal.to_string();
        let begin = "Permission denied\n  at edge.pol:3: deny from @list\n  | 73: (b7) r0 = 0\n";
        assert!(shown.starts_with(begin), "{shown}");
        assert!(shown.ends_with("  | R9 !read_ok"), "{shown}");
    }

    #[test]
    fn there_may_be_no_log_and_no_place() {
        let refusal = Refusal::read("too big".to_owned(), "");
        assert_eq!(refusal.to_string(), "too big");
        let refusal = Refusal::read("bad".to_owned(), "; deny tcp\n0: exit\n");
        assert_eq!(refusal.line.as_deref(), Some("deny tcp"));
    }
}
