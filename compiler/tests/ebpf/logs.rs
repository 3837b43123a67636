//! Log entries, and marks, of programs in the kernel.

use polc_compiler::target::ebpf::Hook;

use super::kernel::{Entry, possible};
use super::rates::{from, loaded, passing};

#[test]
fn entries_say_what_was_logged() {
    if !possible() {
        return;
    }
    let text = "guard {
                  match udp/1 log as seen
                  allow udp/2 log as passed
                  deny udp/3 log as stopped
                  deny udp/4 log at 1/h burst 2 as seldom
                  deny udp/5 log at 1/h burst 1 per source as each
                  default allow
                }";
    for (hook, number) in [(Hook::Xdp, 0), (Hook::Ingress, 1)] {
        let (loaded, name) = loaded(text, hook);
        let mut ids = Vec::new();
        for (source, port, passed, verdict) in [
            ("192.0.2.1", 1, 1, 0),
            ("192.0.2.2", 2, 1, 1),
            ("2001:db8::3", 3, 0, 2),
        ] {
            let frame = from(source, port);
            assert_eq!(passing(&loaded, &name, &frame, 1), passed);
            let [entry] = loaded.logged().try_into().unwrap();
            let v6 = source.contains(':');
            let expected = Entry {
                time: entry.time,
                id: entry.id,
                bytes: u32::try_from(frame.len() - 14).unwrap(),
                numbers: [number, if v6 { 6 } else { 4 }, 17, verdict],
                source: source.parse().unwrap(),
                dest: if v6 { "2001:db8:9::1" } else { "198.51.100.1" }
                    .parse()
                    .unwrap(),
                ports: [7, port],
            };
            assert_eq!(entry, expected);
            ids.push(entry.id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 3);
        let count = |source: &str, port| {
            assert_eq!(passing(&loaded, &name, &from(source, port), 5), 0);
            loaded.logged().len()
        };
        assert_eq!(count("192.0.2.1", 4), 2);
        for source in ["192.0.2.1", "192.0.2.9", "2001:db8::3"] {
            assert_eq!(count(source, 5), 1);
        }
        assert_eq!(loaded.lost(), 0);
    }
}

#[test]
fn entries_without_room_are_counted() {
    if !possible() {
        return;
    }
    let (loaded, name) = loaded("guard { deny udp/1 log  default allow }", Hook::Xdp);
    assert_eq!(passing(&loaded, &name, &from("192.0.2.1", 1), 5_000), 0);
    let (written, lost) = (loaded.logged().len() as u64, loaded.lost());
    assert!(written > 3_000 && lost > 0, "{written} and {lost}");
    assert_eq!(written + lost, 5_000);
}

#[test]
fn marks_are_set_under_their_masks() {
    if !possible() {
        return;
    }
    let text = "guard {
                  match udp/1 mark 0x50/0xf0
                  allow udp mark 0x80000000/0x80000000
                  default allow
                }";
    let (loaded, name) = loaded(text, Hook::Ingress);
    let mark = |port, before| loaded.mark(&name, &from("192.0.2.1", port), before);
    assert_eq!(mark(1, 0xfff), 0x8000_0f5f);
    assert_eq!(mark(2, 0xfff), 0x8000_0fff);
}
