//! Removing, and what must stay.

use polc_runtime_loader::lab::Namespace;
use polc_runtime_loader::{Removed, remove};

use crate::apply::routing;
use crate::support::{State, ip, kernel, nft, privileged, sample};

#[test]
fn everything_of_ours_goes_and_nothing_else() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    nft(
        &namespace,
        "add table inet other; add chain inet other c; add table ip polc",
    );
    // The same selector with another mark, and the same protocol-less form.
    ip(
        &namespace,
        "rule add pref 100 iif lan0 fwmark 0x2/0xff lookup 100",
    );
    ip(
        &namespace,
        "-6 rule add pref 101 fwmark 0x1/0xff lookup 100",
    );
    ip(
        &namespace,
        "route add local 198.51.100.0/24 dev lo table 99",
    );
    let before = kernel(&namespace);
    let mut policy = sample();
    policy.routing = routing(100);
    state.apply(&namespace, &policy.bundle()).unwrap();
    let removed = remove(Some(namespace.name()), Some(state.path())).unwrap();
    assert!(removed.table && removed.state);
    assert_eq!(removed.routing.len(), 4);
    assert_eq!(kernel(&namespace), before);
    let status = state.status(&namespace);
    assert!(status.in_step && !status.table && status.committed.is_none());

    let again = remove(Some(namespace.name()), Some(state.path())).unwrap();
    assert_eq!(again, Removed::default());
    assert!(again.is_empty());
}
