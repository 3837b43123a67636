//! What packets meet.
//!
//! The namespace routes between `v0`, behind which a client has its own namespace, and `d0`, where
//! nobody answers.

use polc_compiler::ir::{
    Bucket, Cube, Governs, Key, KeyKind, Limit, Rate, Sense, Side, Stage, TimeUnit, Verdict,
};

use crate::policies::{absent_proxy, iface, policy, proxied, rule, script, udp};
use crate::{can_load, in_namespace};

/// Loads the policy from standard input, sends two datagrams from the client and one from the host
/// to 10.8.0.9:9, and lists the table `seen`, which counts what is forwarded, and the policy's.
const SEND: &str = r#"
    ip link set lo up
    unshare -n sleep 30 &
    client=$!
    trap 'kill $client' EXIT
    ip link add v0 type veth peer name v1
    ip link add d0 type veth peer name d1
    for try in 1 2 3 4 5 6 7 8 9 10; do
        [ "$(readlink /proc/$client/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break
        sleep 0.1
    done
    ip link set v1 netns $client
    ip link set d1 netns $client
    ip address add 10.9.0.1/24 dev v0
    ip address add 10.8.0.1/24 dev d0
    ip link set v0 up
    ip link set d0 up
    nsenter -t $client -n ip address add 10.9.0.2/24 dev v1
    nsenter -t $client -n ip link set v1 up
    nsenter -t $client -n ip link set d1 up
    ip neighbour add 10.8.0.9 lladdr 02:00:00:00:00:09 dev d0
    nsenter -t $client -n ip route add default via 10.9.0.1
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip rule add pref 100 iif v0 fwmark 0x1/0xff lookup 100
    ip route add local default dev lo table 100
    nft -f -
    nft -f - <<'END'
table inet seen {
    chain forward {
        type filter hook forward priority 300
        counter comment "forwarded"
    }
}
END
    send='echo x > /dev/udp/10.8.0.9/9'
    nsenter -t $client -n bash -c "$send; sleep 0.1; $send"
    bash -c "$send"
    sleep 0.3
    nft list table inet seen
    nft list table inet polc
"#;

/// The packets that the counter after `place` has counted.
fn counted(listing: &str, place: &str) -> u32 {
    let after = listing
        .split_once(place)
        .unwrap_or_else(|| panic!("no {place}: {listing}"))
        .1;
    let number = after.split_once("packets ").unwrap().1;
    number.split(' ').next().unwrap().parse().unwrap()
}

fn egress() -> polc_compiler::ir::Ir {
    let mut ir = policy(Governs::default());
    let out = Cube {
        egress: iface("d0"),
        ..udp(9)
    };
    let from = |side: Side| Cube {
        ingress: side,
        ..out.clone()
    };
    ir.egress = vec![
        rule(
            Stage::Egress,
            "of-host",
            from(Side::host()),
            Verdict::Direct,
        ),
        rule(
            Stage::Egress,
            "by-v0",
            from(iface("v0")),
            Verdict::Masquerade,
        ),
        rule(Stage::Egress, "rest", Cube::any(), Verdict::Direct),
    ];
    ir
}

#[test]
fn postrouting_knows_where_a_packet_came_from() {
    if !can_load() {
        return;
    }
    let listing = in_namespace(SEND, &script(&egress()));
    assert_eq!(counted(&listing, "counter of_host"), 1, "{listing}");
    assert_eq!(counted(&listing, "counter by_v0"), 2, "{listing}");
}

#[test]
fn without_a_listener_the_proxy_lets_nothing_past() {
    if !can_load() {
        return;
    }
    let mut ir = policy(Governs::default());
    let from = Cube {
        ingress: iface("v0"),
        ..Cube::any()
    };
    ir.proxies.push(absent_proxy());
    ir.steer = vec![rule(Stage::Steer, "all", proxied(from), Verdict::Proxy(0))];
    let closed = script(&ir);
    let listing = in_namespace(SEND, &closed);
    assert_eq!(counted(&listing, "counter all"), 2, "{listing}");
    assert_eq!(counted(&listing, "chain forward"), 0, "{listing}");

    // `tproxy` alone fails open: the last line of the proxy's chain is what closes it.
    let open = closed.replace("\t\tdrop\n\t}", "\t}");
    assert_ne!(open, closed);
    let listing = in_namespace(SEND, &open);
    assert_eq!(counted(&listing, "chain forward"), 2, "{listing}");
}

#[test]
fn the_second_packet_of_an_unanswered_flow_is_not_judged_again() {
    if !can_load() {
        return;
    }
    let mut ir = policy(Governs {
        forward: true,
        ..Governs::default()
    });
    ir.filter = vec![
        rule(Stage::Filter, "judged", udp(9), Verdict::Allow),
        rule(Stage::Filter, "rest", Cube::any(), Verdict::Deny),
    ];
    // Both datagrams from one port make one flow.
    let one_flow = SEND.replace(
        "bash -c \"$send; sleep 0.1; $send\"",
        "bash -c 'exec 3>/dev/udp/10.8.0.9/9; echo x >&3; sleep 0.1; echo x >&3'",
    );
    assert_ne!(one_flow, SEND);
    let listing = in_namespace(&one_flow, &script(&ir));
    assert_eq!(counted(&listing, "counter judged"), 1, "{listing}");
    assert_eq!(counted(&listing, "chain forward"), 2, "{listing}");
}

/// How many of two datagrams to two destinations pass a rule that has a bucket for one.
fn passed_with_room_for_one(sense: Sense, full: Sense) -> u32 {
    let mut ir = policy(Governs {
        forward: true,
        ..Governs::default()
    });
    let (verdict, other) = match sense {
        Sense::Within => (Verdict::Allow, Verdict::Deny),
        Sense::Over => (Verdict::Deny, Verdict::Allow),
    };
    let mut limited = rule(Stage::Filter, "limited", udp(9), verdict);
    limited.limits.push(Limit { sense, bucket: 0 });
    ir.buckets.push(Bucket {
        name: "small".into(),
        rate: Rate::Packets {
            count: 10,
            per: TimeUnit::Second,
            burst: 5,
        },
        key: Some(Key {
            kind: KeyKind::Dest,
            v4: 32,
            v6: 128,
        }),
        max: Some(1),
        idle: None,
        full,
        span: limited.span,
    });
    ir.filter = vec![limited, rule(Stage::Filter, "rest", Cube::any(), other)];
    let two = SEND.replace("sleep 0.1; $send", "echo x > /dev/udp/10.8.0.10/9");
    assert_ne!(two, SEND);
    counted(&in_namespace(&two, &script(&ir)), "chain forward")
}

#[test]
fn a_key_without_room_counts_as_the_bucket_says() {
    if !can_load() {
        return;
    }
    assert_eq!(passed_with_room_for_one(Sense::Within, Sense::Over), 1);
    assert_eq!(passed_with_room_for_one(Sense::Within, Sense::Within), 2);
    assert_eq!(passed_with_room_for_one(Sense::Over, Sense::Over), 1);
    assert_eq!(passed_with_room_for_one(Sense::Over, Sense::Within), 2);
}
