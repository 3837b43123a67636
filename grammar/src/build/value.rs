//! Services, sets, rates, and the values of parameters.

use super::literal::reference;
use super::{Builder, has};
use crate::ast::{
    End, Ends, Ifaces, Key, KeyKind, Name, Port, Principal, PrincipalKind, Rate, RateLit, Sense,
    Service, SetExpr, SetOp, SetTerm, Spanned, TimeUnit, Unit, Value,
};
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Pair, Rule};

impl Builder<'_> {
    /// `service, …`
    pub(super) fn services(&mut self, pair: &Pair<'_>) -> Option<Vec<Spanned<Service>>> {
        self.each(pair, Rule::service, |this, pair| {
            this.spanned(pair, |this, pair| {
                let leaf = this.only(pair)?;
                match leaf.as_rule() {
                    Rule::name => Some(Service::Name(leaf.as_str().to_owned())),
                    Rule::proto_word => Some(Service::Proto {
                        proto: this.name(&leaf),
                        ports: None,
                    }),
                    Rule::proto_ports => this.proto_ports(&leaf),
                    _ => this.unknown(&leaf),
                }
            })
        })
    }

    fn proto_ports(&mut self, pair: &Pair<'_>) -> Option<Service> {
        let proto = self.child(pair, Rule::proto_name)?;
        let ports = self.child(pair, Rule::ports)?;
        let proto = self.name(&proto);
        let ports = self.each(&ports, Rule::port, |this, pair| {
            this.spanned(pair, Self::port)
        })?;
        Some(Service::Proto {
            proto,
            ports: Some(ports),
        })
    }

    fn port(&mut self, pair: &Pair<'_>) -> Option<Port> {
        let leaf = self.only(pair)?;
        match leaf.as_rule() {
            Rule::number => self.number(&leaf).map(Port::Num),
            Rule::port_name => Some(Port::Name(leaf.as_str().to_owned())),
            Rule::port_range => {
                let (first, last) = leaf.as_str().split_once('-').unwrap_or_default();
                if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
                    Some(Port::Range(first, last))
                } else {
                    let message = format!("the numbers of `{}` are too large", leaf.as_str());
                    let span = self.leaf_span(&leaf);
                    self.fail(SyntaxError::new(SyntaxErrorKind::Number, span, message))
                }
            }
            _ => self.unknown(&leaf),
        }
    }

    /// `not? end, …`
    pub(super) fn ends(&mut self, pair: &Pair<'_>) -> Option<Ends> {
        let pair = self.child(pair, Rule::ends)?;
        let list = self.each(&pair, Rule::end, |this, pair| this.spanned(pair, Self::end))?;
        Some(Ends {
            not: has(&pair, Rule::kw_not),
            list,
        })
    }

    fn end(&mut self, pair: &Pair<'_>) -> Option<End> {
        let leaf = self.only(pair)?;
        match leaf.as_rule() {
            Rule::end_word if leaf.as_str() == "any" => Some(End::Any),
            Rule::end_word => Some(End::Host),
            Rule::set_ref => Some(End::Ref(reference(&leaf))),
            Rule::set_body => Some(End::Body(self.set_body(&leaf))),
            Rule::addr => self.addr(&leaf).map(End::Addr),
            Rule::name => Some(End::Name(leaf.as_str().to_owned())),
            _ => self.unknown(&leaf),
        }
    }

    /// `not? iface, …`, from the child of `pair`.
    pub(super) fn ifaces(&mut self, pair: &Pair<'_>) -> Option<Ifaces> {
        let pair = self.child(pair, Rule::ifaces)?;
        let names = self.each(&pair, Rule::iface, |this, leaf| this.word(leaf))?;
        Some(Ifaces {
            not: has(&pair, Rule::kw_not),
            names,
        })
    }

    /// `user NAME, …`
    pub(super) fn principal(&mut self, pair: &Pair<'_>) -> Option<Principal> {
        let kind = self.child(pair, Rule::principal_kind)?;
        let span = self.leaf_span(&kind);
        let kind = match kind.as_str() {
            "user" => PrincipalKind::User,
            "group" => PrincipalKind::Group,
            "uid" => PrincipalKind::Uid,
            "gid" => PrincipalKind::Gid,
            "cgroup" => PrincipalKind::Cgroup,
            _ => return self.unknown(&kind),
        };
        let names = self.each(pair, Rule::principal_word, |this, leaf| this.word(leaf))?;
        Some(Principal {
            kind: Spanned::new(kind, span),
            names,
        })
    }

    /// Terms joined by `+`, `-` and `&`.
    pub(super) fn set_expr(&mut self, pair: &Pair<'_>) -> Option<SetExpr> {
        let mut first = None;
        let mut rest = Vec::new();
        let mut op = None;
        for part in pair.clone().into_inner() {
            if part.as_rule() == Rule::set_op {
                op = Some(match part.as_str() {
                    "+" => SetOp::Union,
                    "-" => SetOp::Difference,
                    _ => SetOp::Intersection,
                });
                continue;
            }
            let term = self.spanned(&part, Self::set_term);
            match op.take() {
                None => first = term,
                Some(op) => rest.extend(term.map(|term| (op, term))),
            }
        }
        Some(SetExpr {
            first: first?,
            rest,
        })
    }

    fn set_term(&mut self, pair: &Pair<'_>) -> Option<SetTerm> {
        let leaf = self.only(pair)?;
        match leaf.as_rule() {
            Rule::set_body => Some(SetTerm::Body(self.set_body(&leaf))),
            Rule::set_ref => Some(SetTerm::Ref(reference(&leaf))),
            Rule::addr => self.addr(&leaf).map(SetTerm::Addr),
            Rule::file_term => self
                .each(&leaf, Rule::string, |this, leaf| this.string(leaf))
                .map(SetTerm::File),
            _ => self.unknown(&leaf),
        }
    }

    /// A rate or the name of a bucket.
    pub(super) fn rate(&mut self, pair: &Pair<'_>) -> Option<Spanned<Rate>> {
        self.spanned(pair, |this, pair| {
            let leaf = this.only(pair)?;
            match leaf.as_rule() {
                Rule::name => Some(Rate::Bucket(leaf.as_str().to_owned())),
                Rule::rate_lit => this.rate_lit(&leaf).map(Rate::Lit),
                _ => this.unknown(&leaf),
            }
        })
    }

    /// `10 packets/s burst 20 per source`
    pub(super) fn rate_lit(&mut self, pair: &Pair<'_>) -> Option<RateLit> {
        let count = self.child(pair, Rule::num)?;
        let count = self.num(&count)?;
        let mut rate = RateLit {
            count,
            unit: None,
            per: None,
            burst: None,
            key: None,
        };
        for part in pair.clone().into_inner() {
            match part.as_rule() {
                Rule::num | Rule::slash => {}
                Rule::flows => rate.unit = Some(Unit::Flows),
                Rule::unit => {
                    rate.unit = Some(match part.as_str() {
                        "packets" => Unit::Packets,
                        "bytes" => Unit::Bytes,
                        _ => Unit::Flows,
                    });
                }
                Rule::time_unit => {
                    rate.per = Some(match part.as_str() {
                        "s" => TimeUnit::Second,
                        "min" => TimeUnit::Minute,
                        "h" => TimeUnit::Hour,
                        _ => TimeUnit::Day,
                    });
                }
                Rule::burst => {
                    let num = self.child(&part, Rule::num)?;
                    rate.burst = Some(self.num(&num)?);
                }
                Rule::key => rate.key = Some(self.key(&part)?),
                _ => return self.unknown(&part),
            }
        }
        Some(rate)
    }

    fn key(&mut self, pair: &Pair<'_>) -> Option<Key> {
        let kind = self.child(pair, Rule::key_kind)?;
        let kind = self.key_kind(&kind)?;
        let mut lengths = Vec::new();
        let leaves = pair
            .clone()
            .into_inner()
            .filter(|leaf| leaf.as_rule() == Rule::bits);
        for (leaf, most) in leaves.zip([32_u8, 128]) {
            match leaf.as_str().parse::<u8>() {
                Ok(bits) if bits <= most => lengths.push(bits),
                _ => {
                    let family = if most == 32 { "IPv4" } else { "IPv6" };
                    let message =
                        format!("`/{}` is longer than an {family} address", leaf.as_str());
                    let span = self.leaf_span(&leaf);
                    let error = SyntaxError::new(SyntaxErrorKind::Address, span, message)
                        .help("the first length is for IPv4, the second for IPv6: `/24,/56`");
                    return self.fail(error);
                }
            }
        }
        let mut lengths = lengths.into_iter();
        Some(Key {
            kind,
            v4: lengths.next(),
            v6: lengths.next(),
        })
    }

    pub(super) fn key_kind(&mut self, leaf: &Pair<'_>) -> Option<KeyKind> {
        match leaf.as_str() {
            "source" => Some(KeyKind::Source),
            "dest" => Some(KeyKind::Dest),
            "pair" => Some(KeyKind::Pair),
            _ => self.unknown(leaf),
        }
    }

    /// `within` or `over`.
    pub(super) fn sense(&mut self, leaf: &Pair<'_>) -> Option<Sense> {
        match leaf.as_str() {
            "within" => Some(Sense::Within),
            "over" => Some(Sense::Over),
            _ => self.unknown(leaf),
        }
    }

    /// The value of a parameter or an argument.
    pub(super) fn value(&mut self, pair: &Pair<'_>) -> Option<Spanned<Value>> {
        self.spanned(pair, |this, pair| {
            let leaf = this.only(pair)?;
            match leaf.as_rule() {
                Rule::value => this.value(&leaf).map(|value| value.node),
                Rule::several_services => this.services(&leaf).map(Value::Services),
                Rule::string => this.string(&leaf).map(|text| Value::Str(text.node)),
                Rule::rate_value => {
                    let rate = this.child(&leaf, Rule::rate_lit)?;
                    this.rate_lit(&rate).map(Value::Rate)
                }
                Rule::socket | Rule::port_only => this.socket(&leaf).map(Value::Target),
                Rule::set_expr => this.set_expr(&leaf).map(plain_address),
                Rule::proto_ports => {
                    let span = this.span(&leaf);
                    let service = this.proto_ports(&leaf)?;
                    Some(Value::Services(vec![Spanned::new(service, span)]))
                }
                Rule::duration => this.duration(&leaf).map(Value::Duration),
                Rule::number => this.number(&leaf).map(Value::Number),
                Rule::value_word => Some(Value::Word(leaf.as_str().to_owned())),
                _ => this.unknown(&leaf),
            }
        })
    }

    /// A name that is a child of `pair`.
    pub(super) fn name_of(&mut self, pair: &Pair<'_>) -> Option<Name> {
        let leaf = self.child(pair, Rule::name)?;
        Some(self.name(&leaf))
    }
}

/// A set that is one bare address is that address.
fn plain_address(expr: SetExpr) -> Value {
    match expr {
        SetExpr {
            first:
                Spanned {
                    node: SetTerm::Addr(addr),
                    ..
                },
            rest,
        } if rest.is_empty() => Value::Addr(addr),
        expr => Value::Set(expr),
    }
}
