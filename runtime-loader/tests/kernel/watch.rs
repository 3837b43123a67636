//! Interfaces that come while a policy is watched.

#![expect(
    clippy::unwrap_used,
    reason = "test support: what fails here is a broken test"
)]

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::scope;
use std::time::{Duration, Instant};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use polc_bundle::ClassEntry;
use polc_runtime_loader::watch::{End, Event, watch};
use polc_runtime_loader::{Stop, remove};

use crate::apply::routing;
use crate::host::Host;
use crate::object::Filter;
use crate::support::{ip, privileged};

/// Long enough for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A watch in a thread of its own.
struct Watching {
    thread: Pthread,
    /// What it has added and attached each time, or why it could not.
    told: Receiver<Vec<String>>,
}

impl Watching {
    /// Waits until it tells something like this.
    fn until(&self, expected: impl Fn(&[String]) -> bool) {
        while !expected(&self.told.recv_timeout(PATIENCE).unwrap()) {}
    }
}

impl Drop for Watching {
    /// Ends it as a user would.
    fn drop(&mut self) {
        let _ = pthread_kill(self.thread, Signal::SIGTERM);
    }
}

/// How a watch ends that goes on during `work`.
fn during(host: &Host, work: impl FnOnce(Watching)) -> End {
    let options = host.state.options(&host.namespace);
    scope(|scope| {
        let (tell, told) = channel();
        let (ready, is_ready) = channel();
        let thread = scope.spawn(move || {
            let stop = Stop::on_signals().unwrap();
            ready.send(pthread_self()).unwrap();
            let mut hear = |event: &Event| {
                let what = match event {
                    Event::Applied(applied) => {
                        let changes = &applied.changes;
                        [&changes.routing_added[..], &changes.attached].concat()
                    }
                    Event::Refused(error) => vec![error.to_string()],
                };
                let _ = tell.send(what);
            };
            watch(&options, &stop, &mut hear).unwrap()
        });
        let id = is_ready.recv().unwrap();
        work(Watching { thread: id, told });
        thread.join().unwrap()
    })
}

#[test]
fn an_interface_that_appears_gets_its_programs() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let mut filter = Filter::at("late*");
    filter.classes = vec![ClassEntry {
        pattern: "late*".to_owned(),
        number: 3,
    }];
    let generation = host.apply(&filter).generation;
    // It came before anybody watched.
    ip(&host.namespace, "link add late0 type bridge");
    let both = |name: &str| {
        [
            format!("program count_out at {name} (egress)"),
            format!("program count_in at {name} (ingress)"),
        ]
    };
    let end = during(&host, |watching| {
        watching.until(|told| told == both("late0"));
        ip(&host.namespace, "link add other0 type bridge");
        ip(&host.namespace, "link set other0 name late1");
        watching.until(|told| told == both("late1"));
        let expected = [host.index("late0"), host.index("late1")].map(|index| (index, 3));
        assert_eq!(host.numbers(&generation), expected.into());
        ip(&host.namespace, "link delete late1");
        ip(&host.namespace, "link add late2 type bridge");
        watching.until(|told| told == both("late2"));
    });
    assert_eq!(end, End::Stopped);
    assert!(
        host.state.status(&host.namespace).in_step,
        "all stays in force"
    );
    assert_eq!(host.links().len(), 4, "those of `late1` have gone");
}

#[test]
fn a_watch_goes_on_after_a_refusal_and_ends_with_its_policy() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    host.apply(&Filter::at("tun*"));
    let end = during(&host, |watching| {
        ip(&host.namespace, "tuntap add mode tun name tun9");
        ip(&host.namespace, "link set tun9 up");
        watching.until(|told| told.iter().any(|why| why.contains("Ethernet")));
        ip(&host.namespace, "link set tun9 down");
        ip(&host.namespace, "tuntap add mode tap name tun8");
        watching.until(|told| told.len() == 2);
        // The watch may be at work.
        let remove = || remove(Some(host.namespace.name()), Some(host.state.path()));
        while let Err(error) = remove() {
            assert!(error.to_string().contains("another polc"), "{error}");
        }
        ip(&host.namespace, "link delete tun9");
        // It ends by itself.
        let told = watching.told.recv_timeout(PATIENCE);
        assert_eq!(told, Err(RecvTimeoutError::Disconnected));
    });
    assert_eq!(end, End::Over);
}

/// The programs know an address as soon as it is one that others can send to.
#[test]
fn addresses_are_followed() {
    if !privileged() {
        return;
    }
    let host = Host::new();
    let generation = host.apply(&Filter::at("one*")).generation;
    let one0 = host.index("one0");
    host.namespace
        .sysctl("net/ipv6/conf/one0/disable_ipv6", "0")
        .unwrap();
    let until = |index: u32, expected: Option<[u64; 4]>| {
        let end = Instant::now() + PATIENCE;
        while host.addresses(&generation).get(&index) != expected.as_ref() {
            assert!(Instant::now() < end, "{:?}", host.addresses(&generation));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let (v6, v4) = ([0, 0, 0x9, 0x2001_0db8_0000_0000], [0xc000_0201, 0, 0, 0]);
    let both = [v4[0], 0, v6[2], v6[3]];
    let end = during(&host, |_watching| {
        let ip = |line: &str| ip(&host.namespace, line);
        ip("address add 192.0.2.1/24 dev one0");
        until(one0, Some(v4));
        // At first it is only tried.
        ip("address add 2001:db8::9/64 dev one0");
        until(one0, Some(both));
        ip("address add 192.0.2.2/24 dev one0");
        ip("address del 192.0.2.1/24 dev one0");
        // The kernel takes the secondary addresses with it.
        until(one0, Some(v6));
        ip("address add 192.0.2.1/24 dev one0");
        until(one0, Some(both));
        ip("address change 2001:db8::9/64 dev one0 preferred_lft 0");
        until(one0, Some(v4));
        ip("address flush dev one0");
        until(one0, None);
        ip("link add late0 type bridge");
        ip("address add 192.0.2.1/24 dev late0");
        let late = host.index("late0");
        until(late, Some(v4));
        ip("link delete late0");
        until(late, None);
    });
    assert_eq!(end, End::Stopped);
    assert!(host.in_step());
}

/// Routes that went with `lo` come back with it.
#[test]
fn routing_that_is_lost_comes_back() {
    if !privileged() {
        return;
    }
    let host = Host::with_ipv6_loopback();
    let mut filter = Filter::at("one*");
    filter.routing = routing(100);
    host.apply(&filter);
    let end = during(&host, |watching| {
        ip(&host.namespace, "link set lo down");
        watching.until(|told| told.iter().any(|why| why.contains("`lo` is down")));
        ip(&host.namespace, "link set lo up");
        watching.until(|told| told.iter().any(|what| what.contains("route local default")));
    });
    assert_eq!(end, End::Stopped);
    assert!(host.in_step());
}
