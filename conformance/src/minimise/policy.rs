//! Texts of policies.

use std::collections::BTreeSet;

use polc_grammar::{format, parse};

use super::cut::{self, Parts};
use super::list;
use super::parts::Survey;

/// A smaller policy that still fails, laid out; `text` itself where nothing can be left out. `text`
/// fails; it is not asked about.
///
/// First items go as a whole, then statements, from the outside to the inside; then clauses and
/// options, members of lists and parts of conditions. `fails` is asked at most `calls` times, only
/// about texts that parse, and about none of them twice. It has to answer `false` for those that do not
/// compile.
pub fn policy(text: &str, calls: usize, fails: impl FnMut(&str) -> bool) -> String {
    let mut search = Search {
        best: text.to_owned(),
        left: calls,
        asked: BTreeSet::new(),
        fails,
    };
    // What has been left out can make more of the rest superfluous: definitions, after their uses.
    while search.left > 0 && search.round() {}
    search.best
}

struct Search<F> {
    /// The smallest text that failed.
    best: String,
    /// How many questions are left.
    left: usize,
    /// The texts that did not fail.
    asked: BTreeSet<String>,
    fails: F,
}

impl<F: FnMut(&str) -> bool> Search<F> {
    /// Tries everything once. Whether something could be left out.
    fn round(&mut self) -> bool {
        let before = self.best.clone();
        self.shrink(|survey| vec![survey.comments]);
        self.shrink(|survey| vec![survey.items]);
        let mut depth = 0;
        while self.shrink(|mut survey| survey.blocks.remove(&depth).unwrap_or_default()) {
            depth += 1;
        }
        self.shrink(|survey| vec![survey.frames]);
        self.shrink(|survey| vec![survey.clauses]);
        self.shrink(|survey| survey.lists);
        self.shrink(|survey| vec![survey.operands]);
        self.best != before
    }

    /// Leaves out what it can of some parts of the text. Whether there are any.
    fn shrink(&mut self, parts: impl FnOnce(Survey) -> Vec<Parts>) -> bool {
        let text = self.best.clone();
        let parsed = parse(&text);
        if !parsed.errors.is_empty() {
            return false;
        }
        let groups = parts(Survey::new(&text, &parsed.file));
        let all = cut::all(&groups);
        list(&all, |kept| self.ask(&cut::only(&text, &groups, kept)));
        !all.is_empty()
    }

    /// Whether a text fails. Then it is the best one.
    fn ask(&mut self, text: &str) -> bool {
        if self.left == 0 {
            return false;
        }
        let Ok(text) = format(text) else {
            return false;
        };
        if text == self.best {
            return true;
        }
        if self.asked.contains(&text) {
            return false;
        }
        self.left -= 1;
        if (self.fails)(&text) {
            self.best = text;
            return true;
        }
        self.asked.insert(text);
        false
    }
}

#[cfg(test)]
mod tests {
    use polc_compiler::ir::{Ir, Verdict};
    use polc_compiler::{Files, Options, compile};
    use polc_generator::{Shape, valid_policy};

    use super::*;

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, path: &str) -> std::io::Result<String> {
            Err(std::io::Error::new(std::io::ErrorKind::NotFound, path))
        }
    }

    fn compiled(text: &str) -> Option<Ir> {
        let options = Options {
            as_of: "2026-11-21".to_owned(),
            ..Options::default()
        };
        compile("minimised.pol", text, &NoFiles, &options).ir
    }

    /// The result, and how many questions it took. Each text that is asked about is a new one that
    /// parses.
    fn counted(text: &str, calls: usize, fails: impl Fn(&str) -> bool) -> (String, usize) {
        let mut asked = BTreeSet::new();
        let out = policy(text, calls, |text| {
            assert!(parse(text).errors.is_empty(), "{text}");
            assert!(asked.insert(text.to_owned()), "asked again: {text}");
            fails(text)
        });
        (out, asked.len())
    }

    const LONG: &str = r#"policy long owner me note "a long one"
# What it is about.
param port: port = 22
set good = { 192.0.2.0/24, 2001:db8::/32 } + { 10.0.0.1 }
set bad = { 192.0.2.1, 192.0.2.7, # the one
  192.0.2.9 } - 192.0.2.1 owner you
zone wan = wan0, wan1 net { 0.0.0.0/0 }
service web = tcp/{80, 443}, udp/443
bucket few = 10/s burst 5 per source
strict tcp
guard on wan0 {
  deny udp when ip.fragment
  default allow
}
steer {
  dnat tcp/80 to 192.0.2.200 => 10.0.0.1
}
from wan to host {
  allow web, ssh within 5/s burst 9 per source/24 log "x" at 1/min as open
  from @good, 10.0.0.0/8 {
    allow icmp
    to { 192.0.2.3, 192.0.2.4 } {
      # Neither of these.
      deny tcp/{22, 25-26}, web from @bad, 192.0.2.99
        when (tcp.flags has syn and ip.ttl < 5) or not (tcp.mss < 500 or tcp.flags in { none, syn+fin })
        log count mark 0x10/0xf0 as culprit note "here it is"
      reject udp from not @good
    }
  }
  default deny
}
default reject
test "t" {
  allow tcp 192.0.2.1:1 -> host:22 in wan0
}
"#;

    #[test]
    fn what_matters_is_all_that_stays() {
        let fails = |text: &str| {
            let at = text.find("deny tcp").or_else(|| text.find("deny from"));
            let rule = at.is_some_and(|at| text[at..].contains("from @bad"));
            rule && text.contains("set bad") && text.contains("192.0.2.7")
        };
        assert!(fails(LONG));
        let (out, calls) = counted(LONG, 1000, fails);
        let wanted = "set bad = { 192.0.2.7 }\n\nfrom wan to host {\n  deny from @bad\n}\n";
        // One clause of a section's two has to stay, whichever it is.
        let other = wanted.replace("from wan to host", "to host");
        let shorter = wanted.replace("from wan to host", "from wan");
        assert!([other.as_str(), &shorter].contains(&out.as_str()), "{out}");
        assert!(calls <= 80, "{calls} calls");
    }

    #[test]
    fn parts_of_conditions_and_rates_go() {
        let keep =
            |words: &'static [&str]| move |text: &str| words.iter().all(|word| text.contains(word));
        let (out, _) = counted(LONG, 1000, keep(&["when", "tcp.mss", "culprit"]));
        let wanted = "deny when tcp.mss < 500 as culprit";
        assert!(out.contains(wanted) && !out.contains("tcp.flags"), "{out}");
        let (out, _) = counted(LONG, 1000, keep(&["within 5/s", "at 1/min"]));
        let wanted = "allow within 5/s log at 1/min\n";
        assert!(out.contains(wanted) && out.lines().count() == 3, "{out}");
        let (out, _) = counted(LONG, 1000, keep(&["tcp/", "25-26"]));
        assert!(
            out.contains("deny tcp/25-26\n") || out.contains("deny tcp/{25-26}\n"),
            "{out}"
        );
        let (out, _) = counted(LONG, 1000, keep(&["reject udp from", "@good"]));
        assert!(out.contains("reject udp from @good\n"), "{out}");
    }

    #[test]
    fn policies_that_compile_become_small_ones_that_compile() {
        let rejects = |text: &str| {
            let rules = compiled(text).into_iter().flat_map(|ir| ir.filter);
            let mut verdicts = rules.filter(|r| !r.is_default).map(|r| r.verdict);
            verdicts.any(|verdict| matches!(verdict, Some(Verdict::Reject(_))))
        };
        let (mut policies, mut all) = (0, 0);
        for seed in 0..30 {
            let draw = valid_policy(seed, &Shape::default(), |text| compiled(text).is_some());
            let text = draw.unwrap().text;
            if !rejects(&text) {
                continue;
            }
            let (out, calls) = counted(&text, 1000, rejects);
            assert!(rejects(&out));
            assert!(out.lines().count() <= 8, "seed {seed}:\n{out}");
            policies += 1;
            all += calls;
        }
        println!("{policies} policies, {all} calls");
        assert!(policies >= 10 && all / policies <= 70, "{policies}: {all}");
    }

    #[test]
    fn no_more_calls_than_allowed() {
        let fails = |text: &str| text.contains("culprit");
        for calls in [0, 1, 5, 20] {
            let (out, asked) = counted(LONG, calls, fails);
            assert!(asked <= calls && fails(&out), "{asked} of {calls}");
        }
        assert_eq!(counted(LONG, 0, fails).0, LONG);
    }

    #[test]
    fn a_text_that_does_not_parse_stays_as_it_is() {
        let broken = "from wan { allow tcp/ }";
        assert_eq!(counted(broken, 100, |_| true), (broken.to_owned(), 0));
    }
}
