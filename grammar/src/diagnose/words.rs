//! Grammar rules in people's words.

use super::Place;
use crate::grammar::Rule;
use crate::keyword::{CLAUSES, ITEMS, META, OPTIONS, PRINCIPALS, SHARED, VERBS};

/// What is expected where a rule of the grammar was tried; `None` for what is better left unsaid.
pub(super) fn words(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::item | Rule::only_item => "an item such as `set`, `steer` or `from … to … {`",
        Rule::stmt | Rule::only_stmt | Rule::rule_stmt | Rule::group => {
            "a statement such as `allow`, `deny` or `default`"
        }
        Rule::node | Rule::only_node => "an item or a statement",
        Rule::step | Rule::only_step | Rule::send | Rule::expect => {
            "a line such as `allow tcp 192.0.2.1 -> host:22`"
        }
        Rule::proxy_option | Rule::only_option => "`listen`, `mark`, `table`, `bypass` or `down`",
        Rule::verb => "a verb such as `allow` or `deny`",
        Rule::clause | Rule::clause_word => "a clause such as `from` or `as`",
        Rule::meta => "`note`, `owner`, `ticket`, `expires` or `review`",
        Rule::name | Rule::set_name => "a name",
        Rule::word | Rule::principal_word | Rule::rule_word => "a word",
        Rule::type_word => "a type",
        Rule::ends | Rule::end | Rule::end_word => {
            "a zone, `host`, `any`, `@set`, an address or `{ … }`"
        }
        Rule::ifaces | Rule::iface => "an interface",
        Rule::principal | Rule::principal_kind => "`user`, `group`, `uid`, `gid` or `cgroup`",
        Rule::services | Rule::service => "a service",
        Rule::ports | Rule::port | Rule::port_name | Rule::port_range => "a port",
        Rule::proto_name | Rule::proto_word | Rule::proto_ports | Rule::flow_proto => "a protocol",
        Rule::rate | Rule::rate_lit => "a rate such as `10/s`",
        Rule::unit => "`packets`, `bytes` or `flows`",
        Rule::flows => "`flows`",
        Rule::time_unit => "`s`, `min`, `h` or `d`",
        Rule::burst => "`burst`",
        Rule::key => "`per`",
        Rule::key_kind => "`source`, `dest` or `pair`",
        Rule::bits => "a prefix length",
        Rule::expr | Rule::conj | Rule::negation | Rule::cmp | Rule::is | Rule::field => {
            "a condition such as `tcp.flags == syn`"
        }
        Rule::cmp_op => "a comparison such as `==`",
        Rule::op_in => "`in { … }`",
        Rule::set_expr | Rule::set_term => "`{ … }`, `@set`, an address or `file(\"…\")`",
        Rule::set_ref => "`@set`",
        Rule::set_body => "`{ … }`",
        Rule::set_op => "`+`, `-` or `&`",
        Rule::set_option | Rule::bucket_option => "an option such as `max` or `idle`",
        Rule::target | Rule::socket | Rule::port_only => "a target such as `192.0.2.1:80` or `:80`",
        Rule::net_target => "`net`",
        Rule::addr => "an address",
        Rule::cmp_value
        | Rule::value
        | Rule::param_value
        | Rule::value_word
        | Rule::several_services => "a value",
        Rule::tparam => "a parameter such as `name: type`",
        Rule::endpoint => "`host`, an address or a socket",
        Rule::flow => "a flow such as `tcp 192.0.2.1 -> host:22`",
        Rule::qualifier => "a qualifier such as `in` or `rule`",
        Rule::outcome => "an outcome such as `allow 5`",
        Rule::num | Rule::number | Rule::mark => "a number",
        Rule::duration => "a duration such as `30s`",
        Rule::string | Rule::note => "a string in quotes",
        Rule::sense => "`within` or `over`",
        Rule::family => "`v4` or `v6`",
        Rule::balance => "`source`, `random` or `roundrobin`",
        Rule::down_kind => "`deny` or `direct`",
        Rule::strict_kind => "`icmp` or `tcp`",
        Rule::block | Rule::open => "`{`",
        Rule::close => "`}`",
        Rule::open_paren => "`(`",
        Rule::close_paren => "`)`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::slash => "`/`",
        Rule::assign => "`=`",
        Rule::arrow => "`->`",
        Rule::fat_arrow | Rule::went_to => "`=>`",
        rule => return keyword(rule).map(|(_, quoted)| quoted),
    })
}

/// The keyword of a `kw_…` rule, bare and in quotes.
fn keyword(rule: Rule) -> Option<(&'static str, &'static str)> {
    Some(match rule {
        Rule::kw_allow => ("allow", "`allow`"),
        Rule::kw_as => ("as", "`as`"),
        Rule::kw_at => ("at", "`at`"),
        Rule::kw_balance => ("balance", "`balance`"),
        Rule::kw_burst => ("burst", "`burst`"),
        Rule::kw_dynamic => ("dynamic", "`dynamic`"),
        Rule::kw_file => ("file", "`file`"),
        Rule::kw_full => ("full", "`full`"),
        Rule::kw_idle => ("idle", "`idle`"),
        Rule::kw_in => ("in", "`in`"),
        Rule::kw_max => ("max", "`max`"),
        Rule::kw_net => ("net", "`net`"),
        Rule::kw_on => ("on", "`on`"),
        Rule::kw_and => ("and", "`and`"),
        Rule::kw_or => ("or", "`or`"),
        Rule::kw_per => ("per", "`per`"),
        _ => return None,
    })
}

/// The keywords that could stand where these rules were tried.
pub(super) fn candidates(expected: &[Rule], place: Place) -> Vec<&'static str> {
    let mut all: Vec<&'static str> = Vec::new();
    for &rule in expected {
        match rule {
            Rule::clause | Rule::clause_word => all.extend(CLAUSES),
            Rule::verb => all.extend(VERBS),
            Rule::meta => all.extend(META),
            Rule::proxy_option => all.extend(OPTIONS),
            Rule::principal | Rule::principal_kind => all.extend(PRINCIPALS),
            Rule::unit => all.extend(["packets", "bytes", "flows"]),
            Rule::time_unit => all.extend(["s", "min", "h", "d"]),
            Rule::key => all.push("per"),
            Rule::burst => all.push("burst"),
            Rule::key_kind => all.extend(["source", "dest", "pair"]),
            Rule::set_option => {
                all.extend(["max", "idle", "dynamic"]);
                all.extend(META);
            }
            Rule::bucket_option => all.extend(["max", "idle", "full"]),
            Rule::balance => all.extend(["source", "random", "roundrobin"]),
            Rule::down_kind => all.extend(["deny", "direct"]),
            Rule::strict_kind => all.extend(["icmp", "tcp"]),
            Rule::qualifier => all.extend(["in", "out", "by", "flags", "via", "rule"]),
            Rule::op_in => all.push("in"),
            Rule::cmp_op => all.push("has"),
            Rule::max => all.push("max"),
            Rule::idle => all.push("idle"),
            Rule::full => all.push("full"),
            // At the end of a piece another one may start.
            Rule::item | Rule::node | Rule::stmt | Rule::EOI => starters(place, &mut all),
            rule => all.extend(keyword(rule).map(|(bare, _)| bare)),
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The words with which a piece can start in a place.
fn starters(place: Place, all: &mut Vec<&'static str>) {
    match place {
        Place::File => {
            all.extend(ITEMS.iter().chain(SHARED));
            all.extend(["from", "to", "proxy"]);
        }
        Place::Block => all.extend(VERBS.iter().chain(SHARED).chain(CLAUSES)),
        Place::Template => all.extend(VERBS.iter().chain(SHARED).chain(CLAUSES).chain(ITEMS)),
        Place::Test => {
            all.extend(VERBS);
            all.push("send");
        }
        Place::Proxy => all.extend(OPTIONS),
    }
}
