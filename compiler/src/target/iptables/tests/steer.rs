//! Steer and egress: proxies, NAT, marks, routing.

use super::build::*;

const PROXY: &str = "
proxy box {
  listen tcp, udp at 127.0.0.1:12345, [::1]:12345
  mark 0x1/0xff
  table 100
  bypass uid 812
}
";

#[test]
fn a_transparent_proxy_for_others_and_for_this_host() {
    insta::assert_snapshot!(text(&format!(
        "{PROXY}
         steer {{
           direct to {{ 10.0.0.0/8, fc00::/7 }} as bypass
           proxy tcp, udp from lan via box as lan
           proxy tcp, udp from host via box as own
           default direct
         }}
         to host {{ default deny }}"
    )));
}

#[test]
fn redirects_alone_need_no_mangle_chain() {
    insta::assert_snapshot!(text(
        "steer {
           direct tcp from host by uid 1337 as own
           redirect tcp/{80, 443} from host => :15001 as apps
           redirect tcp/53, udp/53 from lan => :5353 as dns
           default direct
         }"
    ));
}

#[test]
fn nat_beside_mangle_judges_each_rule_once() {
    insta::assert_snapshot!(text(
        "steer {
           deny udp/443 as no-quic
           route from lan via table 200 mark 0x200/0xff00 as isp2
           redirect tcp/80 from wan to 192.0.2.80 over 10/s => :99 as slow
           dnat tcp/80 from wan to 192.0.2.80 => 10.1.0.80:8080 and allow as web
           default direct
         }"
    ));
}

#[test]
fn targets_are_chosen_in_each_way() {
    for balance in ["source", "random", "roundrobin"] {
        let found = text(&format!(
            "steer {{ dnat tcp, udp/80 from wan to 192.0.2.80 => 10.1.0.1:80, 10.1.0.2:80, 10.1.0.3:81 \
             balance {balance} as x  default direct }}"
        ));
        let nat: Vec<&str> = found.lines().filter(|l| l.contains("POLC-x-")).collect();
        insta::assert_snapshot!(format!("balance_{balance}"), nat.join("\n"));
    }
}

#[test]
fn source_nat() {
    insta::assert_snapshot!(text(
        "egress {
           snat from fd00:1::/64 to wan => net 2001:db8:1::/64 as npt
           snat from 10.1.0.0/24 to wan => 192.0.2.81 as fixed
           direct from host to wan as own
           masquerade from lan to wan only v4 as lan
           default direct
         }"
    ));
}

#[test]
fn the_files_hold_new_flows_until_all_tables_are_new() {
    let bundle = emit(
        "guard on eth0 { deny from 10.0.0.0/8 as x default allow }
         steer { deny udp/443 from lan as q  default direct }
         to host { default deny }",
    )
    .unwrap();
    let text = bundle.file("policy.v4").unwrap();
    let tables: Vec<&str> = text.lines().filter(|l| l.starts_with('*')).collect();
    assert_eq!(tables, ["*filter", "*mangle", "*raw", "*mangle", "*filter"]);
    let held = text.split("COMMIT").next().unwrap();
    let last = held.lines().rfind(|l| !l.is_empty());
    assert_eq!(last, Some("-A POLC-INPUT -j DROP"), "{held}");
    assert!(held.contains(":POLC-GENERATION - "), "{held}");
    // The policy in force may have more tables than the new one.
    let alone = emit("to host { default deny }").unwrap();
    let text = alone.file("policy.v4").unwrap();
    assert_eq!(text.lines().filter(|l| *l == "*filter").count(), 2);
}

#[test]
fn jumps_go_in_from_the_strictest_on() {
    let bundle = emit(
        "guard on eth0 { deny from 10.0.0.0/8 as x default allow }
         steer { redirect tcp/80 from lan => :3128 as r  deny udp/443 as q  default direct }
         egress { masquerade from lan to wan only v4 as m }
         to host { default deny }",
    )
    .unwrap();
    insta::assert_yaml_snapshot!(bundle.manifest().jumps);
}

#[test]
fn what_steer_cannot_say_is_an_error() {
    let say = |what: &str| format!("target `iptables` cannot express {what}");
    let down = PROXY.replace("table 100", "table 100 down direct");
    let policy = format!("{down}\nsteer {{ proxy tcp from lan via box as x  default direct }}");
    assert_eq!(errors(&policy), [say("`down direct`")]);
    let lo = "steer { dnat tcp/80 from lan to fd00::1 => [::1]:80 as x  default direct }";
    assert_eq!(errors(lo), [say("DNAT of forwarded IPv6 traffic to `::1`")]);
    assert_eq!(
        errors("raw nft \"chain x { }\"\nto host { default allow }"),
        ["target `iptables` has no place for text for `nftables`"]
    );
}

#[test]
fn what_filter_does_not_judge_is_asked_for_its_syn() {
    insta::assert_snapshot!(text(
        "strict tcp
         steer {
           redirect tcp/80 from host out lo => :3128 as loopback
           direct from host count and allow as own
         }"
    ));
}
