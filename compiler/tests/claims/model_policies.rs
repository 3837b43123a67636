//! The claims of the model policies.

use polc_compiler::{Options, compile};

use super::{Disk, Proved};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");

fn model_policy(name: &str, knows_users: bool) -> Proved {
    let path = format!("{name}.pol");
    let text = std::fs::read_to_string(format!("{ROOT}/{path}")).expect("a policy");
    let users = [("postfix", 101), ("proxybox", 812)].map(|(n, id)| (n.to_owned(), id));
    let options = Options {
        as_of: "2026-01-01".into(),
        users: users.into_iter().filter(|_| knows_users).collect(),
        ..Options::default()
    };
    Proved::of(compile(&path, &text, &Disk(Some(ROOT)), &options))
}

#[test]
fn claims_of_the_model_policies_are_proven() {
    for name in [
        "ddos",
        "edge-router",
        "home-router",
        "host",
        "sidecar",
        "tproxy-gateway",
    ] {
        for knows_users in [true, false] {
            let words = model_policy(name, knows_users).words();
            assert!(!words.is_empty(), "{name}");
            for word in words {
                assert_eq!(word, "proven", "{name}");
            }
        }
    }
}
