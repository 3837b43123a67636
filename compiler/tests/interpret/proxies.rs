//! Transparent proxies.

use polc_compiler::interpret::{Packet, Steered};
use polc_compiler::ir::cube::PrincipalKind;

use super::machine::{ACK, Build, Machine, SYN, icmp, tcp, udp};

fn text(down: &str) -> String {
    format!(
        "zone lan = br0
         proxy box {{
           listen tcp, udp at 192.0.2.1:12345, [::]:12345
           mark   0x1/0xff
           table  100
           bypass user proxybox
           down   {down}
         }}
         steer {{
           direct to 10.0.0.0/8                as inside
           proxy  tcp, udp from lan via box    as lan
           deny   udp/443 from lan             as quic
           proxy  tcp from host via box        as own
         }}
         from lan {{ deny tcp as no-tcp  default allow as lan-rest }}
         default allow as rest"
    )
}

fn from_lan() -> Packet {
    tcp("192.168.1.20:40000", "203.0.113.1:443").way("br0", "eth0")
}

#[test]
fn a_flow_goes_to_its_proxy_with_its_mark_and_filter_is_not_asked() {
    let mut m = Machine::new(&text("deny"));
    let decision = m.judge(&from_lan());
    assert_eq!(decision.steered, Some(Steered::Proxy(0)));
    assert_eq!(
        (m.short(&decision), decision.mark),
        ("allow lan".to_owned(), 1)
    );
    let later = m.judge(&from_lan().flags(ACK));
    assert_eq!((later.steered, later.mark), (Some(Steered::Proxy(0)), 1));
    assert_eq!(m.judge(&from_lan().answer()).mark, 0);
    // Only TCP and UDP can be proxied.
    let ping = icmp(8, 0, "192.168.1.20", "203.0.113.1").way("br0", "eth0");
    assert_eq!(m.says(&ping), "allow lan-rest");
    let inside = tcp("192.168.1.20:40000", "10.0.0.1:443").way("br0", "eth0");
    assert_eq!(m.says(&inside), "deny no-tcp");
}

#[test]
fn a_proxy_takes_what_is_for_other_machines() {
    let mut m = Machine::new(&text("deny"));
    let here = tcp("192.168.1.20:40000", "192.168.1.1:443").way("br0", "host");
    assert_eq!(m.says(&here), "deny no-tcp");
    let group = udp("192.168.1.20:40000", "224.0.0.251:5353").way("br0", "host");
    assert_eq!(m.says(&group), "allow lan-rest");
    let mut m = Machine::new(&text("deny").replace("from lan via", "from lan to host via"));
    assert_eq!(m.says(&here), "allow lan");
}

#[test]
fn while_nobody_listens_flows_are_denied_or_go_their_way() {
    let mut m = Machine::new(&text("deny"));
    let known = from_lan();
    assert_eq!(m.says(&known), "allow lan");
    m.state.set_proxy(0, false);
    let other = tcp("192.168.1.20:40001", "203.0.113.1:443").way("br0", "eth0");
    assert_eq!(m.says(&other), "deny lan");
    assert_eq!(m.says(&known.clone().flags(ACK)), "deny (proxydown)");
    m.state.set_proxy(0, true);
    assert_eq!(m.says(&known.clone().flags(ACK)), "allow (established)");

    let mut m = Machine::new(&text("direct"));
    let known = known.flags(SYN);
    assert_eq!(m.says(&known), "allow lan");
    let marked = |m: &mut Machine| m.judge(&known.clone().flags(ACK)).mark;
    assert_eq!(marked(&mut m), 1);
    m.state.set_proxy(0, false);
    assert_eq!(m.says(&known.clone().flags(ACK)), "allow (established)");
    assert_eq!(
        (marked(&mut m), m.goes(&known.clone().flags(ACK))),
        (0, "direct".to_owned())
    );
    let decision = m.judge(&other);
    // Steer has decided: it goes direct, unmarked, and filter judges it.
    assert_eq!(
        (m.short(&decision), decision.mark),
        ("deny no-tcp".to_owned(), 0)
    );
    let quic = udp("192.168.1.20:40001", "203.0.113.1:443").way("br0", "eth0");
    assert_eq!(m.says(&quic), "allow lan-rest");
    assert_eq!(
        m.goes(&udp("192.168.1.20:2", "203.0.113.1:443").way("br0", "eth0")),
        "direct"
    );
}

#[test]
fn senders_that_bypass_are_never_captured() {
    let mut m = Machine::new(&text("deny"));
    let sent =
        |port: u16| tcp(&format!("198.51.100.1:{port}"), "203.0.113.1:443").way("host", "eth0");
    assert_eq!(m.goes(&sent(1)), "proxy via box");
    assert_eq!(
        m.goes(&sent(2).by(PrincipalKind::User, "proxybox")),
        "direct"
    );
    assert_eq!(
        m.says(&sent(3).by(PrincipalKind::User, "proxybox")),
        "allow rest"
    );
}

#[test]
fn nobody_reaches_the_socket_of_a_proxy_from_outside() {
    let mut m = Machine::new(&text("deny"));
    let to = |socket: &str| {
        let from = if socket.starts_with('[') {
            "[2001:db8::9]:1"
        } else {
            "203.0.113.1:1"
        };
        tcp(from, socket)
    };
    assert_eq!(m.says(&to("192.0.2.1:12345")), "deny (proxysocket)");
    assert_eq!(m.says(&to("[2001:db8::1]:12345")), "deny (proxysocket)");
    assert_eq!(m.says(&to("192.0.2.2:12345")), "allow rest");
    assert_eq!(m.says(&to("192.0.2.1:12346")), "allow rest");
}
