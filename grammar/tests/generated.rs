//! Properties over generated policies: every text of the generator parses, formatting keeps its
//! tree and comments, and formatting again changes nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly"
)]

use polc_grammar::{format, parse};
use proptest::prelude::*;
use proptest::sample::select;

/// Tokens, to be joined with blanks of any kind.
type Tokens = Vec<String>;

fn one(words: &'static [&'static str]) -> BoxedStrategy<Tokens> {
    select(words)
        .prop_map(|word| word.split(' ').map(str::to_owned).collect())
        .boxed()
}

fn word(text: &str) -> BoxedStrategy<Tokens> {
    Just(text.split(' ').map(str::to_owned).collect::<Tokens>()).boxed()
}

/// One strategy's tokens behind another's.
fn chain(parts: Vec<BoxedStrategy<Tokens>>) -> BoxedStrategy<Tokens> {
    parts
        .into_iter()
        .reduce(|left, right| (left, right).prop_map(|(l, r)| [l, r].concat()).boxed())
        .unwrap()
}

fn maybe(part: BoxedStrategy<Tokens>) -> BoxedStrategy<Tokens> {
    prop::option::of(part)
        .prop_map(Option::unwrap_or_default)
        .boxed()
}

fn list(part: BoxedStrategy<Tokens>) -> BoxedStrategy<Tokens> {
    prop::collection::vec(part, 1..4)
        .prop_map(|parts| parts.join(&",".to_owned()))
        .boxed()
}

fn name() -> BoxedStrategy<Tokens> {
    one(&[
        "lan", "wan", "web-in", "tomcat", "lib.web", "_x", "at", "burst", "a--b", "X9",
    ])
}

fn addr() -> BoxedStrategy<Tokens> {
    let v4 = any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}"));
    let v6 = any::<[u16; 8]>().prop_map(|groups| std::net::Ipv6Addr::from(groups).to_string());
    let some6 = select(&["::", "::1", "fd00::", "2001:db8::1", "::ffff:10.0.0.1"][..])
        .prop_map(str::to_owned);
    prop_oneof![
        v4.clone(),
        (v4.clone(), 0..=32_u8).prop_map(|(ip, len)| format!("{ip}/{len}")),
        (v4.clone(), v4).prop_map(|(low, high)| format!("{low}-{high}")),
        v6.clone(),
        some6.clone(),
        (some6, 0..=128_u8).prop_map(|(ip, len)| format!("{ip}/{len}")),
        v6.prop_map(|ip| format!("{ip}-{ip}")),
    ]
    .prop_map(|addr| vec![addr])
    .boxed()
}

fn set_ref() -> BoxedStrategy<Tokens> {
    one(&["@admins", "@set", "@lib.known", "@x"])
}

fn set_body() -> BoxedStrategy<Tokens> {
    let elements = prop::collection::vec(prop_oneof![4 => addr(), 1 => set_ref()], 0..12);
    (elements, any::<bool>())
        .prop_map(|(elements, trailing)| {
            let trailing = trailing && !elements.is_empty();
            let mut tokens = vec!["{".to_owned()];
            tokens.extend(elements.join(&",".to_owned()));
            tokens.extend(trailing.then(|| ",".to_owned()));
            tokens.push("}".to_owned());
            tokens
        })
        .boxed()
}

fn num() -> BoxedStrategy<Tokens> {
    one(&["0", "7", "4k", "64M", "1G", "0x2a", "limit"])
}

fn port() -> BoxedStrategy<Tokens> {
    one(&["80", "67-68", "echo-request", "redirect", "alt"])
}

fn service() -> BoxedStrategy<Tokens> {
    prop_oneof![
        name(),
        one(&["tcp", "udp", "icmp", "esp", "udplite"]),
        chain(vec![one(&["tcp", "udp", "proto", "my"]), word("/"), port()]),
        chain(vec![
            one(&["tcp", "icmp"]),
            word("/ {"),
            list(port()),
            word("}")
        ]),
    ]
    .boxed()
}

fn ends() -> BoxedStrategy<Tokens> {
    let end = prop_oneof![one(&["any", "host"]), name(), addr(), set_ref(), set_body()];
    chain(vec![maybe(word("not")), list(end.boxed())])
}

fn ifaces() -> BoxedStrategy<Tokens> {
    let iface = one(&["eth0", "wg*", "eth2.30", "br-*", "\"0eth\"", "wan_if", "*"]);
    chain(vec![maybe(word("not")), list(iface)])
}

fn rate_lit() -> BoxedStrategy<Tokens> {
    let key = one(&["per source", "per dest / 24", "per pair / 24 , / 56"]);
    let paced = chain(vec![
        num(),
        maybe(one(&["packets", "bytes", "flows"])),
        word("/"),
        one(&["s", "min", "h", "d"]),
        maybe(chain(vec![word("burst"), num()])),
        maybe(key.clone()),
    ]);
    prop_oneof![paced, chain(vec![num(), word("flows"), maybe(key)])].boxed()
}

fn rate() -> BoxedStrategy<Tokens> {
    prop_oneof![rate_lit(), name()].boxed()
}

fn condition() -> BoxedStrategy<Tokens> {
    let field = one(&["tcp.flags", "ip.ttl", "udp.sport", "ct.state", "a.b"]);
    let value = one(&[
        "syn",
        "syn+ack",
        "0x2a",
        "67-68",
        "fd00::/8",
        "10.0.0.1",
        "redirect",
        "aa:bb:cc:dd:ee:ff",
    ]);
    let operator = one(&["==", "!=", "<", "<=", ">", ">=", "has"]);
    let leaf = prop_oneof![
        field.clone(),
        chain(vec![field.clone(), operator, value.clone()]),
        chain(vec![field, word("in {"), list(value), word("}")]),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            chain(vec![word("not"), inner.clone()]),
            chain(vec![word("("), inner.clone(), word(")")]),
            chain(vec![inner.clone(), one(&["and", "or"]), inner]),
        ]
    })
    .boxed()
}

/// Targets, all with a port or all without.
fn targets() -> BoxedStrategy<Tokens> {
    let sockets = one(&[
        "10.0.0.1:80",
        "[fd00::1]:443",
        ":15006",
        "10.0.0.1:web_port",
        ":p",
    ]);
    let plain = one(&["10.0.0.1", "fd00::1", "net fd00::/64", ":15006"]);
    let either = prop_oneof![set_ref(), name()].boxed();
    prop_oneof![
        list(prop_oneof![sockets, either.clone()].boxed()),
        list(prop_oneof![plain, either].boxed()),
    ]
    .boxed()
}

fn meta() -> BoxedStrategy<Tokens> {
    let note = select(&["\"a note\"", "\"# no \\\" comment { \\\\\""][..])
        .prop_map(|text| vec!["note".to_owned(), text.to_owned()]);
    prop_oneof![
        note,
        one(&[
            "owner ops",
            "ticket NET-88",
            "expires 2027-01-31",
            "review 2026-02-03"
        ])
    ]
    .boxed()
}

fn clause() -> BoxedStrategy<Tokens> {
    let services = || list(service());
    prop_oneof![
        chain(vec![one(&["from", "to", "to original"]), ends()]),
        chain(vec![one(&["in", "out"]), ifaces()]),
        chain(vec![
            word("by"),
            one(&["user a", "gid 5 , 6", "cgroup \"a/b\"", "user proxy"])
        ]),
        chain(vec![one(&["within", "over"]), rate()]),
        chain(vec![word("when"), condition()]),
        chain(vec![word("except"), services()]),
        one(&[
            "only v4",
            "only v6",
            "count",
            "and allow",
            "with tcp-reset",
            "via box",
            "via table 200"
        ]),
        chain(vec![
            word("=>"),
            targets(),
            maybe(one(&[
                "balance source",
                "balance random",
                "balance roundrobin"
            ])),
        ]),
        chain(vec![
            word("mark"),
            num(),
            maybe(chain(vec![word("/"), num()]))
        ]),
        chain(vec![word("add"), set_ref()]),
        chain(vec![
            word("log"),
            maybe(word("\"x\"")),
            maybe(chain(vec![word("at"), rate()]))
        ]),
        chain(vec![word("as"), name()]),
        meta(),
    ]
    .boxed()
}

fn clauses(least: usize) -> BoxedStrategy<Tokens> {
    prop::collection::vec(clause(), least..4)
        .prop_map(|all| all.concat())
        .boxed()
}

fn verb() -> BoxedStrategy<Tokens> {
    one(&[
        "allow",
        "deny",
        "reject",
        "match",
        "direct",
        "redirect",
        "dnat",
        "snat",
        "masquerade",
        "proxy",
        "route",
        "notrack",
    ])
}

/// A piece of a policy: tokens, and what stands in its block.
#[derive(Clone, Debug)]
struct Piece {
    head: Tokens,
    body: Option<Vec<Piece>>,
}

fn leaf(tokens: impl Strategy<Value = Tokens> + 'static) -> BoxedStrategy<Piece> {
    tokens.prop_map(|head| Piece { head, body: None }).boxed()
}

fn stmt() -> BoxedStrategy<Piece> {
    let rule = leaf(chain(vec![verb(), maybe(list(service())), clauses(0)]));
    let default = leaf(chain(vec![word("default"), verb(), clauses(0)]));
    let apply = leaf(chain(vec![
        word("apply"),
        name(),
        word("("),
        list(value()),
        word(")"),
    ]));
    prop_oneof![6 => rule, 1 => default, 1 => apply]
        .prop_recursive(2, 6, 3, |inner| {
            (clauses(1), prop::collection::vec(inner, 0..3)).prop_map(|(head, body)| Piece {
                head,
                body: Some(body),
            })
        })
        .boxed()
}

fn value() -> BoxedStrategy<Tokens> {
    prop_oneof![
        name(),
        addr(),
        set_body(),
        rate_lit().prop_filter("starts with a digit", |tokens| tokens[0] != "limit"),
        one(&[
            "4k",
            "10m",
            "\"text\"",
            "wg*",
            ":80",
            "[::1]:80",
            "tcp / 80",
            "@a + @b - { }"
        ]),
    ]
    .boxed()
}

fn set_expr() -> BoxedStrategy<Tokens> {
    let term = || prop_oneof![set_body(), set_ref(), addr(), word("file( \"a\" , \"b\" )")].boxed();
    let more = (one(&["+", "-", "&"]), term()).prop_map(|(op, term)| [op, term].concat());
    (term(), prop::collection::vec(more, 0..3))
        .prop_map(|(first, more)| [first, more.concat()].concat())
        .boxed()
}

fn step() -> BoxedStrategy<Piece> {
    let flow = one(&[
        "tcp 10.0.0.1:1 -> host:22",
        "udp reply host -> [fd00::1]:5",
        "icmp/echo-request 2001:db8::1 -> 10.0.0.1",
    ]);
    let qualifiers = || {
        let one = one(&[
            "in eth0",
            "out wg0",
            "by user x",
            "flags syn+ack",
            "via box",
            "rule r",
        ]);
        prop::collection::vec(one, 0..3)
            .prop_map(|all| all.concat())
            .boxed()
    };
    let expect = chain(vec![
        verb(),
        flow.clone(),
        qualifiers(),
        maybe(word("=> :80")),
    ]);
    let send = chain(vec![
        word("send 20 in 1s"),
        flow,
        qualifiers(),
        word("=> allow 6 , deny 14"),
    ]);
    prop_oneof![leaf(expect), leaf(send)].boxed()
}

fn block(head: BoxedStrategy<Tokens>, part: BoxedStrategy<Piece>) -> BoxedStrategy<Piece> {
    (head, prop::collection::vec(part, 0..5))
        .prop_map(|(head, body)| Piece {
            head,
            body: Some(body),
        })
        .boxed()
}

fn item() -> BoxedStrategy<Piece> {
    let section = || {
        chain(vec![
            maybe(word("stateless")),
            one(&["from", "to"]),
            ends(),
            clauses(0),
        ])
    };
    let option = one(&[
        "listen tcp , udp at 127.0.0.1:1 , [::1]:1",
        "mark 0x1 / 0xff",
        "table 100",
        "bypass user p uid 5",
        "down deny",
    ]);
    let param = || {
        chain(vec![
            name(),
            word(": t"),
            maybe(chain(vec![word("="), value()])),
        ])
    };
    prop_oneof![
        4 => block(section(), stmt()),
        1 => block(prop_oneof![word("guard"), chain(vec![word("guard on"), ifaces()])].boxed(), stmt()),
        1 => block(one(&["steer", "egress"]), stmt()),
        1 => block(chain(vec![word("proxy"), name()]), leaf(option)),
        1 => block(word("test \"t\""), step()),
        1 => block(
            chain(vec![word("template"), name(), word("("), list(param()), word(")")]),
            stmt(),
        ),
        1 => leaf(chain(vec![word("policy"), name(), maybe(meta())])),
        1 => leaf(chain(vec![word("use \"a.pol\""), maybe(word("as lib"))])),
        1 => leaf(chain(vec![word("param"), param()])),
        2 => leaf(chain(vec![
            word("set"),
            one(&["a", "bb", "test", "c as source"]),
            word("="),
            set_expr(),
            maybe(one(&["dynamic idle 10m max 64k", "max 5"])),
            maybe(meta()),
        ])),
        1 => leaf(chain(vec![word("service"), name(), word("="), list(service())])),
        1 => leaf(chain(vec![
            word("zone"), name(), word("="), ifaces(), maybe(chain(vec![word("net"), set_expr()])),
        ])),
        1 => leaf(chain(vec![
            word("bucket"), name(), word("="), rate_lit(), maybe(one(&["max 5", "idle 3s full over"])),
        ])),
        1 => leaf(chain(vec![word("default"), verb(), clauses(0)])),
        1 => leaf(one(&["strict icmp", "strict tcp", "raw nft \"x\""])),
        1 => leaf(chain(vec![
            one(&["ensure", "never", "protect"]), verb(), maybe(list(service())), clauses(0),
        ])),
    ]
    .boxed()
}

/// Writes pieces with blanks, line ends and comments chosen by `noise`.
struct Writer<'n> {
    out: String,
    noise: &'n [u8],
    at: usize,
}

impl Writer<'_> {
    fn next(&mut self) -> u8 {
        self.at += 1;
        self.noise[self.at % self.noise.len()]
    }

    /// Between two tokens of a statement: whatever it is, it is indented deeper than the start.
    fn between(&mut self, depth: usize, left: &str, right: &str) {
        let tight = [left, right].iter().any(|token| matches!(*token, "," | "/" | "(" | ")" | "{" | "}"))
            // These would grow together with what stands before or behind.
            && !right.starts_with('-');
        let deep = " ".repeat(4 * depth + 6);
        let blank = match self.next() {
            0..=9 => format!("\n{deep}"),
            10..=13 => format!(" # a comment {{\n{deep}"),
            14..=16 => format!("\n{deep}# own line\n{deep}"),
            17..=30 => "   ".to_owned(),
            31..=90 if tight => String::new(),
            _ => " ".to_owned(),
        };
        self.out.push_str(&blank);
    }

    fn piece(&mut self, piece: &Piece, depth: usize) {
        self.out.push_str(&" ".repeat(4 * depth));
        for pair in piece.head.windows(2) {
            self.out.push_str(&pair[0]);
            self.between(depth, &pair[0], &pair[1]);
        }
        self.out.extend(piece.head.last().cloned());
        if let Some(body) = &piece.body {
            self.out.push_str(" {");
            let flat = self.next() > 160 && body.iter().all(|piece| piece.body.is_none());
            for piece in body {
                self.out.push_str(if flat { " " } else { "\n" });
                self.piece(piece, if flat { 0 } else { depth + 1 });
            }
            self.out.push_str(if flat { " }" } else { "\n}" });
        }
        match self.next() {
            0..=20 => self.out.push_str(" # behind\n"),
            21..=30 => self.out.push_str("\n\n\n  # between\n\n"),
            31..=60 => self.out.push_str("\n\n"),
            _ => {}
        }
    }
}

fn policy() -> impl Strategy<Value = String> {
    let noise = prop::collection::vec(any::<u8>(), 64);
    (prop::collection::vec(item(), 1..5), noise).prop_map(|(items, noise)| {
        let mut writer = Writer {
            out: String::new(),
            noise: &noise,
            at: 0,
        };
        for item in &items {
            writer.out.push('\n');
            writer.piece(item, 0);
        }
        writer.out
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn formatting_is_the_identity_on_trees(text in policy()) {
        let parsed = parse(&text);
        prop_assert_eq!(&parsed.errors, &[], "{}", text);
        let once = match format(&text) {
            Ok(once) => once,
            Err(error) => return Err(TestCaseError::fail(format!("{error}: {text}"))),
        };
        let again = parse(&once);
        prop_assert_eq!(&again.errors, &[]);
        prop_assert_eq!(&parsed.file.items, &again.file.items);
        let comments = |file: &polc_grammar::ast::File| -> Vec<String> {
            file.comments.iter().map(|comment| comment.text.node.clone()).collect()
        };
        prop_assert_eq!(comments(&parsed.file), comments(&again.file));
        let twice = format(&once).unwrap();
        prop_assert_eq!(&once, &twice, "{}", text);
        for line in once.lines() {
            prop_assert_eq!(line.trim_end(), line, "no blanks at line ends");
        }
    }

    #[test]
    fn leaving_out_a_token_is_reported_or_still_a_policy(text in policy(), cut in any::<prop::sample::Index>()) {
        let words: Vec<(usize, &str)> = text.match_indices(|c: char| !c.is_whitespace()).collect();
        let (at, character) = words[cut.index(words.len())];
        let mut broken = text.clone();
        broken.replace_range(at..at + character.len(), "");
        let parsed = parse(&broken);
        for error in &parsed.errors {
            prop_assert!(broken.get(error.span.range()).is_some());
            prop_assert!(!error.message.is_empty());
        }
        if parsed.errors.is_empty() {
            prop_assert!(format(&broken).is_ok(), "{}", broken);
        }
    }
}
