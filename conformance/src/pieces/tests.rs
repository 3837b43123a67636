//! Packets taken apart are put together as they were, and only such.

use super::*;
use crate::shot::tests::shot;
use crate::shot::{ESP, ICMP, ICMPV6, SCTP, TCP, UDP};
use polc_compiler::field::{DPORT, IP_FRAGMENT};
use polc_compiler::interpret::frame::{Frame, Link, Parsed, parse};

fn caught(packet: &[u8], mark: u32) -> Catch {
    Catch {
        by: Some("eth0".into()),
        mark,
        packet: packet.to_vec(),
    }
}

fn read(bytes: &[u8]) -> Parsed {
    parse(&Frame::whole(Link::Raw, bytes)).unwrap()
}

/// Packets of all kinds, in pieces.
fn cut_ones() -> impl Iterator<Item = Shot> {
    let mut rng = Rng::with_seed(7);
    let kinds = [TCP, UDP, ICMP, ICMPV6, SCTP, ESP].into_iter();
    let each = kinds.flat_map(|proto| [false, true].map(|v6| shot(proto, v6)));
    each.cycle().take(240).map(move |mut shot| {
        shot.cut = Some(Cut::some(&mut rng, &shot, false).unwrap());
        shot
    })
}

#[test]
fn the_first_piece_has_the_headers_and_all_are_fragments() {
    for shot in cut_ones() {
        let pieces = shot.pieces();
        assert!((2..=3).contains(&pieces.len()));
        let whole = read(&shot.bytes());
        for (number, piece) in pieces.iter().enumerate() {
            let parsed = read(piece);
            assert_eq!(parsed.fields[&IP_FRAGMENT], 1);
            assert_eq!((parsed.saddr, parsed.daddr), (whole.saddr, whole.daddr));
            let port = whole.fields.get(&DPORT).filter(|_| number == 0);
            assert_eq!(parsed.fields.get(&DPORT), port);
        }
        assert_eq!(read(&pieces[0]).proto, shot.proto);
    }
}

#[test]
fn pieces_make_the_packet_again_in_any_order() {
    for shot in cut_ones() {
        let mut seen: Vec<Catch> = shot.pieces().iter().map(|p| caught(p, 3)).collect();
        seen.reverse();
        let joined = join(seen, true);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].caught, caught(&shot.bytes(), 3));
        assert!(joined[0].is_whole());
    }
}

#[test]
fn what_lacks_a_piece_or_has_one_twice_is_not_whole() {
    for shot in cut_ones() {
        let pieces = shot.pieces();
        let all: Vec<Catch> = pieces.iter().map(|p| caught(p, 0)).collect();
        for lacking in 0..all.len() {
            let mut some = all.clone();
            some.remove(lacking);
            let joined = join(some, true);
            assert_eq!(joined.len(), 1);
            assert!(!joined[0].is_whole());
            assert_eq!(joined[0].begins(), lacking != 0);
        }
        let twice = [&all[..], &all[..1]].concat();
        assert!(!join(twice, true)[0].is_whole());
    }
}

#[test]
fn pieces_with_other_marks_or_headers_are_not_put_together() {
    for shot in cut_ones() {
        let pieces = shot.pieces();
        let seen = pieces.iter().zip(0..).map(|(p, mark)| caught(p, mark));
        let seen: Vec<Catch> = seen.collect();
        assert_eq!(join(seen.clone(), true).len(), pieces.len());
        assert_eq!(join(seen, false)[0].caught, caught(&shot.bytes(), 0));
        let other = Shot {
            service: 4,
            ..shot.clone()
        };
        let mixed = [&pieces[..1], &other.pieces()[1..]].concat();
        let joined = join(mixed.iter().map(|p| caught(p, 0)).collect(), true);
        assert!(joined.iter().all(|sighting| !sighting.is_whole()));
    }
}

#[test]
fn a_wrong_checksum_of_the_header_is_no_piece() {
    let shot = cut_ones().find(|shot| !shot.is_v6()).unwrap();
    let mut pieces = shot.pieces();
    pieces[0][10] ^= 1;
    assert_eq!(piece(&pieces[0]).map(|p| p.start), None);
    assert_eq!(piece(&pieces[1]).map(|p| p.more), Some(pieces.len() > 2));
}

#[test]
fn the_first_piece_leads_only_where_nothing_is_put_together() {
    let goes_on = |guarding: Guarding| {
        [[true, false], [false, true], [true, true]]
            .map(|admitted| guarding.goes_on(admitted.to_vec()))
    };
    let [none, all] = [vec![false; 2], vec![true; 2]];
    let (first, second) = (vec![true, false], vec![false, true]);
    assert_eq!(
        goes_on(Guarding::Together),
        [none.clone(), none.clone(), all.clone()]
    );
    assert_eq!(
        goes_on(Guarding::BehindFirst),
        [first.clone(), none, all.clone()]
    );
    assert_eq!(goes_on(Guarding::Alone), [first, second, all]);
}
