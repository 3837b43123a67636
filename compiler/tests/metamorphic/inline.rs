//! Definitions: a name stands for its contents, and contents can be given a name.

use fastrand::Rng;
use polc_compiler::ir::Stage;
use polc_grammar::ast::{
    Apply, Clause, End, File, Item, Name, Service, SetOption, SetTerm, Span, Spanned, Stmt,
    Template, Zone,
};

use super::edit::{Edits, Written, bodies, indent, rules, slice};
use super::trial::{Compiled, Trial, control};

/// Puts contents in the place of some names.
fn inline(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let mut edits = Edits::default();
    let text = &policy.text;
    for rule in rules(&policy.file, policy.ir()) {
        for service in &rule.tree.services {
            if let Service::Name(name) = &service.node
                && let Some(list) = services(&policy.file, name)
                && rng.u8(..4) != 0
            {
                edits.replace(service.span, slice(text, list));
            }
        }
        for clause in &rule.tree.clauses {
            if rng.u8(..4) != 0 {
                self::clause(policy, &rule, clause, &mut edits);
            }
        }
    }
    for (apply, span) in applies(&policy.file) {
        if rng.u8(..4) != 0 {
            let indent = format!("\n{}", indent(text, span.start));
            edits.replace(span, expanded(policy, apply).replace("\n  ", &indent));
        }
    }
    (!edits.is_empty()).then(|| edits.apply(text))
}

fn clause(policy: &Compiled, rule: &Written, clause: &Spanned<Clause>, edits: &mut Edits) {
    let (Clause::From(ends) | Clause::To(ends) | Clause::ToOriginal(ends)) = &clause.node else {
        return;
    };
    if let (
        [
            Spanned {
                node: End::Name(name),
                ..
            },
        ],
        false,
    ) = (&ends.list[..], ends.not)
        && let Some(zone) = zone(&policy.file, name)
    {
        let word = match (&clause.node, rule.stage) {
            (Clause::From(_), _) => "in",
            (_, Stage::Guard | Stage::Steer) => "to",
            _ => "out",
        };
        let ifaces = list(&zone.ifaces.names);
        let net = zone.net.as_ref().map(|net| net.first.span);
        let place = if word == "to" { net } else { ifaces };
        edits.replace(
            clause.span,
            format!("{word} {}", slice(&policy.text, place.unwrap())),
        );
        return;
    }
    for end in &ends.list {
        if let End::Ref(name) = &end.node
            && let Some(body) = set(policy, name)
        {
            edits.replace(end.span, body);
        }
    }
}

/// The contents of a set that is a list.
fn set(policy: &Compiled, name: &str) -> Option<String> {
    if name == "private" {
        return Some("{ 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7 }".to_owned());
    }
    let sets = policy
        .file
        .items
        .iter()
        .filter_map(|item| match &item.node {
            Item::Set(set) => Some(set),
            _ => None,
        });
    let mut named = sets.filter(|set| set.name.node == name);
    let set = named.next()?;
    let fixed = !set.options.iter().any(|o| o.node == SetOption::Dynamic);
    let list = set.expr.rest.is_empty() && matches!(set.expr.first.node, SetTerm::Body(_));
    (fixed && list).then(|| slice(&policy.text, set.expr.first.span).to_owned())
}

fn services(file: &File, name: &str) -> Option<Span> {
    file.items.iter().find_map(|item| match &item.node {
        Item::Service(service) if service.name.node == name => list(&service.services),
        _ => None,
    })
}

fn zone<'f>(file: &'f File, name: &str) -> Option<&'f Zone> {
    file.items.iter().find_map(|item| match &item.node {
        Item::Zone(zone) if zone.name.node == name => Some(zone),
        _ => None,
    })
}

fn list<T>(members: &[Spanned<T>]) -> Option<Span> {
    Some(members.first()?.span.to(members.last()?.span))
}

/// Where templates are applied.
fn applies(file: &File) -> Vec<(&Apply, Span)> {
    let top = file.items.iter().filter_map(|item| match &item.node {
        Item::Apply(apply) => Some((apply, item.span)),
        _ => None,
    });
    let nested = bodies(file).into_iter().flatten();
    let nested = nested.filter_map(|stmt| match &stmt.node {
        Stmt::Apply(apply) => Some((apply, stmt.span)),
        _ => None,
    });
    top.chain(nested).collect()
}

/// The body of a template with its arguments.
fn expanded(policy: &Compiled, apply: &Apply) -> String {
    let templates = policy
        .file
        .items
        .iter()
        .filter_map(|item| match &item.node {
            Item::Template(template) => Some(template),
            _ => None,
        });
    let mut called = templates.filter(|t: &&Template| t.name == apply.name);
    let template = called.next().unwrap();
    let body = slice(&policy.text, list(&template.body).unwrap());
    let value = |at: usize| {
        let given = apply.args.get(at).map(|arg| arg.span);
        let value = given.or_else(|| template.params[at].default.as_ref().map(|v| v.span));
        slice(&policy.text, value.unwrap())
    };
    let names: Vec<&Name> = template.params.iter().map(|p| &p.name).collect();
    let mut out = String::new();
    let mut behind_arrow = false;
    for word in body.split_inclusive(|c: char| c.is_whitespace()) {
        let bare = word.trim_end();
        match names.iter().position(|name| name.node == bare) {
            // Targets have no braces.
            Some(at) if behind_arrow => out.push_str(value(at).trim_matches(['{', ' ', '}'])),
            Some(at) => out.push_str(value(at)),
            None => out.push_str(bare),
        }
        out.push_str(&word[bare.len()..]);
        behind_arrow = bare == "=>";
    }
    out
}

/// Gives names to some of the contents of rules.
fn extract(policy: &Compiled, rng: &mut Rng) -> Option<String> {
    let mut edits = Edits::default();
    let text = &policy.text;
    let mut made = String::new();
    let mut count = 0;
    for rule in rules(&policy.file, policy.ir()) {
        if let Some(place) = list(&rule.tree.services)
            && rng.bool()
        {
            count += 1;
            made = format!("{made}\nservice made{count} = {}", slice(text, place));
            edits.replace(place, format!("made{count}"));
        }
        for clause in &rule.tree.clauses {
            let (Clause::From(ends) | Clause::To(ends)) = &clause.node else {
                continue;
            };
            for end in &ends.list {
                if matches!(end.node, End::Body(_) | End::Addr(_)) && rng.bool() {
                    count += 1;
                    made = format!("{made}\nset made{count} = {}", slice(text, end.span));
                    edits.replace(end.span, format!("@made{count}"));
                }
            }
        }
    }
    (count > 0).then(|| edits.apply(text) + &made)
}

#[test]
fn a_name_is_its_contents() {
    let trial = Trial {
        policies: 60,
        floor: 60,
        may_cause: &[],
        moves_marks: false,
    };
    trial.run(inline);
}

#[test]
fn contents_can_have_a_name() {
    let trial = Trial {
        policies: 50,
        floor: 80,
        may_cause: &[],
        moves_marks: false,
    };
    trial.run(extract);
}

#[test]
fn other_contents_are_no_name() {
    let text = |end| {
        format!(
            "set s = {{ 10.0.0.0/30, fd00::/126 }} to host {{ deny from not {end} default allow }}"
        )
    };
    control(&text("@s"), &text("{ 10.0.0.0/30 }"));
    // A list is not the same as one of its members.
    let service =
        |list| format!("service v = tcp/22, udp/53 to host {{ allow {list} default deny }}");
    control(&service("v"), &service("tcp/22"));
}
