//! Items.

use super::{Builder, has};
use crate::ast::{
    Bucket, BucketOption, Claim, ClaimKind, Clause, Down, Guard, Item, Param, Policy, Proxy,
    ProxyOption, Raw, Section, ServiceDecl, SetDecl, SetOption, Span, Spanned, Stmt, Strict,
    Template, TemplateNode, Use, Zone,
};
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Pair, Rule};

impl Builder<'_> {
    /// One item, or a claim or default and the section behind it.
    pub(crate) fn item(&mut self, pair: &Pair<'_>, out: &mut Vec<Spanned<Item>>) {
        let mut nodes = Vec::new();
        self.item_or_group(pair, &mut nodes);
        for node in nodes {
            match node.node {
                TemplateNode::Item(item) => out.push(Spanned::new(item, node.span)),
                TemplateNode::Stmt(_) => {
                    let message = "a section needs `from` or `to`";
                    let head = self.first_word(node.span);
                    let error = SyntaxError::new(SyntaxErrorKind::Unexpected, head, message)
                        .help("outside a template, a block says between which ends it decides");
                    self.errors.push(error);
                }
            }
        }
    }

    /// The first word of a span.
    fn first_word(&self, span: Span) -> Span {
        let text = self.source.get(span.range()).unwrap_or_default();
        let end = text
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(text.len());
        Span {
            start: span.start,
            end: Span::new(0, span.start as usize + end.max(1)).end,
        }
    }

    /// A node of a template's body.
    pub(crate) fn node(&mut self, pair: &Pair<'_>, out: &mut Vec<Spanned<TemplateNode>>) {
        let Some(kind) = self.only(pair) else { return };
        if kind.as_rule() == Rule::item {
            return self.item_or_group(&kind, out);
        }
        let mut stmts = Vec::new();
        self.stmt(&kind, &mut stmts);
        // A group behind a rule: an item if it can be one, as everywhere in a template.
        out.extend(stmts.into_iter().map(|stmt| {
            stmt.map(|stmt| match stmt {
                Stmt::Group(group) if names_ends(&group.clauses) => {
                    TemplateNode::Item(Item::Section(Section {
                        stateless: false,
                        clauses: group.clauses,
                        body: group.body,
                    }))
                }
                stmt => TemplateNode::Stmt(stmt),
            })
        }));
    }

    /// An item; or, from clauses that name no ends, a group.
    fn item_or_group(&mut self, pair: &Pair<'_>, out: &mut Vec<Spanned<TemplateNode>>) {
        let Some(kind) = self.only(pair) else { return };
        let span = self.span(&kind);
        match kind.as_rule() {
            Rule::section => {
                let stateless = has(&kind, Rule::kw_stateless);
                let clauses = self.clauses(&kind);
                let body = self.block(&kind);
                if let (Some(clauses), Some(body)) = (clauses, body) {
                    out.push(Spanned::new(section(stateless, clauses, body), span));
                }
            }
            Rule::claim | Rule::default_stmt => {
                let Some(cut) = self.cut(&kind) else { return };
                let item = if kind.as_rule() == Rule::claim {
                    let clauses = self.all_clauses(&cut.clauses);
                    self.claim(&kind, clauses).map(Item::Claim)
                } else {
                    self.default_stmt(&kind, &cut).map(Item::Default)
                };
                out.extend(item.map(|item| Spanned::new(TemplateNode::Item(item), cut.span)));
                let tail = self.tail(cut);
                out.extend(tail.map(|group| group.map(|g| section(false, g.clauses, g.body))));
            }
            _ => {
                let item = self.plain_item(&kind);
                out.extend(item.map(|item| Spanned::new(TemplateNode::Item(item), span)));
            }
        }
    }

    /// An item whose text is its own alone.
    fn plain_item(&mut self, pair: &Pair<'_>) -> Option<Item> {
        match pair.as_rule() {
            Rule::policy => {
                let meta = self.each(pair, Rule::meta, |this, meta| this.meta(meta));
                Some(Item::Policy(Policy {
                    name: self.name_of(pair)?,
                    meta: meta?,
                }))
            }
            Rule::use_decl => {
                let path = self.child(pair, Rule::string)?;
                let path = self.string(&path)?;
                let alias = if has(pair, Rule::name) {
                    Some(self.name_of(pair)?)
                } else {
                    None
                };
                Some(Item::Use(Use { path, alias }))
            }
            Rule::param => self.param(pair).map(Item::Param),
            Rule::set_decl => self.set_decl(pair).map(Item::Set),
            Rule::service_decl => {
                let services = self.child(pair, Rule::services)?;
                let services = self.services(&services)?;
                Some(Item::Service(ServiceDecl {
                    name: self.name_of(pair)?,
                    services,
                }))
            }
            Rule::zone => self.zone(pair).map(Item::Zone),
            Rule::bucket => self.bucket(pair).map(Item::Bucket),
            Rule::proxy_decl => self.proxy(pair).map(Item::Proxy),
            Rule::template => self.template(pair).map(Item::Template),
            Rule::guard => {
                let on = if has(pair, Rule::ifaces) {
                    Some(self.ifaces(pair)?)
                } else {
                    None
                };
                Some(Item::Guard(Guard {
                    on,
                    body: self.block(pair)?,
                }))
            }
            Rule::steer => self.block(pair).map(Item::Steer),
            Rule::egress => self.block(pair).map(Item::Egress),
            Rule::strict => {
                let leaf = self.child(pair, Rule::strict_kind)?;
                let strict = if leaf.as_str() == "icmp" {
                    Strict::Icmp
                } else {
                    Strict::Tcp
                };
                Some(Item::Strict(Spanned::new(strict, self.leaf_span(&leaf))))
            }
            Rule::apply => self.apply(pair).map(Item::Apply),
            Rule::test => self.test(pair).map(Item::Test),
            Rule::raw => {
                let target = self.child(pair, Rule::word)?;
                let text = self.child(pair, Rule::string)?;
                Some(Item::Raw(Raw {
                    target: self.name(&target),
                    text: self.string(&text)?,
                }))
            }
            _ => self.unknown(pair),
        }
    }

    /// A parameter of a file or a template.
    fn param(&mut self, pair: &Pair<'_>) -> Option<Param> {
        let name = self.name_of(pair)?;
        let ty = self.child(pair, Rule::type_word)?;
        let ty = self.name(&ty);
        let mut values = pair.clone().into_inner();
        let value = values.find(|part| matches!(part.as_rule(), Rule::value | Rule::param_value));
        let default = match value {
            Some(value) => Some(self.value(&value)?),
            None => None,
        };
        Some(Param { name, ty, default })
    }

    fn set_decl(&mut self, pair: &Pair<'_>) -> Option<SetDecl> {
        let name = self.child(pair, Rule::set_name)?;
        let name = self.name(&name);
        let key = if has(pair, Rule::key_kind) {
            let leaf = self.child(pair, Rule::key_kind)?;
            Some(Spanned::new(self.key_kind(&leaf)?, self.leaf_span(&leaf)))
        } else {
            None
        };
        let expr = self.child(pair, Rule::set_expr)?;
        let expr = self.set_expr(&expr);
        let options = self.each(pair, Rule::set_option, |this, part| {
            this.spanned(part, |this, part| {
                let option = this.only(part)?;
                match option.as_rule() {
                    Rule::kw_dynamic => Some(SetOption::Dynamic),
                    Rule::idle => this.idle(&option).map(SetOption::Idle),
                    Rule::max => this.max(&option).map(SetOption::Max),
                    Rule::meta => this.meta(&option).map(|meta| SetOption::Meta(meta.node)),
                    _ => this.unknown(&option),
                }
            })
        });
        Some(SetDecl {
            name,
            key,
            expr: expr?,
            options: options?,
        })
    }

    fn idle(&mut self, pair: &Pair<'_>) -> Option<u64> {
        let leaf = self.child(pair, Rule::duration)?;
        self.duration(&leaf)
    }

    fn max(&mut self, pair: &Pair<'_>) -> Option<Spanned<crate::ast::Num>> {
        let num = self.child(pair, Rule::num)?;
        self.num(&num)
    }

    fn zone(&mut self, pair: &Pair<'_>) -> Option<Zone> {
        let name = self.name_of(pair)?;
        let ifaces = self.ifaces(pair)?;
        let net = if has(pair, Rule::set_expr) {
            let expr = self.child(pair, Rule::set_expr)?;
            Some(self.set_expr(&expr)?)
        } else {
            None
        };
        Some(Zone { name, ifaces, net })
    }

    fn bucket(&mut self, pair: &Pair<'_>) -> Option<Bucket> {
        let name = self.name_of(pair)?;
        let rate = self.child(pair, Rule::rate_lit)?;
        let rate = self.spanned(&rate, Self::rate_lit);
        let options = self.each(pair, Rule::bucket_option, |this, part| {
            this.spanned(part, |this, part| {
                let option = this.only(part)?;
                match option.as_rule() {
                    Rule::max => this.max(&option).map(BucketOption::Max),
                    Rule::idle => this.idle(&option).map(BucketOption::Idle),
                    Rule::full => {
                        let sense = this.child(&option, Rule::sense)?;
                        this.sense(&sense).map(BucketOption::Full)
                    }
                    _ => this.unknown(&option),
                }
            })
        });
        Some(Bucket {
            name,
            rate: rate?,
            options: options?,
        })
    }

    fn proxy(&mut self, pair: &Pair<'_>) -> Option<Proxy> {
        let name = self.name_of(pair)?;
        let mut options = Vec::new();
        for part in pair
            .clone()
            .into_inner()
            .filter(|p| p.as_rule() == Rule::proxy_option)
        {
            self.proxy_option(&part, &mut options);
        }
        Some(Proxy { name, options })
    }

    /// A line of a proxy's body.
    pub(crate) fn proxy_option(&mut self, pair: &Pair<'_>, out: &mut Vec<Spanned<ProxyOption>>) {
        let Some(kind) = self.only(pair) else { return };
        let span = self.span(&kind);
        let option = match kind.as_rule() {
            Rule::listen => self.listen(&kind),
            Rule::mark_option => self.mark(&kind).map(ProxyOption::Mark),
            Rule::table_option => match self.child(&kind, Rule::num) {
                Some(num) => self.num(&num).map(ProxyOption::Table),
                None => None,
            },
            Rule::bypass => {
                let principals = self
                    .each(&kind, Rule::principal, Self::principal)
                    .unwrap_or_default();
                let options = principals.into_iter().map(ProxyOption::Bypass);
                return out.extend(options.map(|option| Spanned::new(option, span)));
            }
            Rule::down => self.child(&kind, Rule::down_kind).map(|leaf| {
                let down = if leaf.as_str() == "deny" {
                    Down::Deny
                } else {
                    Down::Direct
                };
                ProxyOption::Down(Spanned::new(down, self.leaf_span(&leaf)))
            }),
            _ => self.unknown(&kind),
        };
        out.extend(option.map(|option| Spanned::new(option, span)));
    }

    fn listen(&mut self, pair: &Pair<'_>) -> Option<ProxyOption> {
        let protocols = self.each(pair, Rule::proto_name, |this, leaf| Some(this.name(leaf)))?;
        let at = self.targets(pair, true)?;
        Some(ProxyOption::Listen { protocols, at })
    }

    fn template(&mut self, pair: &Pair<'_>) -> Option<Template> {
        let name = self.name_of(pair)?;
        let params = self.each(pair, Rule::tparam, |this, part| this.param(part));
        let mut body = Vec::new();
        for part in pair
            .clone()
            .into_inner()
            .filter(|part| part.as_rule() == Rule::node)
        {
            self.node(&part, &mut body);
        }
        Some(Template {
            name,
            params: params?,
            body,
        })
    }

    fn claim(&mut self, pair: &Pair<'_>, clauses: Option<Vec<Spanned<Clause>>>) -> Option<Claim> {
        let leaf = self.child(pair, Rule::claim_kind)?;
        let kind = match leaf.as_str() {
            "ensure" => ClaimKind::Ensure,
            "never" => ClaimKind::Never,
            _ => ClaimKind::Protect,
        };
        let outcome = self.verb(pair);
        let services = self.own_services(pair);
        Some(Claim {
            kind: Spanned::new(kind, self.leaf_span(&leaf)),
            outcome: outcome?,
            services: services?,
            clauses: clauses?,
        })
    }
}

/// Whether clauses name an end, as those of a section must.
fn names_ends(clauses: &[Spanned<Clause>]) -> bool {
    clauses
        .iter()
        .any(|clause| matches!(clause.node, Clause::From(_) | Clause::To(_)))
}

/// A section; or a group, when no end is named.
fn section(
    stateless: bool,
    clauses: Vec<Spanned<Clause>>,
    body: Vec<Spanned<Stmt>>,
) -> TemplateNode {
    if stateless || names_ends(&clauses) {
        return TemplateNode::Item(Item::Section(Section {
            stateless,
            clauses,
            body,
        }));
    }
    TemplateNode::Stmt(Stmt::Group(crate::ast::Group { clauses, body }))
}
