//! Words, heads of blocks, and texts that are large or deep.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

use std::fmt::Write as _;

use polc_grammar::ast::{Clause, Expr, Item, SetTerm, Stmt, Value};
use polc_grammar::{SyntaxErrorKind, format, parse};

fn only_item(text: &str) -> Item {
    let parsed = parse(text);
    assert_eq!(parsed.errors, [], "{text}");
    assert_eq!(parsed.file.items.len(), 1, "{text}");
    parsed.file.items[0].node.clone()
}

fn stmts(text: &str) -> Vec<Stmt> {
    let Item::Section(section) = only_item(text) else {
        panic!("a section: {text}")
    };
    section.body.into_iter().map(|stmt| stmt.node).collect()
}

#[test]
fn keywords_are_whole_words() {
    for name in [
        "tomcat",
        "inside",
        "asset",
        "from-lan",
        "allow_all",
        "default-deny",
        "hosts",
    ] {
        let body = stmts(&format!("to host {{ allow {name} from {name} as {name} }}"));
        let [Stmt::Rule(rule)] = &body[..] else {
            panic!("one rule: {body:?}")
        };
        assert_eq!(rule.services.len(), 1);
        assert_eq!(rule.clauses.len(), 2);
    }
}

#[test]
fn reserved_words_are_no_names() {
    for word in [
        "allow", "from", "log", "set", "test", "any", "host", "original",
    ] {
        assert_eq!(
            parse(&format!("zone {word} = eth0")).errors.len(),
            1,
            "{word}"
        );
    }
    for word in [
        "at", "burst", "per", "max", "table", "net", "source", "flows", "file",
    ] {
        assert_eq!(parse(&format!("zone {word} = eth0")).errors, [], "{word}");
    }
}

#[test]
fn and_allow_ends_a_condition() {
    let body = stmts("to host { allow when ip.fragment and tcp.mss > 5 and allow as x }");
    let [Stmt::Rule(rule)] = &body[..] else {
        panic!("one rule")
    };
    let [when, and_allow, name] = &rule.clauses[..] else {
        panic!("three clauses")
    };
    assert!(matches!(&when.node, Clause::When(expr) if matches!(expr.node, Expr::And(..))));
    assert_eq!(and_allow.node, Clause::AndAllow);
    assert!(matches!(name.node, Clause::As(_)));
}

#[test]
fn in_is_a_clause_behind_a_bare_field() {
    let body = stmts("to host { deny when ip.fragment in eth0 }");
    let [Stmt::Rule(rule)] = &body[..] else {
        panic!("one rule")
    };
    assert!(matches!(rule.clauses[1].node, Clause::In(_)));
}

#[test]
fn or_binds_less_than_and() {
    let body = stmts("to host { deny when a.b or c.d and not e.f }");
    let [Stmt::Rule(rule)] = &body[..] else {
        panic!("one rule")
    };
    let Clause::When(expr) = &rule.clauses[0].node else {
        panic!("when")
    };
    assert_eq!(
        format!("{expr:?}"),
        "Or(Is(\"a.b\"), And(Is(\"c.d\"), Not(Is(\"e.f\"))))"
    );
}

#[test]
fn a_group_behind_a_rule_starts_at_its_line() {
    let body =
        stmts("to host {\n  allow dns\n    within 5/s\n  from @x\n    in eth0 { allow ssh }\n}");
    let [Stmt::Rule(rule), Stmt::Group(group)] = &body[..] else {
        panic!("{body:?}")
    };
    assert_eq!((rule.clauses.len(), group.clauses.len()), (1, 2));
    for unclear in [
        "to host { allow dns from @x { allow ssh } }",
        "to host {\n  allow dns\n  from @x\n  in eth0 { allow ssh }\n}",
        "to host {\n  allow dns\n    from @x { allow ssh }\n}",
    ] {
        let kinds: Vec<_> = parse(unclear)
            .errors
            .iter()
            .map(|error| error.kind)
            .collect();
        assert_eq!(kinds, [SyntaxErrorKind::BlockHead], "{unclear}");
    }
}

#[test]
fn a_section_behind_a_claim_starts_at_its_line() {
    let parsed = parse("never allow from wan to lan\nfrom lan to host { default deny }\n");
    assert_eq!(parsed.errors, []);
    assert!(matches!(
        (&parsed.file.items[0].node, &parsed.file.items[1].node),
        (Item::Claim(claim), Item::Section(section))
            if claim.clauses.len() == 2 && section.clauses.len() == 2
    ));
}

#[test]
fn values_by_their_shape() {
    let value = |text: &str| {
        let Item::Param(param) = only_item(&format!("param x: t = {text}")) else {
            panic!("a parameter")
        };
        param.default.unwrap().node
    };
    assert_eq!(value("4k"), Value::Number(4_000));
    assert_eq!(value("0x2A"), Value::Number(42));
    assert_eq!(value("10m"), Value::Duration(600_000));
    assert_eq!(value("2d"), Value::Duration(172_800_000));
    assert_eq!(value("wg*"), Value::Word("wg*".into()));
    assert_eq!(value("host"), Value::Word("host".into()));
    assert!(matches!(value("2001:db8::1"), Value::Addr(_)));
    assert!(matches!(value("fd00::1-fd00::9"), Value::Addr(_)));
    assert!(matches!(value("[2001:db8::1]:80"), Value::Target(_)));
    assert!(matches!(value("{ 10.0.0.1 } - @x"), Value::Set(_)));
    assert!(matches!(value("tcp/{80, 443}"), Value::Services(_)));
    assert!(matches!(value("10/s per source"), Value::Rate(_)));
}

#[test]
fn operators_need_no_blanks() {
    let Item::Set(set) = only_item("set x={10.0.0.1}+@a-@b&@c") else {
        panic!("a set")
    };
    assert_eq!(set.expr.rest.len(), 3);
    assert!(
        set.expr
            .rest
            .iter()
            .all(|(_, term)| matches!(term.node, SetTerm::Ref(_)))
    );
}

#[test]
fn deep_nesting_is_one_error() {
    let deep = 200_000;
    for text in [
        format!("to host {{ deny when {}", "(".repeat(deep)),
        "to host {".repeat(deep),
        format!("set x = {}", "{".repeat(deep)),
        format!("apply x{}{}", "(".repeat(deep), ")".repeat(deep)),
        "[".repeat(deep),
    ] {
        let parsed = parse(&text);
        let kinds: Vec<_> = parsed.errors.iter().map(|error| error.kind).collect();
        assert_eq!(kinds, [SyntaxErrorKind::TooComplex]);
        assert!(format(&text).is_err());
    }
}

#[test]
fn long_conditions_are_refused_before_they_make_deep_trees() {
    for part in ["not ", "a.b and ", "a.b or "] {
        let text = format!("to host {{ deny when {}a.b }}", part.repeat(100_000));
        let kinds: Vec<_> = parse(&text).errors.iter().map(|error| error.kind).collect();
        assert_eq!(kinds, [SyntaxErrorKind::TooComplex], "{part}");
        let text = format!("to host {{ deny when {}a.b }}", part.repeat(200));
        assert_eq!(parse(&text).errors, [], "{part}");
    }
}

#[test]
fn nesting_up_to_the_limit_parses_on_a_small_stack() {
    let work = || {
        let open = "to host {".to_owned() + &"from @x {".repeat(62);
        let text = open + "default deny" + &"}".repeat(63);
        assert_eq!(parse(&text).errors, []);
        assert!(format(&text).is_ok());
        let text = format!(
            "to host {{ deny when {}a.b{} }}",
            "(".repeat(60),
            ")".repeat(60)
        );
        assert_eq!(parse(&text).errors, []);
    };
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_large_set_with_comments() {
    let mut text = String::from("set big = {\n");
    for n in 0..100_000_u32 {
        let [a, b, c, d] = n.to_be_bytes();
        writeln!(text, "  10.{b}.{c}.{d}, # {a}").unwrap();
    }
    text.push('}');
    let Item::Set(set) = only_item(&text) else {
        panic!("a set")
    };
    let SetTerm::Body(body) = &set.expr.first.node else {
        panic!("a body")
    };
    assert_eq!(body.elements.len(), 100_000);
    let missing = text.replacen("10.0.1.0,", "10.0.1.0", 1);
    let errors = parse(&missing).errors;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].kind, SyntaxErrorKind::MissingComma);
    assert_eq!(&missing[errors[0].span.range()], "10.0.1.1");
}

#[test]
fn odd_texts_are_policies_too() {
    assert_eq!(parse("").errors, []);
    assert_eq!(parse("# only a comment").errors, []);
    assert_eq!(parse("\u{feff}policy x\r\n\r\nstrict tcp\r\n").errors, []);
    assert_eq!(format("").unwrap(), "");
    assert_eq!(
        format("\u{feff}policy x\r\n\r\n\r\nstrict tcp # c \r\n").unwrap(),
        "policy x\n\nstrict tcp  # c\n"
    );
}
