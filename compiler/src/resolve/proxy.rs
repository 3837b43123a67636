//! Transparent proxies.

use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use polc_grammar::ast::{self, Down, Item, MarkLit, Num, ProxyOption, Spanned, Target};

use super::scope::Kind;
use super::{DefId, Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Cube, Mark, Proxy};
use crate::source::Span;

/// What a proxy's body has said so far.
#[derive(Default)]
struct Body {
    tcp: bool,
    udp: bool,
    v4: Option<(Ipv4Addr, u16)>,
    v6: Option<(Ipv6Addr, u16)>,
    mark: Option<Mark>,
    table: Option<u32>,
    bypass: Vec<Cube>,
    down: Option<Down>,
}

impl Resolver<'_> {
    /// The index of the proxy in the policy's table.
    pub(super) fn proxy(&mut self, id: &DefId, span: Span) -> Option<usize> {
        if let Some(known) = self.proxies.get(id) {
            return *known;
        }
        if !self.enter(Kind::Proxy, id, span) {
            return None;
        }
        let tree = self.tree(id.0);
        let item = self.item(Kind::Proxy, id).and_then(|at| tree.items.get(at));
        let proxy = match item.map(|i| &i.node) {
            Some(Item::Proxy(decl)) => self.proxy_decl(decl, id),
            _ => None,
        };
        self.leave();
        let index = proxy.map(|proxy| {
            self.policy.proxies.push(proxy);
            self.policy.proxies.len() - 1
        });
        self.proxies.insert(id.clone(), index);
        index
    }

    fn proxy_decl(&mut self, decl: &ast::Proxy, id: &DefId) -> Option<Proxy> {
        let env = self.env(id.0);
        let span = env.span(decl.name.span);
        let mut body = Body::default();
        let mut ok = true;
        for (at, option) in decl.options.iter().enumerate() {
            let same = |o: &&Spanned<ProxyOption>| {
                discriminant(&o.node) == discriminant(&option.node)
                    && !matches!(o.node, ProxyOption::Bypass(_))
            };
            if let Some(first) = decl.options.iter().take(at).find(same) {
                self.said_twice(env.span(option.span), env.span(first.span));
            }
            ok &= self.proxy_option(option, &env, &mut body).is_some();
        }
        if !ok {
            return None;
        }
        let missing = [
            (
                body.v4.is_none() && body.v6.is_none(),
                "listen",
                "tcp, udp at 127.0.0.1:12345",
            ),
            (body.mark.is_none(), "mark", "0x1/0xff"),
            (body.table.is_none(), "table", "100"),
        ];
        for (is_missing, word, example) in missing {
            if is_missing {
                let title = format!("the proxy `{}` has no `{word}`", id.1);
                let help = format!("add a line such as `{word} {example}`");
                self.report(Diagnostic::error(Code::MissingClause, title, span).help(help));
                ok = false;
            }
        }
        let (mark, table) = body.mark.zip(body.table)?;
        ok.then_some(Proxy {
            name: id.1.as_str().into(),
            tcp: body.tcp,
            udp: body.udp,
            v4: body.v4,
            v6: body.v6,
            mark,
            table,
            bypass: body.bypass,
            down: body.down.unwrap_or(Down::Deny),
            span,
        })
    }

    fn proxy_option(
        &mut self,
        option: &Spanned<ProxyOption>,
        env: &Env,
        body: &mut Body,
    ) -> Option<()> {
        let span = env.span(option.span);
        match &option.node {
            ProxyOption::Listen { protocols, at } => {
                for protocol in protocols {
                    match protocol.node.as_str() {
                        "tcp" => body.tcp = true,
                        "udp" => body.udp = true,
                        other => {
                            let title = format!("a transparent proxy cannot take `{other}`");
                            let at = env.span(protocol.span);
                            self.report(
                                Diagnostic::error(Code::ProxyProtocol, title, at)
                                    .help("it takes `tcp`, `udp` or both"),
                            );
                            return None;
                        }
                    }
                }
                for target in at {
                    self.listen_at(target, env, body)?;
                }
            }
            ProxyOption::Mark(mark) => body.mark = Some(self.mark(mark, env)?),
            ProxyOption::Table(n) => body.table = Some(self.table(n, env)?),
            ProxyOption::Bypass(principal) => {
                body.bypass.extend(self.sender(principal, env, span)?.cubes);
            }
            ProxyOption::Down(down) => body.down = Some(down.node),
        }
        Some(())
    }

    fn listen_at(&mut self, target: &Spanned<Target>, env: &Env, body: &mut Body) -> Option<()> {
        let span = env.span(target.span);
        let Target::Socket(addr, port) = &target.node else {
            let diagnostic = Diagnostic::error(
                Code::TypeMismatch,
                "a proxy listens at an address and a port",
                span,
            );
            self.report(diagnostic.help("write `127.0.0.1:12345` or `[::1]:12345`"));
            return None;
        };
        let port = self.port(port, env, span)?;
        let twice = match addr {
            IpAddr::V4(addr) => body.v4.replace((*addr, port)).is_some(),
            IpAddr::V6(addr) => body.v6.replace((*addr, port)).is_some(),
        };
        if twice {
            let title = "a proxy has one socket for each family";
            let help = "take this one out, or define a second proxy";
            self.report(Diagnostic::error(Code::DuplicateName, title, span).help(help));
            return None;
        }
        Some(())
    }

    /// A port other than 0.
    pub(super) fn port(&mut self, num: &Num, env: &Env, span: Span) -> Option<u16> {
        let port = self.number_at(num, env, span, 65535)?;
        if port == 0 {
            let diagnostic = Diagnostic::error(Code::OutOfRange, "port 0 is nobody's", span);
            self.report(diagnostic.help("a port to go to is 1 to 65535"));
            return None;
        }
        u16::try_from(port).ok()
    }

    /// A mark within its mask.
    pub(super) fn mark(&mut self, literal: &MarkLit, env: &Env) -> Option<Mark> {
        let max = u64::from(u32::MAX);
        let value = self.number(&literal.value, env, max)?;
        let mask = match &literal.mask {
            Some(mask) => self.number(mask, env, max)?,
            None => max,
        };
        let (value, mask) = (u32::try_from(value).ok()?, u32::try_from(mask).ok()?);
        let span = env.span(literal.value.span);
        if value & !mask != 0 {
            let title = format!("the mark {value:#x} has bits outside its mask {mask:#x}");
            let help = "the mask says which bits the mark owns: widen it, or take a smaller mark";
            self.report(Diagnostic::error(Code::OutOfRange, title, span).help(help));
            return None;
        }
        if value == 0 {
            let diagnostic = Diagnostic::error(Code::OutOfRange, "a mark of 0 is no mark", span);
            self.report(diagnostic.help("packets without a mark have it too"));
            return None;
        }
        Some(Mark { value, mask })
    }

    /// A routing table that is not one of the system's own.
    pub(super) fn table(&mut self, num: &Spanned<Num>, env: &Env) -> Option<u32> {
        let table = self.number(num, env, u64::from(u32::MAX))?;
        if table == 0 || (253..=255).contains(&table) {
            let span = env.span(num.span);
            let title = format!("the routing table {table} is one of the system's own");
            let help = "take another, such as 100; 0 and 253 to 255 are taken";
            self.report(Diagnostic::error(Code::RouteTable, title, span).help(help));
            return None;
        }
        u32::try_from(table).ok()
    }
}
