//! What claims mean across stages, case by case: a policy, and the word for each of its claims. For
//! one that fails, the word is how the packet that breaks it begins.

use super::proved;

/// Checks a policy whose claims are written as `# word` behind each of them.
#[track_caller]
fn check(text: &str) {
    let expected: Vec<&str> = text
        .lines()
        .filter(|l| {
            ["ensure", "never", "protect"]
                .iter()
                .any(|k| l.trim_start().starts_with(k))
        })
        .map(|l| l.split_once("# ").expect("a word for each claim").1)
        .collect();
    let words = proved(text).words();
    assert_eq!(words.len(), expected.len(), "{words:#?}");
    for (word, expected) in words.iter().zip(expected) {
        assert!(word.starts_with(expected), "expected `{expected}`: {word}");
    }
}

#[test]
fn guard_denies_first() {
    check(
        "guard on eth0 { deny from 192.0.2.0/24  default allow }
         to host { allow ssh  default deny }
         never allow from 192.0.2.0/24 to host in eth0   # proven
         never allow from 192.0.2.0/24 to host           # fails: tcp 192.0.2.
         ensure deny from 192.0.2.7 to host in eth0      # proven
         ensure allow ssh to host                        # fails: tcp 192.0.2.
         ensure allow ssh from not 192.0.2.0/24 to host  # proven
         never allow udp to host                         # proven
         never deny ssh from not 192.0.2.0/24 to host    # proven",
    );
}

#[test]
fn deny_and_reject_are_two_outcomes() {
    check(
        "zone lan = eth1
         from lan to host { reject telnet  default deny }
         to host { default deny }
         ensure reject telnet from lan to host  # proven
         ensure deny telnet from lan to host    # fails: tcp
         never allow telnet from lan to host    # proven
         ensure deny udp from lan to host       # proven",
    );
}

#[test]
fn a_destination_is_where_the_packet_ends_up() {
    check(
        "zone wan = eth0
         zone dmz = eth1 net { 10.1.0.0/24 }
         steer { dnat tcp/80 from wan to 192.0.2.80 => 10.1.0.80:8080 as web }
         from wan to dmz { allow tcp/8080 to 10.1.0.80  default deny }
         default deny
         ensure allow tcp/8080 from wan to dmz to 10.1.0.80 to original 192.0.2.80  # proven
         ensure dnat tcp/8080 from wan to dmz to original 192.0.2.80                # fails: tcp
         never allow tcp/80 from wan to dmz                                         # proven
         never allow from wan to dmz to not 10.1.0.80                               # proven
         never dnat from not wan                                                    # proven
         never allow from wan to host                                               # proven
         never direct tcp/8080 from wan to dmz to original 192.0.2.80               # proven
         never direct tcp/8080 from wan to dmz                                      # fails: tcp",
    );
}

#[test]
fn filter_judges_what_dnat_moves_unless_steer_allows() {
    let policy = |rule: &str, words: [&str; 2]| {
        check(&format!(
            "zone wan = eth0
             zone dmz = eth1 net {{ 10.1.0.0/24 }}
             steer {{ dnat tcp/80 from wan to 192.0.2.80 => 10.1.0.80 {rule} }}
             default deny
             never allow from wan to dmz             # {}
             ensure dnat http from wan to dmz to original 192.0.2.80  # {}",
            words[0], words[1],
        ));
    };
    policy("", ["proven", "fails: tcp"]);
    policy("and allow", ["fails: tcp", "proven"]);
}

#[test]
fn a_prefix_is_mapped_address_by_address() {
    check(
        "zone wan = eth0
         zone dmz = eth1
         steer { dnat from wan to 192.0.2.0/24 => net 10.1.0.0/24 and allow }
         default deny
         ensure dnat from wan to dmz to 10.1.0.0/24 to original 192.0.2.0/24  # proven
         never allow from wan to 10.1.0.7 to original not 192.0.2.7           # proven
         never allow from wan to 10.1.0.7                                     # fails: tcp
         never allow from wan to 10.1.1.0/24                                  # proven",
    );
}

#[test]
fn each_target_is_a_way_of_its_own() {
    check(
        "zone wan = eth0
         zone dmz = eth1
         steer { dnat tcp/80 from wan to 192.0.2.80 => 10.1.0.1, 10.1.0.2, 10.1.0.3 balance random }
         from wan to dmz { deny to 10.1.0.3  default allow }
         default deny
         ensure dnat tcp/80 from wan to dmz to original 192.0.2.80                   # fails: tcp
         never allow from wan to 10.1.0.3                                            # proven
         ensure dnat tcp/80 from wan to dmz to 10.1.0.2 to original 192.0.2.80       # proven",
    );
}

#[test]
fn redirected_flows_go_to_where_they_were_sent() {
    check(
        "zone lan = eth1
         steer { redirect dns from lan => :5353 }
         to host { default deny }
         default deny
         ensure redirect dns from lan         # proven
         ensure allow dns from lan            # proven
         never redirect from not lan          # proven
         never allow udp/5353 from lan        # proven
         never allow http from lan to host    # proven",
    );
}

#[test]
fn what_bypasses_a_proxy_goes_direct() {
    check(
        "zone lan = br0
         proxy box {
           listen tcp at 127.0.0.1:12345, [::1]:12345
           mark 0x1/0xff
           table 100
           bypass user proxybox
         }
         steer {
           direct to @private
           proxy tcp from lan via box
           proxy tcp from host via box
         }
         from host { default allow }
         default deny
         never direct tcp from lan to not @private       # proven
         never direct tcp from host to not @private      # fails: tcp
         never proxy by user proxybox                    # proven
         ensure proxy tcp from lan to not @private, @multicast  # proven
         never allow udp from lan                        # proven
         never proxy to host                             # proven
         ensure allow tcp by user proxybox               # proven",
    );
}

#[test]
fn routed_flows_meet_filter_where_the_table_leads() {
    check(
        "zone lan = eth1
         zone guest = eth2
         zone wan = eth0
         steer { route from guest via table 200 mark 0x200/0xff00 }
         from guest to wan { default allow }
         default deny
         ensure route from guest to wan  # proven
         never allow from guest to lan   # proven
         never direct from guest         # proven
         never route from lan            # proven",
    );
}

#[test]
fn both_families_count() {
    check(
        "to host { allow ssh only v4  default deny }
         ensure allow ssh to host          # fails: tcp [
         ensure allow ssh to host only v4  # proven
         never allow ssh to host only v6   # proven",
    );
}

#[test]
fn ensure_has_tokens_and_never_has_both() {
    check(
        "to host {
           allow ssh within 6/min per source
           deny over 20/s per source
           allow http
           default deny
         }
         ensure allow ssh, http to host  # proven
         never deny ssh to host          # fails: tcp
         never allow telnet to host      # proven
         never allow ssh to host         # fails: tcp",
    );
}

#[test]
fn a_dynamic_set_may_hold_anything() {
    check(
        "set bad as source = {} dynamic idle 1h max 100
         guard on eth0 {
           deny from @bad
           deny udp over 10 packets/s per source add @bad
           default allow
         }
         to host { allow ssh  default deny }
         ensure allow ssh to host            # fails: tcp
         ensure deny from @bad to host in eth0  # proven
         ensure allow ssh from not @bad to host # proven",
    );
}

#[test]
fn what_the_model_cannot_follow_is_unknown() {
    check(
        "guard on eth0 { match tcp mark 0x1/0xf  default allow }
         to host { allow ssh when meta.mark == 1  default deny }
         never allow udp to host           # unknown: 
         ensure allow ssh to host in eth1  # fails: tcp",
    );
}

#[test]
fn addresses_behind_a_zone_are_reached_by_it() {
    check(
        "zone wan = eth0
         zone dmz = eth1 net { 10.1.0.0/24 }
         from wan to dmz { default allow }
         default deny
         ensure allow from wan to 10.1.0.7 out not wan  # proven
         never allow from wan out eth5                  # proven
         ensure deny from wan to 10.1.0.7 out eth5      # vacuous",
    );
}

#[test]
fn untracked_packets_are_judged_without_a_flow() {
    check(
        "zone wan = eth0
         guard on eth0 { notrack dns  default allow }
         steer { redirect dns from wan to not @private => :5353 }
         from wan to host { allow dns when ct.state == untracked  default deny }
         default deny
         never redirect udp/53 from wan          # fails: udp
         ensure allow udp/53 from wan to host when not ip.fragment  # proven
         never redirect udp/53 from wan when not ip.fragment        # proven",
    );
}

#[test]
fn only_packets_that_open_flows_count() {
    check(
        "strict tcp
         to host { allow ssh, icmp  default deny }
         ensure allow ssh to host                         # proven
         ensure allow icmp to host                        # proven
         ensure allow tcp/22 to host when tcp.flags == ack  # fails: tcp
         ensure deny tcp to host when tcp.flags == fin      # proven
         never allow telnet to host                       # proven",
    );
    check(
        "to host { default deny }
         never allow to host                           # proven
         ensure allow icmp/neighbour-solicitation to host only v6  # proven",
    );
    check(
        "strict icmp
         to host { default deny }
         never allow to host                                     # proven
         ensure allow icmp/neighbour-solicitation to host        # fails: icmpv6/135",
    );
}

#[test]
fn loopback_is_outside_unless_it_is_named() {
    check(
        "to host { default deny }
         from host { default deny }
         never allow to host        # proven
         never allow from host      # proven
         ensure allow to host in lo   # proven
         ensure allow from host out lo  # proven",
    );
    check(
        "to host in lo { deny telnet  default allow }
         to host { default deny }
         ensure deny telnet to host in lo    # proven
         ensure allow ssh to host in lo      # proven",
    );
}

#[test]
fn egress_decides_about_what_leaves() {
    check(
        "zone wan = eth0
         zone lan = eth1
         egress {
           direct to 10.8.0.0/16
           masquerade from lan to wan only v4
           snat from fd00:1::/64 to wan => 2001:db8:1::1
         }
         from lan { default allow }
         default deny
         ensure masquerade from lan to wan to not 10.8.0.0/16 only v4  # proven
         ensure masquerade from lan to wan only v4                     # fails: tcp
         never masquerade from lan to wan to 10.8.0.0/16               # proven
         ensure snat from lan from fd00:1::/64 to wan                  # proven
         never snat from lan to lan                                    # proven
         never masquerade to host                                      # proven
         never snat from wan                                           # proven",
    );
}

#[test]
fn later_fragments_are_judged_by_guard() {
    check(
        "guard on eth0 { deny when ip.fragment  default allow }
         to host { default allow }
         ensure deny when ip.fragment in eth0 to host  # proven
         ensure allow udp to host in eth0              # fails: udp
         ensure allow udp to host in eth0 when not ip.fragment  # proven",
    );
}

#[test]
fn stateless_sections_judge_every_packet() {
    check(
        "stateless from 192.0.2.0/24 to host { allow tcp/22 when tcp.flags has ack  default deny }
         to host { default deny }
         never allow tcp from 192.0.2.0/24 to host when tcp.flags == ack+fin  # fails: tcp
         never allow udp to host                                             # proven
         never allow tcp from 192.0.2.0/24 to host when tcp.flags == rst     # proven",
    );
}

#[test]
fn each_rule_that_asks_a_bucket_takes_a_token() {
    // The last token is gone when the second rule asks.
    check(
        "bucket b = 1/s burst 5
         to host {
           deny ssh over b            as first
           match ssh log at b         as second
           deny ssh over b            as third
           allow ssh                  as ssh
           default deny
         }
         ensure allow ssh to host     # proven
         never deny ssh to host       # fails: tcp",
    );
    check(
        "bucket b = 1/s burst 5
         steer { deny ssh over b      as first
                 direct               as onward }
         to host {
           reject ssh over b          as second
           allow ssh                  as ssh
           default deny
         }
         never reject ssh to host     # fails: tcp
         never reject udp to host     # proven
         ensure allow ssh to host     # proven",
    );
    let proved = proved(
        "bucket b = 1/s burst 5
         to host { deny ssh over b as first  reject ssh over b as second  allow ssh  default deny }
         never reject ssh to host",
    );
    let word = &proved.words()[0];
    assert!(
        word.contains("with no token left in `b` from `second` on"),
        "{word}"
    );
}

#[test]
fn live_flows_are_not_used_up_by_asking() {
    check(
        "bucket b = 5 flows
         to host { deny ssh over b  reject ssh over b  allow ssh  default deny }
         never reject ssh to host     # proven",
    );
}

#[test]
fn nothing_is_claimed_of_tokens_that_cannot_be_followed() {
    // By destination, `dnat` gives the packet another bucket.
    check(
        "bucket b = 1/s burst 5 per dest
         steer { match tcp/80 within b as asked
                 dnat tcp/80 to 192.0.2.1 => 10.0.0.1 as moved }
         to host { deny tcp/80 over b  default allow }
         default allow
         never deny udp                # unknown",
    );
    check(
        "bucket b = 1/s burst 1
         to host { match ssh within b  allow ssh within b as second  deny ssh  default deny }
         never allow ssh to host      # unknown",
    );
}

#[test]
fn a_time_to_live_is_that_of_the_packet_as_it_came() {
    check(
        "zone wan = eth0
         zone lan = eth1
         guard on wan { deny when ip.ttl == 7  default allow }
         from wan to lan { deny when ip.ttl < 5  default allow }
         from wan to host { deny when ip.ttl < 5  default allow }
         from host to lan { deny when ip.ttl < 5  default allow }
         default deny
         ensure deny from wan to lan when ip.ttl <= 5         # proven
         never deny from wan to lan when ip.ttl in { 6, 255 } # proven
         never allow from wan to lan when ip.ttl == 7         # proven
         ensure deny from wan to host when ip.ttl < 5         # proven
         never deny from wan to host when ip.ttl == 5         # proven
         never deny from host to lan when ip.ttl == 5         # proven
         ensure deny from host to lan when ip.ttl <= 5        # fails: tcp",
    );
}

#[test]
fn what_dnat_brings_here_or_elsewhere_loses_a_hop_only_elsewhere() {
    check(
        "zone wan = eth0
         zone dmz = eth1
         steer { dnat tcp/80 from wan to 192.0.2.80 => 10.1.0.80 }
         from wan { deny when ip.ttl == 4  default allow }
         egress { masquerade to dmz when ip.ttl == 8 }
         default deny
         ensure deny tcp/80 from wan to dmz to original 192.0.2.80 when ip.ttl == 5        # proven
         never deny tcp/80 from wan to dmz to original 192.0.2.80 when ip.ttl == 4         # proven
         ensure deny tcp/80 from wan to host to original 192.0.2.80 when ip.ttl == 4       # proven
         never deny tcp/80 from wan to host to original 192.0.2.80 when ip.ttl == 5        # proven
         ensure masquerade tcp/80 from wan to dmz to original 192.0.2.80 when ip.ttl == 9  # proven
         never masquerade from wan when ip.ttl == 8                                        # proven
         ensure masquerade from wan to dmz when ip.ttl == 9                                # proven",
    );
}
