//! Judging with told answers.

use std::collections::BTreeMap;

use polc_compiler::field::{CT_MARK, CT_STATE};
use polc_compiler::interpret::{Ask, Packet, RuleId, State, Tokens, judge};
use polc_compiler::ir::Stage;

use super::machine::{Build, Machine, RST, tcp, udp};

const TEXT: &str = "set bad as source = {} dynamic
                    bucket b = 1/h burst 1
                    guard on eth0 {
                      match tcp/23 add @bad as remember
                      deny from @bad        as bad
                      default allow
                    }
                    to host {
                      allow ssh within b    as ssh
                      deny to @bad          as to-bad
                      default deny          as rest
                    }";

fn told(within: bool, source: bool, dest: bool, packet: &Packet) -> String {
    let m = Machine::new(TEXT);
    let members = BTreeMap::from([((0, false), source), ((0, true), dest)]);
    let mut state = State::oracle([within], members);
    state.trace = true;
    // Nothing is remembered: every time the same.
    let mut say = || m.short(&judge(&m.ir, packet, &mut state, 0));
    let first = say();
    assert_eq!(say(), first);
    first
}

#[test]
fn buckets_and_sets_answer_as_told() {
    let ssh = tcp("192.0.2.1:1", "198.51.100.1:22");
    assert_eq!(told(true, false, false, &ssh), "allow ssh");
    assert_eq!(told(false, false, false, &ssh), "deny rest");
    assert_eq!(told(false, false, true, &ssh), "deny to-bad");
    assert_eq!(told(true, true, false, &ssh), "deny bad");
}

#[test]
fn what_the_packet_itself_adds_is_in_the_set() {
    let telnet = tcp("192.0.2.1:1", "198.51.100.1:23");
    assert_eq!(told(true, false, false, &telnet), "deny bad");
}

#[test]
fn the_packet_says_what_the_lookup_finds_and_none_is_invalid() {
    let ssh = tcp("192.0.2.1:1", "198.51.100.1:22");
    assert_eq!(
        told(true, false, false, &ssh.clone().flags(RST)),
        "allow ssh"
    );
    let known = ssh.set(CT_STATE, 1).set(CT_MARK, 7);
    assert_eq!(told(false, false, false, &known), "allow (established)");
    assert_eq!(
        told(true, false, false, &known.clone().set(CT_STATE, 2)),
        "allow (related)"
    );
    assert_eq!(
        told(true, false, false, &known.set(CT_STATE, 3)),
        "allow ssh"
    );
}

/// What an oracle says that has so many tokens, or has them up to a place, is what a machine says
/// that has as many left.
#[test]
fn tokens_that_are_told_are_taken_like_others() {
    let text = "bucket b = 1/h burst 3
                to host {
                  match udp within b            as drain
                  match tcp within b            as one
                  deny ssh over b               as two
                  match tcp/80 log \"x\" at b   as three
                  deny tcp over b               as four
                  allow tcp                     as five
                  default deny                  as rest
                }";
    let asked = |index| Ask {
        rule: RuleId {
            stage: Stage::Filter,
            index,
        },
        nth: 0,
    };
    for (port, places) in [("22", [1, 2, 4]), ("80", [1, 3, 4]), ("443", [1, 4, 9])] {
        let packet = tcp("192.0.2.1:1", &format!("198.51.100.1:{port}"));
        for left in 0..=3u8 {
            let mut machine = Machine::new(text);
            for port in left..3 {
                let drained = machine.says(&udp(&format!("192.0.2.1:{port}"), "198.51.100.1:9"));
                assert_eq!(drained, "deny rest");
            }
            let wanted = machine.says(&packet);
            let end = places.get(usize::from(left)).map(|at| asked(*at));
            let tokens = [
                Tokens::Left(left.into()),
                end.map_or(Tokens::Enough, Tokens::Until),
            ];
            for tokens in tokens {
                let mut state = State::oracle([tokens], BTreeMap::new());
                state.trace = true;
                for _ in 0..2 {
                    let said = machine.short(&judge(&machine.ir, &packet, &mut state, 0));
                    assert_eq!(said, wanted, "{port} with {tokens:?}");
                }
            }
        }
    }
}
