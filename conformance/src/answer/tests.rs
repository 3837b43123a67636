//! Right answers are taken for such, and each way in which one can be wrong is seen.

use std::net::IpAddr;

use fastrand::Rng;
use polc_runtime_loader::lab::Catch;

use super::*;
use crate::pieces::Sighting;
use crate::shot::{End, UDP};
use crate::subject::Subject;
use crate::tag::tag;

const POLICY: &str = "zone lan = eth0\n\
    to host, lan { default reject }\n\
    from host { default allow }\n\
    default deny\n";

fn net() -> Net {
    let subject = Subject::new(POLICY).unwrap();
    Net::around(&subject.ir, &mut Rng::with_seed(1))
}

fn end(v4: &str, v6: &str, six: bool, port: u16) -> End {
    let addr = if six { v6 } else { v4 }.parse().unwrap();
    End { addr, port }
}

fn attempt(proto: u8, six: bool, flags: u8) -> Attempt {
    let shot = Shot {
        number: 513,
        source: end("203.0.113.9", "2001:db8:77::9", six, 4000),
        dest: end("203.0.113.77", "2001:db8:77::7", six, 53),
        proto,
        kind: [0; 2],
        flags,
        mss: None,
        ttl: 9,
        service: 0,
        options: 0,
        unsummed: false,
        payload: 31,
        quote: None,
        cut: None,
    };
    let way = Way::In(0);
    Attempt {
        shot,
        way,
        part: None,
    }
}

/// A packet with right checksums.
fn packet(source: IpAddr, dest: IpAddr, proto: u8, mut rest: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap();
    let seen = Header::of((source, dest), proto, &rest);
    let start = match proto {
        ICMP => 0,
        _ => pseudo_header(&seen, proto),
    };
    let at = if proto == TCP { TCP_SUM } else { 2 };
    let right = (!sum(&rest, start)).to_be_bytes();
    rest[at..at + 2].copy_from_slice(&right);
    let mut out = Vec::new();
    if source.is_ipv4() {
        out.extend([0x45, 0]);
        out.extend((20 + length).to_be_bytes());
        out.extend([0, 0, 0x40, 0, 64, proto, 0, 0]);
        out.extend([octets(source), octets(dest)].concat());
        let right = (!sum(&out, 0)).to_be_bytes();
        out[10..12].copy_from_slice(&right);
    } else {
        out.extend([0x60, 0, 0, 0]);
        out.extend(length.to_be_bytes());
        out.extend([proto, 64]);
        out.extend([octets(source), octets(dest)].concat());
    }
    out.extend(rest);
    out
}

/// The segment that resets another one, without checksum.
fn resetting(shot: &Shot, (number, acknowledges): (u32, u32), flags: u8) -> Vec<u8> {
    let ports = [shot.dest.port, shot.source.port].map(u16::to_be_bytes);
    let numbers = [number, acknowledges].map(u32::to_be_bytes);
    let tail = [0x50, flags, 0, 0, 0, 0, 0, 0];
    [ports.as_flattened(), numbers.as_flattened(), &tail].concat()
}

/// The message that nobody is at a packet's port, without checksum.
fn unreachable(shot: &Shot) -> Vec<u8> {
    let kind = if shot.is_v6() { [1, 4] } else { [3, 3] };
    [&kind[..], &[0; 6], &shot.bytes()].concat()
}

/// What is said of an answer that is seen at the interface.
fn said(backend: Backend, attempt: &Attempt, by: Option<usize>, packet: Vec<u8>) -> String {
    let net = net();
    let by = by.map(|at| net.interfaces[at].name.clone());
    let catch = Catch {
        by,
        mark: 0,
        packet,
    };
    let seen = Sighting {
        caught: catch,
        places: vec![],
    };
    let answer = Answer {
        tag: tag(&seen),
        catch: &seen.caught,
    };
    let refusal = match (attempt.shot.proto, attempt.shot.is_v6()) {
        (TCP, _) => Refusal::Reset,
        (_, true) => Refusal::Icmp(1, 4),
        (_, false) => Refusal::Icmp(3, 3),
    };
    let fate = Fate::Refused(refusal);
    let compared = compare((&net, backend), attempt, &fate, &[answer]);
    compared.map_or_else(|(_, what)| what, |()| "right".to_owned())
}

/// The interface where the sender of these packets is.
fn home(attempt: &Attempt) -> usize {
    net().leads(attempt.shot.source.addr, MAIN).unwrap()
}

#[test]
fn right_answers_are_right() {
    for six in [false, true] {
        // Of a first segment, the payload counts, too.
        for (flags, numbers, with) in [
            (SYN, (0, 513 + 32), RST | ACK),
            (0, (0, 513 + 31), RST | ACK),
            (SYN | FIN, (0, 513 + 33), RST | ACK),
            (ACK, (ACKNOWLEDGED, 0), RST),
        ] {
            let attempt = attempt(TCP, six, flags);
            let shot = &attempt.shot;
            let rest = resetting(shot, numbers, with);
            let whole = packet(shot.dest.addr, shot.source.addr, TCP, rest);
            let at = Some(home(&attempt));
            assert_eq!(
                said(Backend::Nftables, &attempt, at, whole.clone()),
                "right"
            );
            assert_eq!(said(Backend::Ebpf, &attempt, Some(0), whole), "right");
        }
        let attempt = attempt(UDP, six, 0);
        let shot = &attempt.shot;
        let icmp = icmp_of(shot.source.addr);
        let own = net().address(0, shot.source.addr);
        let from = |addr| packet(addr, shot.source.addr, icmp, unreachable(shot));
        let at = Some(home(&attempt));
        assert_eq!(said(Backend::Nftables, &attempt, at, from(own)), "right");
        let end = from(shot.dest.addr);
        assert_eq!(said(Backend::Ebpf, &attempt, Some(0), end), "right");
    }
}

/// What is said of a reset that is changed before it gets its checksum.
fn of_reset(change: impl Fn(&mut Vec<u8>)) -> String {
    let attempt = attempt(TCP, false, SYN);
    let shot = &attempt.shot;
    let mut rest = resetting(shot, (0, 513 + 32), RST | ACK);
    change(&mut rest);
    let whole = packet(shot.dest.addr, shot.source.addr, TCP, rest);
    said(Backend::Nftables, &attempt, Some(home(&attempt)), whole)
}

#[test]
fn wrong_resets_are_seen() {
    assert_eq!(of_reset(|_| {}), "right");
    let numbers = "its reset has other numbers";
    // A port, what it acknowledges, and a flag.
    for at in [0, 11, 13] {
        assert_eq!(of_reset(|rest| rest[at] ^= 2), numbers, "{at}");
    }
    assert_eq!(of_reset(|rest| rest[19] = 1), "its reset is not one alone");
    assert_eq!(of_reset(|rest| rest.push(0)), "its reset is not one alone");

    let attempt = attempt(TCP, false, SYN);
    let shot = &attempt.shot;
    let at = Some(home(&attempt));
    let rest = resetting(shot, (0, 513 + 32), RST | ACK);
    let right = packet(shot.dest.addr, shot.source.addr, TCP, rest.clone());
    let elsewhere = Some(home(&attempt) ^ 1);
    let told = |packet, by| said(Backend::Nftables, &attempt, by, packet);
    for by in [elsewhere, None] {
        assert_eq!(told(right.clone(), by), "its answer went elsewhere");
    }
    let mut wrong = right.clone();
    wrong[10] ^= 1;
    let header = "its answer has a header with another checksum";
    assert_eq!(told(wrong, at), header);
    let mut wrong = right.clone();
    wrong[37] ^= 1;
    assert_eq!(told(wrong, at), "its reset has another checksum");
    let other: IpAddr = "203.0.113.1".parse().unwrap();
    let wrong = packet(shot.dest.addr, other, TCP, rest.clone());
    assert_eq!(told(wrong, at), "its answer is for somebody else");
    let wrong = packet(other, shot.source.addr, TCP, rest);
    assert_eq!(told(wrong, at), "it was reset in another's name");
}

#[test]
fn wrong_errors_are_seen() {
    for six in [false, true] {
        let attempt = attempt(UDP, six, 0);
        let shot = &attempt.shot;
        let icmp = icmp_of(shot.source.addr);
        let at = Some(home(&attempt));
        let told = |from: IpAddr, rest: Vec<u8>| {
            let packet = packet(from, shot.source.addr, icmp, rest);
            said(Backend::Nftables, &attempt, at, packet)
        };
        let dest = shot.dest.addr;
        assert_eq!(told(dest, unreachable(shot)), "right");
        let other = end("203.0.113.1", "2001:db8:77::1", six, 0).addr;
        let name = "it was answered in another's name";
        assert_eq!(told(other, unreachable(shot)), name);
        // Only Netfilter speaks in the machine's own name.
        let own = net().address(0, dest);
        let whole = packet(own, shot.source.addr, icmp, unreachable(shot));
        assert_eq!(said(Backend::Ebpf, &attempt, Some(0), whole), name);

        let ip = shot.header();
        let translated = shot.between(
            End {
                addr: own,
                ..shot.source
            },
            shot.dest,
        );
        let another = "its error quotes another packet";
        assert_eq!(told(dest, unreachable(&translated)), another);
        let something = "its error quotes something else";
        for at in [0, 7, 12] {
            let mut wrong = unreachable(shot);
            wrong[ICMP_HEADER + ip + at] ^= 1;
            assert_eq!(told(dest, wrong), something);
        }
        let mut cut = unreachable(shot);
        cut.truncate(ICMP_HEADER + ip + LEAST_QUOTED - 1);
        assert_eq!(told(dest, cut), something);

        let mut wrong = packet(dest, shot.source.addr, icmp, unreachable(shot));
        wrong[ip + 2] ^= 1;
        let sum = "its error has another checksum";
        assert_eq!(said(Backend::Nftables, &attempt, at, wrong), sum);
    }
}

#[test]
fn nobody_answers_what_passed() {
    let catch = Catch {
        by: None,
        mark: 0,
        packet: Vec::new(),
    };
    let here = end("203.0.113.9", "::1", false, 1);
    let answer = Answer {
        tag: Tag::Reset(here, here),
        catch: &catch,
    };
    let proxied = Some(Steered::Proxy(0));
    assert!(none_to(Exit::Left(0), None, &[]).is_ok());
    assert!(none_to(Exit::Left(0), None, &[answer]).is_err());
    assert!(none_to(Exit::Here, None, &[answer]).is_ok());
    assert!(none_to(Exit::Here, proxied, &[answer]).is_err());
    assert!(none_astray(&[answer], 1).is_ok());
    assert!(none_astray(&[answer], 0).is_err());
}
