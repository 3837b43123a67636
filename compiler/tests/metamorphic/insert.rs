//! Rules that nothing can reach.

use fastrand::Rng;
use polc_compiler::diagnostic::Code;
use polc_compiler::ir::{Atom, Stage, Verdict};
use polc_grammar::ast::{Clause, Spanned, Stmt};

use super::edit::{Edits, Written, bodies, indent, rules, slice};
use super::trial::{Compiled, Trial, control};

/// Behind the default of a block, where nothing comes.
fn behind_defaults(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let mut edits = Edits::default();
    let all = rules(&policy.file, policy.ir());
    for body in bodies(&policy.file) {
        let Some(last) = body.last() else { continue };
        if !matches!(last.node, Stmt::Default(_)) {
            continue;
        }
        // A rule of the same block, so that it may stand there.
        let here: Vec<&Written> = all
            .iter()
            .filter(|w| body.iter().any(|stmt| stmt.span == w.span) && is_plain(w))
            .collect();
        if !here.is_empty() {
            let like = here[rng.usize(..here.len())];
            edits.insert(last.span.end, dead(like, &policy.text, rng));
        }
    }
    (!edits.is_empty()).then(|| edits.apply(&policy.text))
}

/// Behind a rule that decides about all of its packets already.
fn behind_rules(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let mut edits = Edits::default();
    for body in bodies(&policy.file) {
        for (at, stmt) in body.iter().enumerate() {
            let Some(like) = Written::of(stmt, policy.ir()) else {
                continue;
            };
            if !is_plain(&like) || !always_decides(&like) || rng.bool() {
                continue;
            }
            let to = place(body, at, &like, rng);
            edits.insert(to.span.end, dead(&like, &policy.text, rng));
        }
    }
    (!edits.is_empty()).then(|| edits.apply(&policy.text))
}

/// The statement behind which the copy goes. Rules between may put keys into sets that it asks.
fn place<'b>(
    body: &'b [Spanned<Stmt>],
    at: usize,
    like: &Written,
    rng: &mut Rng,
) -> &'b Spanned<Stmt> {
    let dynamic = |atom: &Atom| matches!(atom, Atom::Dynamic { .. });
    let asks = like
        .rule
        .cubes
        .iter()
        .any(|cube| cube.atoms.keys().any(dynamic));
    let last = if asks { at } else { rng.usize(at..body.len()) };
    &body[last]
}

/// Whether a rule can be written again with another verb: it has no clause that goes with its own.
fn is_plain(like: &Written) -> bool {
    like.tree.clauses.iter().all(|c| {
        !matches!(
            c.node,
            Clause::Target { .. } | Clause::Via(_) | Clause::ViaTable(_)
        )
    })
}

/// Whether it decides about every packet that it means.
fn always_decides(like: &Written) -> bool {
    let proxy = matches!(like.rule.verdict, Some(Verdict::Proxy(_)));
    like.rule.limits.is_empty() && like.rule.verdict.is_some() && !proxy
}

/// A line with a rule about the packets of another, or some of them, and with another verb.
fn dead(like: &Written, text: &str, rng: &mut Rng) -> String {
    let verbs: &[&str] = match like.stage {
        Stage::Guard => &["allow", "deny"],
        Stage::Filter => &["allow", "deny", "reject"],
        Stage::Steer => &["direct", "deny"],
        Stage::Egress => &["direct", "masquerade"],
    };
    let services = like.tree.services.iter().map(|s| slice(text, s.span));
    let services: Vec<&str> = services.collect();
    let services = services.join(", ");
    let mut words = vec![verbs[rng.usize(..verbs.len())], &services];
    let conditions = like.tree.clauses.iter().filter(|c| is_condition(&c.node));
    words.extend(conditions.map(|c| slice(text, c.span)));
    words.push(["", "", "when ip.ttl > 1", "log \"dead\"", "count"][rng.usize(..5)]);
    words.retain(|word| !word.is_empty());
    format!("\n{}{}", indent(text, like.span.start), words.join(" "))
}

fn is_condition(clause: &Clause) -> bool {
    matches!(
        clause,
        Clause::From(_)
            | Clause::To(_)
            | Clause::ToOriginal(_)
            | Clause::In(_)
            | Clause::Out(_)
            | Clause::By(_)
            | Clause::When(_)
            | Clause::Except(_)
            | Clause::Only(_)
    )
}

#[test]
fn what_stands_behind_a_default_means_nothing() {
    let trial = Trial {
        policies: 60,
        floor: 60,
        may_cause: &[Code::UnmatchableRule],
        moves_marks: true,
    };
    trial.run(behind_defaults);
}

#[test]
fn what_an_earlier_rule_decides_no_later_one_does() {
    let trial = Trial {
        policies: 60,
        floor: 60,
        may_cause: &[Code::UnmatchableRule],
        moves_marks: true,
    };
    trial.run(behind_rules);
}

#[test]
fn a_rule_before_the_other_does() {
    let text = |rules| format!("to host {{ {rules} default deny }}");
    let (whole, some) = (
        "allow tcp/80 from 10.0.0.0/29",
        "deny tcp/80 from 10.0.0.0/30",
    );
    control(&text(whole.to_owned()), &text(format!("{some} {whole}")));
    // With a rate, the first one leaves some to the second.
    let rated = format!("{whole} within 1/h burst 1");
    control(
        &text(rated.clone()),
        &text(format!("{rated} reject tcp/80 from 10.0.0.0/30")),
    );
}
