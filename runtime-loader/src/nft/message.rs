//! Messages of the kernel's `nf_tables` subsystem: requests that list, and the answers.
//!
//! Numbers and names are those of the kernel's `nfnetlink.h` and `nf_tables.h`. nftnl wraps no
//! listing of rules and no counter objects, so these few messages are put together here.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
    NlaBuffer, NlasIterator,
};

/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
/// `NFPROTO_INET`
const PROTOCOL_INET: u8 = 1;
/// The length of `struct nfgenmsg`.
const HEADER: usize = 4;

const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_GETOBJ: u16 = 19;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_OBJ_TABLE: u16 = 1;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

const NFT_OBJECT_COUNTER: u32 = 1;
/// `NFTNL_UDATA_RULE_COMMENT`: the comment's type among a rule's user data.
const USERDATA_COMMENT: u8 = 0;

/// A message: its type and what follows the netlink header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    kind: u16,
    body: Vec<u8>,
}

impl Message {
    /// Asks for the tables of the family `inet`.
    pub(super) fn list_tables() -> Self {
        Self::request(NFT_MSG_GETTABLE, &[])
    }

    /// Asks for the rules of a chain.
    pub(super) fn list_rules(table: &str, chain: &str) -> Self {
        let attributes = [text(NFTA_RULE_TABLE, table), text(NFTA_RULE_CHAIN, chain)];
        Self::request(NFT_MSG_GETRULE, &attributes)
    }

    /// Asks for the counter objects of a table.
    pub(super) fn list_counters(table: &str) -> Self {
        let kind = NFT_OBJECT_COUNTER.to_be_bytes().to_vec();
        let attributes = [
            text(NFTA_OBJ_TABLE, table),
            DefaultNla::new(NFTA_OBJ_TYPE, kind),
        ];
        Self::request(NFT_MSG_GETOBJ, &attributes)
    }

    fn request(kind: u16, attributes: &[DefaultNla]) -> Self {
        let mut body = vec![0; HEADER + attributes.buffer_len()];
        if let Some((header, rest)) = body.split_at_mut_checked(HEADER) {
            header.copy_from_slice(&[PROTOCOL_INET, 0, 0, 0]);
            attributes.emit(rest);
        }
        Self {
            kind: SUBSYSTEM | kind,
            body,
        }
    }

    /// The name in a table's message.
    pub(super) fn table_name(&self) -> Option<String> {
        string(&self.attribute(NFTA_TABLE_NAME)?)
    }

    /// The comment in a rule's message.
    pub(super) fn rule_comment(&self) -> Option<String> {
        comment(&self.attribute(NFTA_RULE_USERDATA)?)
    }

    /// The name, packets and bytes in a counter's message.
    pub(super) fn counter(&self) -> Option<(String, u64, u64)> {
        let name = string(&self.attribute(NFTA_OBJ_NAME)?)?;
        let data = self.attribute(NFTA_OBJ_DATA)?;
        let packets = number(&find(&data, NFTA_COUNTER_PACKETS)?)?;
        let bytes = number(&find(&data, NFTA_COUNTER_BYTES)?)?;
        Some((name, packets, bytes))
    }

    fn attribute(&self, kind: u16) -> Option<Vec<u8>> {
        find(self.body.get(HEADER..)?, kind)
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        for (to, from) in buffer.iter_mut().zip(&self.body) {
            *to = *from;
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: header.message_type,
            body: payload.to_vec(),
        })
    }
}

fn text(kind: u16, value: &str) -> DefaultNla {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(kind, bytes)
}

/// The value of the first attribute of this kind.
fn find(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute: &NlaBuffer<&[u8]>| attribute.kind() == kind)
        .map(|attribute| attribute.value().to_vec())
}

/// Text up to its first zero byte.
fn string(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

/// A number of eight bytes in network order.
fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The comment among a rule's user data: entries of a type byte, a length byte and that many
/// bytes.
fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let (value, next) = rest.split_at_checked(usize::from(*length))?;
        if *kind == USERDATA_COMMENT {
            return string(value);
        }
        userdata = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_among_other_user_data() {
        assert_eq!(comment(b"\x01\x02ab\x00\x04abc\0"), Some("abc".to_owned()));
        assert_eq!(comment(b"\x01\x02ab"), None);
    }

    #[test]
    fn broken_messages_are_nothing() {
        for body in [
            &b""[..],
            b"\x01",
            b"\x01\0\0\0\xff\xff",
            b"\x01\0\0\0\x05\0\x07\0",
        ] {
            let message = Message {
                kind: SUBSYSTEM,
                body: body.to_vec(),
            };
            assert_eq!(message.table_name(), None);
            assert_eq!(message.rule_comment(), None);
            assert_eq!(message.counter(), None);
        }
        assert_eq!(comment(b"\x00\xff"), None);
    }
}
