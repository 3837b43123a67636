//! Layout: comments, blank lines, ends of lines, indentation, and what `polc fmt` makes of all that.

use fastrand::Rng;
use polc_compiler::ir::print::print;
use polc_grammar::format;

use super::judge::{Judgement, compare};
use super::trial::{Compiled, Trial, control};

/// The same in another layout.
fn change(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let mut text = policy.text.clone();
    if rng.bool() {
        text = commented(&text, rng);
    }
    match rng.u8(..4) {
        0 => text = text.replace("  ", "\t"),
        1 => text = text.replace("  ", "     "),
        _ => {}
    }
    if rng.u8(..3) == 0 {
        text = text.replace('\n', "\r\n");
    }
    if rng.u8(..3) != 0 {
        text = format(&text).unwrap();
    }
    if rng.u8(..3) == 0 {
        text = commented(&text, rng);
    }
    (text != policy.text).then_some(text)
}

/// With comments and blanks where lines end and begin.
fn commented(text: &str, rng: &mut Rng) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if rng.u8(..6) == 0 {
            out.push_str(["\n", "# deny }\n", "\t \n", "  # a \"comment\n"][rng.usize(..4)]);
        }
        out.push_str(line);
        if rng.u8(..6) == 0 {
            out.push_str([" # allow {", "   ", " #", "\t# ü"][rng.usize(..4)]);
        }
        out.push('\n');
    }
    out
}

/// What is laid out otherwise also has the same normal form, to the letter.
fn judged(before: &Compiled, after: &Compiled, rng: &mut Rng) -> Judgement {
    let mut found = compare(before, after, rng);
    if print(before.ir()) != print(after.ir()) {
        found.packet = Some("the normal form is another one".to_owned());
    }
    found
}

#[test]
fn layout_means_nothing() {
    let trial = Trial {
        policies: 50,
        floor: 90,
        may_cause: &[],
        moves_marks: false,
    };
    trial.run_with(change, judged);
}

#[test]
fn a_comment_around_a_rule_does() {
    let text = "to host {\n  deny tcp/22 from 10.0.0.0/8\n  default allow\n}\n";
    control(text, &text.replace("deny", "# deny"));
}
