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
                to host { deny from @bad  default allow }\n";
    let place = Place::new(&[
        ("sets.pol", sets),
        ("list.txt", &list),
        ("rules.pol", &rules),
    ]);
    let run = place.polc(&["check", "sets.pol", "rules.pol"]);
    assert_eq!(run.code, 0, "{run:?}");
    // Without optimisation it may take so long that progress is reported.
    assert!(
        run.err.ends_with("checked 2 files, 10003 rules\n"),
        "{}",
        run.err
    );
}
