//! Buckets and dynamic sets.

use super::build::*;

/// A rule with a rate.
fn ssh(rate: &str) -> String {
    format!("to host {{ allow tcp/22 {rate} as x default deny }}")
}

#[test]
fn rates_are_tables_of_hashlimit() {
    insta::assert_snapshot!(text(
        "bucket shared = 100/s burst 200
         bucket bytes = 1M bytes/s burst 1M per source
         guard { deny udp over bytes as bytes  default allow }
         to host {
           allow tcp/22 within 6/min per source/24,/56 as ssh
           allow tcp/80 within shared as web
           allow tcp/81 within shared as other
           allow tcp/443 within 50 flows per source as live
           deny udp over 10/s per pair as pairs
           default deny log \"in\" at 3/s per source
         }"
    ));
}

#[test]
fn two_rates_of_one_rule_are_asked_in_order() {
    let found = lines(&ssh("within 10/s per source within 100/s"), "x");
    let [line] = found.as_slice() else {
        panic!("{found:?}")
    };
    let per_source = line.find("--hashlimit-mode srcip").unwrap();
    let all = line.find("--hashlimit-upto 100/second").unwrap();
    assert!(per_source < all, "{line}");
}

#[test]
fn a_limit_of_live_flows_is_asked_once_for_all_alternatives() {
    // Each kernel rule counts for itself.
    let found = text("to host { allow web within 5 flows as x default deny }");
    let asked = |l: &&str| l.contains("connlimit");
    let of_v4 = found.split("== v6").next().unwrap();
    assert_eq!(of_v4.lines().filter(asked).count(), 1, "{found}");
}

#[test]
fn names_change_with_the_parameters() {
    let name = |rate: &str| {
        let bundle = emit(&ssh(rate)).unwrap();
        let objects = bundle.manifest().objects.iter();
        let limits = objects.filter(|o| o.kind == polc_bundle::ObjectKind::Limit);
        limits.map(|o| o.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(name("within 6/s"), name("within 6/s"));
    assert_ne!(name("within 6/s"), name("within 7/s"));
    assert_ne!(name("within 6/s"), name("within 6/s per source"));
}

#[test]
fn what_the_kernel_would_not_count_is_refused() {
    let refused = |blocks: &str| errors(blocks).join(" | ");
    let say = |what: &str| format!("target `iptables` cannot express {what}");
    let of = |definition: &str| {
        let rule = "guard { deny over b as x default allow }";
        refused(&format!("bucket b = {definition}\n{rule}"))
    };
    assert_eq!(
        of("2M packets/s burst 3M"),
        say("a rate above a million packets a second or a larger bucket")
    );
    assert_eq!(
        of("700k packets/s burst 100k"),
        say("a rate that the kernel would round by more than 2 %")
    );
    assert_eq!(
        of("1 packets/d burst 2"),
        say("a bucket that takes more than a day to fill")
    );
    assert_eq!(
        of("1M bytes/s burst 2M"),
        say("a bucket of bytes that holds more or less than a second's worth")
    );
    assert_eq!(of("9/s per source full within"), say("`full within`"));
    let shared = "to host { allow tcp/1 within b as x  allow tcp/2 within b as y  default deny }";
    assert_eq!(
        refused(&format!("bucket b = 9 flows\n{shared}")),
        say("a limit of live flows that is asked in several places")
    );
    let noted = "to host { match tcp within 5/s per source log as x  default deny }";
    assert!(refused(noted).starts_with(&say("a rate per key")));
    let idle = "set s as source = {} dynamic idle 1500ms\n\
                to host { deny from @s as x  default deny }";
    assert!(refused(idle).starts_with(&say("an `idle`")));
}

#[test]
fn rates_without_key_are_warned_about_where_both_families_ask() {
    use crate::target::{Iptables, Options, Target};
    let remarks = |blocks: &str| {
        let found = Iptables.remarks(&policy(blocks), &Options::default());
        found.into_iter().map(|d| d.title).collect::<Vec<_>>()
    };
    assert_eq!(
        remarks(&ssh("within 6/s")),
        ["IPv4 and IPv6 each get all of `x`: target `iptables` counts by family"]
    );
    assert_eq!(remarks(&ssh("within 6/s only v4")), [""; 0]);
    assert_eq!(remarks(&ssh("within 6/s per source")), [""; 0]);
}
