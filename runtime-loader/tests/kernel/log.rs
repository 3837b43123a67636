//! What programs write into the ring, and who reads it.

use std::time::{Duration, SystemTime};

use polc_bundle::ProgramHook;
use polc_runtime_loader::log::{self, Entry, Log, LogError, Verdict};
use polc_runtime_loader::remove;

use crate::host::Host;
use crate::object::{Filter, LOG_ID, program};
use crate::support::{privileged, sample};

/// Long enough for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A policy that logs what leaves by `one0`.
fn logging() -> Filter {
    let mut filter = Filter::at("one0");
    filter.programs = vec![program("log_out", ProgramHook::Egress, "one0")];
    filter.state = vec!["log".to_owned(), "log_lost".to_owned()];
    filter
}

fn open(host: &Host) -> Result<Log, LogError> {
    Log::open(Some(host.namespace.name()), Some(host.state.path()))
}

fn all(log: &mut Log) -> Vec<Entry> {
    std::iter::from_fn(|| log.take())
        .map(Result::unwrap)
        .collect()
}

#[test]
fn entries_are_read_once_with_their_names() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = logging();
    let before = SystemTime::now();
    host.apply(&filter);
    host.send(2);
    // The ring is kept, and so is what nobody has read.
    filter.step = 2;
    host.apply(&filter);
    host.send(1);
    let mut log = open(&host).unwrap();
    let entries = all(&mut log);
    assert_eq!(entries.len(), 3);
    for entry in &entries {
        let expected = Entry {
            time: entry.time,
            log_id: LOG_ID,
            interface: host.index("one0"),
            bytes: 60,
            hook: ProgramHook::Egress,
            verdict: Some(Verdict::Deny),
            protocol: 17,
            source: [192, 0, 2, 1].into(),
            destination: [192, 0, 2, 2].into(),
            source_port: 4000,
            destination_port: 53,
        };
        assert_eq!(*entry, expected);
        let time = log::time(entry).unwrap();
        assert!(time >= before - Duration::from_millis(10) && time <= SystemTime::now());
    }
    assert!(entries.is_sorted_by_key(|entry| entry.time));
    let rule = log.rule(LOG_ID).unwrap().unwrap();
    assert_eq!(
        (rule.name.as_str(), rule.source.as_str()),
        ("logged", "p.pol:3")
    );
    assert_eq!(log.rule(LOG_ID + 1).unwrap(), None);
    let index = host.index("one0");
    assert_eq!(log.interface(index).unwrap(), Some("one0"));
    assert_eq!(log.interface(12_345).unwrap(), None);
    assert_eq!(all(&mut open(&host).unwrap()), [], "they were read");
    assert_eq!(log.lost().unwrap(), 0);
}

#[test]
fn what_finds_no_room_is_counted() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    host.apply(&logging());
    host.send(100);
    let mut log = open(&host).unwrap();
    let read = all(&mut log).len() as u64;
    assert!((50..=57).contains(&read), "4096 bytes hold {read} entries");
    assert_eq!(read + log.lost().unwrap(), 100);
    host.send(1);
    assert_eq!(all(&mut log).len(), 1);
}

#[test]
fn a_reader_sleeps_until_there_is_something() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = logging();
    host.apply(&filter);
    let mut log = open(&host).unwrap();
    assert!(!log.wait(Duration::from_millis(10)).unwrap());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (log.wait(PATIENCE).unwrap(), all(&mut log).len()));
        host.send(1);
        assert_eq!(reader.join().unwrap(), (true, 1));
    });

    // An apply that makes another ring does not leave the reader behind.
    filter.state = Vec::new();
    host.apply(&filter);
    filter.state = logging().state;
    host.apply(&filter);
    host.send(1);
    assert!(
        !log.wait(Duration::from_millis(10)).unwrap(),
        "the old ring is empty"
    );
    assert!(log.wait(PATIENCE).unwrap());
    assert_eq!(all(&mut log).len(), 1);
}

#[test]
fn where_there_is_no_ring_the_error_says_what_there_is() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    assert!(matches!(open(&host), Err(LogError::NoPolicy)));
    host.apply(&Filter::at("one0"));
    let silent = open(&host).unwrap_err();
    assert!(matches!(silent, LogError::Silent { policy } if policy == "sample"));
    remove(Some(host.namespace.name()), Some(host.state.path())).unwrap();
    let mut policy = sample();
    policy.body = policy
        .body
        .replace("accept\n}", "log prefix \"it: \" group 6 accept\n}");
    host.state.apply(&host.namespace, &policy.bundle()).unwrap();
    let elsewhere = open(&host).unwrap_err();
    assert!(matches!(&elsewhere, LogError::Netlink { group, .. } if group == "6"));
    assert!(elsewhere.help().unwrap().contains("nflog:6"));
}
