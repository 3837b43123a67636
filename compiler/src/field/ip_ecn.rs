//! Explicit congestion notification (RFC 3168).

use super::{FieldDef, Format, IpBits};

/// `ip.ecn`: whether the packet's ends know of it, and whether a router has met congestion.
pub(crate) static ECN: FieldDef = FieldDef::of_ip(
    "ip.ecn",
    Format::Names(&[("not-ect", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)]),
    IpBits {
        count: 2,
        v4: 14,
        v6: 10,
    },
);

#[cfg(test)]
mod tests {
    use polc_grammar::ast::CmpOp;

    use super::ECN;
    use crate::field::{Comparison, Field, FieldError, lower};
    use crate::interpret::frame::{Frame, Link, parse};
    use crate::packet::IntervalSet;

    /// A packet without payload.
    fn packet(v6: bool, service: u8) -> Vec<u8> {
        let mut packet = vec![0; if v6 { 40 } else { 20 }];
        if v6 {
            packet[0] = 0x60 | service >> 4;
            packet[1] = service << 4;
            packet[6] = 59;
        } else {
            packet[..4].copy_from_slice(&[0x45, service, 0, 20]);
            packet[9] = 253;
        }
        packet
    }

    #[test]
    fn it_is_the_lowest_bits_of_the_type_of_service() {
        for (v6, service) in (0..=255).flat_map(|service| [(false, service), (true, service)]) {
            let packet = packet(v6, service);
            let parsed = parse(&Frame::whole(Link::Raw, &packet)).unwrap();
            let found = parsed.fields.get(&Field::new(&ECN)).copied();
            assert_eq!(found, Some(u64::from(service & 3)), "{service:#x}");
        }
    }

    #[test]
    fn names_numbers_and_ranges_are_its_values() {
        let asked = |op, values: &[&'static str]| {
            let comparison = Comparison {
                def: &ECN,
                op,
                values: values.to_vec(),
            };
            let cubes = lower(&comparison)?;
            Ok::<_, FieldError>(cubes[0].field(Field::new(&ECN)).cloned())
        };
        let set =
            |values: &[u64]| Some(values.iter().map(|n| (*n, *n)).collect::<IntervalSet<_>>());
        assert_eq!(asked(CmpOp::Eq, &["ce"]), Ok(set(&[3])));
        assert_eq!(asked(CmpOp::Ne, &["not-ect"]), Ok(set(&[1, 2, 3])));
        assert_eq!(asked(CmpOp::In, &["ect0", "ect1"]), Ok(set(&[1, 2])));
        assert_eq!(asked(CmpOp::In, &["0-1", "ce"]), Ok(set(&[0, 1, 3])));
        assert!(asked(CmpOp::Eq, &["4"]).is_err());
        assert!(asked(CmpOp::Lt, &["2"]).is_err());
    }
}
