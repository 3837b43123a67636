//! Rules and routes of others that would take the policy's packets.

use polc_bundle::{RoutingPlan, RoutingRule};

use super::seen::{Seen, SeenRule};
use super::{describe_route, describe_rule};

/// One sentence for each rule or route of others that stands in the plan's way.
///
/// A rule does if a packet that carries just the planned mark would match it and it is looked at
/// no later than the planned rule. Rules that do not look at marks (such as the one for the
/// table `local`) are not counted. A route does if it lies in a table that the plan fills.
pub(crate) fn collisions(plan: &RoutingPlan, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    for wanted in &plan.rules {
        for foreign in seen.rules.iter().filter(|rule| !rule.owned()) {
            if takes(foreign, wanted) {
                found.push(format!(
                    "`{foreign}` of another program takes the packets of `{}`",
                    describe_rule(wanted)
                ));
            }
        }
    }
    for wanted in &plan.local_routes {
        let same_table = |table: u32, family| table == wanted.table && family == wanted.family;
        for foreign in seen.routes.iter().filter(|route| !route.owned()) {
            if same_table(foreign.table, foreign.family) {
                found.push(format!(
                    "`{foreign}` of another program is in the table of `{}`",
                    describe_route(wanted)
                ));
            }
        }
    }
    found
}

fn takes(foreign: &SeenRule, wanted: &RoutingRule) -> bool {
    let (value, mask) = foreign.mark;
    let matches = (wanted.mark & mask == value) != foreign.inverted;
    let interfaces_meet = match (&foreign.iif, &wanted.iif) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => true,
    };
    foreign.family == wanted.family
        && foreign.priority <= wanted.priority
        && mask != 0
        && matches
        && interfaces_meet
}

#[cfg(test)]
mod tests {
    use polc_bundle::Family;

    use super::super::message;
    use super::*;

    fn rule(priority: u32, mark: u32, bits: u32, iif: Option<&str>) -> RoutingRule {
        RoutingRule {
            family: Family::V4,
            priority,
            iif: iif.map(str::to_owned),
            mark,
            mask: bits,
            table: 100,
        }
    }

    fn collide(theirs: &RoutingRule, ours: RoutingRule) -> bool {
        let mut message = message::rule(theirs);
        message::set_protocol(&mut message, 0);
        let seen = Seen {
            rules: vec![SeenRule::read(message).unwrap()],
            routes: vec![],
        };
        let plan = RoutingPlan {
            rules: vec![ours],
            local_routes: vec![],
        };
        !collisions(&plan, &seen).is_empty()
    }

    #[test]
    fn the_same_mark_no_later_collides() {
        let ours = rule(100, 0x1, 0xff, Some("eth0"));
        assert!(collide(&rule(100, 0x1, 0x1, None), ours.clone()));
        assert!(collide(&rule(50, 0x1, 0xff, Some("eth0")), ours.clone()));
        assert!(!collide(&rule(101, 0x1, 0x1, None), ours.clone()));
        assert!(!collide(&rule(100, 0x1, 0x1, Some("eth1")), ours));
    }

    #[test]
    fn other_marks_and_rules_without_marks_do_not() {
        let ours = rule(100, 0x1, 0xff, None);
        assert!(!collide(&rule(100, 0x2, 0xff, None), ours.clone()));
        assert!(!collide(&rule(9, 0x200, 0xf00, None), ours.clone()));
        assert!(!collide(&rule(0, 0, 0, None), ours));
    }
}
