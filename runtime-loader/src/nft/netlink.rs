//! The table through netlink and libnftnl, without the `nft` program.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use nftnl::{Batch, MsgType, ProtoFamily, Table};

use super::message::Message;
use super::{Counter, GENERATION_CHAIN, NftError, TABLE, TableAccess, generation_in};
use crate::netlink::Connection;
use crate::netns::Netns;

/// The kernel's `nf_tables` subsystem in a network namespace.
#[derive(Debug)]
pub(crate) struct NftNetlink<'a> {
    netns: &'a Netns,
}

impl<'a> NftNetlink<'a> {
    pub(crate) fn new(netns: &'a Netns) -> Self {
        Self { netns }
    }

    fn open(&self) -> Result<Connection<Message>, NftError> {
        let opened = self.netns.run(|| Connection::open(NETLINK_NETFILTER))?;
        opened.map_err(refused("open the nf_tables subsystem"))
    }

    fn dump(&self, action: &'static str, request: &Message) -> Result<Vec<Message>, NftError> {
        let mut connection = self.open()?;
        let parts = connection.dump(|| request.clone());
        parts.map_err(refused(action))
    }
}

impl TableAccess for NftNetlink<'_> {
    fn exists(&self) -> Result<bool, NftError> {
        let tables = self.dump("list tables", &Message::list_tables())?;
        let mut names = tables.iter().filter_map(Message::table_name);
        Ok(names.any(|name| name == TABLE))
    }

    fn generation(&self) -> Result<Option<String>, NftError> {
        let request = Message::list_rules(TABLE, GENERATION_CHAIN);
        let rules = self.dump("read the generation", &request)?;
        Ok(rules
            .iter()
            .filter_map(Message::rule_comment)
            .find_map(|comment| generation_in(&comment)))
    }

    fn counters(&self) -> Result<BTreeMap<String, Counter>, NftError> {
        let objects = self.dump("read the counters", &Message::list_counters(TABLE))?;
        Ok(objects
            .iter()
            .filter_map(Message::counter)
            .map(|(name, packets, bytes)| (name, Counter { packets, bytes }))
            .collect())
    }

    fn delete(&self) -> Result<bool, NftError> {
        if !self.exists()? {
            return Ok(false);
        }
        let action = "delete the table";
        let name = CString::new(TABLE).map_err(|error| refused(action)(error.into()))?;
        let table = Table::new(name, ProtoFamily::Inet);
        let mut batch = Batch::new();
        batch.add(&table, MsgType::Del);
        let bytes: Vec<u8> = batch.finalize().iter().flatten().copied().collect();
        self.open()?.batch(&bytes).map_err(refused(action))?;
        Ok(true)
    }
}

fn refused(action: &'static str) -> impl FnOnce(io::Error) -> NftError {
    move |source| NftError::Kernel { action, source }
}

#[cfg(test)]
mod tests {
    use super::super::binary::NftBinary;
    use super::*;
    use crate::lab::{Namespace, running_as_root};

    /// Both ways must tell the same.
    fn agree<T: PartialEq + std::fmt::Debug>(
        netns: &Netns,
        ask: impl Fn(&dyn TableAccess) -> Result<T, NftError>,
    ) -> T {
        let answer = ask(&NftNetlink::new(netns)).unwrap();
        assert_eq!(ask(&NftBinary::new(netns)).unwrap(), answer);
        answer
    }

    #[test]
    fn netlink_and_the_program_agree() {
        if !running_as_root() {
            assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
            eprintln!("SKIPPED: kernel tests need root");
            return;
        }
        let namespace = Namespace::new().unwrap();
        let netns = Netns::open(Some(namespace.name())).unwrap();
        assert!(!agree(&netns, |table| table.exists()));
        assert_eq!(agree(&netns, |table| table.generation()), None);
        assert!(agree(&netns, |table| table.counters()).is_empty());
        assert!(!NftNetlink::new(&netns).delete().unwrap());

        let script = "table inet polc {\ncounter a {\npackets 3 bytes 180\n}\n\
                      counter b {\npackets 18446744073709551615 bytes 7\n}\n\
                      quota q {\n10 mbytes\n}\n}\n";
        let binary = NftBinary::new(&netns);
        binary.load(script).unwrap();
        assert!(agree(&netns, |table| table.exists()));
        assert_eq!(agree(&netns, |table| table.generation()), None);
        let counters = agree(&netns, |table| table.counters());
        assert_eq!(counters.len(), 2);
        assert_eq!(counters["a"].packets, 3);

        let id = "0123456789abcdef0123456789abcdef";
        binary
            .load(&format!(
                "table inet polc {{\nchain generation {{\nreturn comment \"polc {id}\"\n}}\n}}\n\
                 table inet polcs {{\ncounter c {{\n}}\n}}\n\
                 table ip polc {{\ncounter d {{\n}}\n}}\n"
            ))
            .unwrap();
        let generation = agree(&netns, |table| table.generation());
        assert_eq!(generation.as_deref(), Some(id));
        assert_eq!(agree(&netns, |table| table.counters()).len(), 2);

        assert!(NftNetlink::new(&netns).delete().unwrap());
        assert!(!agree(&netns, |table| table.exists()));
        let rest = namespace.output("nft", &["list", "tables"]).unwrap();
        assert_eq!(rest, "table inet polcs\ntable ip polc\n");
    }
}
