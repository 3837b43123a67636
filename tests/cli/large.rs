//! Big inputs go through. How fast is a matter of the benches.

use std::fmt::Write as _;

use crate::harness::Place;

#[test]
fn a_hundred_thousand_addresses_and_ten_thousand_rules() {
    let mut list = String::new();
    let mut rules = String::from("policy rules\nto host {\n");
    for n in 0..100_000u32 {
        let [_, b, c, d] = (n * 3).to_be_bytes();
        let _ = writeln!(list, "20.{b}.{c}.{d}");
    }
    for n in 0..10_000u32 {
        let [_, _, c, d] = n.to_be_bytes();
        let _ = writeln!(rules, "  allow tcp/{} from 198.{c}.{d}.0/24 as r{n}", 1 + n);
    }
    rules.push_str("  default deny\n}\n");
    let sets = "policy sets\nset bad = file(\"list.txt\")\n\
                to host { deny from @bad  allow https  default deny }\n";
    let place = Place::new(&[
        ("sets.pol", sets),
        ("list.txt", &list),
        ("rules.pol", &rules),
    ]);
    let run = place.polc(&["check", "sets.pol", "rules.pol"]);
    assert_eq!(run.code, 0, "{run:?}");
    // Without optimisation it may take so long that progress is reported.
    let covered = "checked 2 files: 10004 rules,";
    assert!(run.err.contains(covered), "{}", run.err);
}

#[test]
fn files_that_use_one_another_in_many_ways_are_asked_once() {
    let mut files = vec![(
        "p.pol".to_owned(),
        "use \"a0.pol\"\nuse \"b0.pol\"\nto host { allow nowhere  default deny }\n".to_owned(),
    )];
    for n in 0..40 {
        for name in ["a", "b"] {
            let text = format!("use \"a{0}.pol\"\nuse \"b{0}.pol\"\n", n + 1);
            let text = if n == 39 { String::new() } else { text };
            files.push((format!("{name}{n}.pol"), text));
        }
    }
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let run = Place::new(&files).polc(&["check", "p.pol"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains("there is no service `nowhere`"), "{run:?}");
}

#[test]
fn a_long_chain_of_files_or_definitions_is_refused() {
    let mut files = vec![("0.pol".to_owned(), String::new())];
    for n in 1..100 {
        files.push((format!("{n}.pol"), format!("use \"{}.pol\"\n", n - 1)));
    }
    let mut chain = String::from("set s20000 = { 192.0.2.1 }\nto host { default deny }\n");
    for n in 0..20_000 {
        let _ = writeln!(chain, "set s{n} = @s{}", n + 1);
    }
    files.push(("chain.pol".to_owned(), chain));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let place = Place::new(&files);
    for policy in ["99.pol", "chain.pol"] {
        let run = place.polc(&["check", policy]);
        assert_eq!(run.code, 3, "{run:?}");
        assert!(run.err.contains("POL022 too-complex"), "{run:?}");
    }
}
