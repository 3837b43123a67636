//! What can be left out of a policy, by its tree.

use std::collections::BTreeMap;

use polc_grammar::ast::{
    Clause, End, Ends, Expr, File, Ifaces, Item, MarkLit, Principal, ProxyOption, Rate, RateLit,
    Service, SetExpr, SetTerm, Span, Spanned, Stmt, TemplateNode, Value,
};

use super::cut::{Parts, between};

/// Everything in a policy that can be left out.
pub(super) struct Survey {
    /// All comments together.
    pub(super) comments: Parts,
    /// Items, the last first: definitions stand before their uses.
    pub(super) items: Parts,
    /// The statements of blocks, by how deep these are.
    pub(super) blocks: BTreeMap<usize, Vec<Parts>>,
    /// What makes a group of some statements: its head and its braces.
    pub(super) frames: Parts,
    /// Clauses, options, and parts of them that stand alone.
    pub(super) clauses: Parts,
    /// Lists of alternatives.
    pub(super) lists: Vec<Parts>,
    /// One side of each `and` and `or`, and each `not` of a condition.
    pub(super) operands: Parts,
}

impl Survey {
    /// What can be left out of `text`, whose tree is `file`.
    pub(super) fn new(text: &str, file: &File) -> Self {
        let mut walk = Walk {
            text,
            blocks: BTreeMap::new(),
            frames: Vec::new(),
            clauses: Vec::new(),
            lists: Vec::new(),
            operands: Vec::new(),
        };
        for item in &file.items {
            walk.item(&item.node, 0);
        }
        let comments: Vec<Span> = file.comments.iter().map(|c| c.text.span).collect();
        let all = (!comments.is_empty()).then_some(comments);
        let items = file.items.iter().rev().map(|i| vec![i.span]);
        Self {
            comments: Parts::Free(all.into_iter().collect()),
            items: Parts::Free(items.collect()),
            blocks: walk.blocks,
            frames: Parts::Free(walk.frames),
            clauses: Parts::Free(walk.clauses),
            lists: walk.lists,
            operands: Parts::Free(walk.operands),
        }
    }
}

struct Walk<'t> {
    text: &'t str,
    blocks: BTreeMap<usize, Vec<Parts>>,
    frames: Vec<Vec<Span>>,
    clauses: Vec<Vec<Span>>,
    lists: Vec<Parts>,
    operands: Vec<Vec<Span>>,
}

impl Walk<'_> {
    fn item(&mut self, item: &Item, depth: usize) {
        match item {
            Item::Policy(policy) => self.alone(&policy.meta),
            Item::Param(param) => param.default.iter().for_each(|v| self.value(&v.node)),
            Item::Set(set) => {
                self.set_expr(&set.expr);
                self.alone(&set.options);
            }
            Item::Service(service) => self.services(&service.services),
            Item::Zone(zone) => {
                self.ifaces(zone.name.span.end, &zone.ifaces);
                if let (Some(net), Some(last)) = (&zone.net, zone.ifaces.names.last()) {
                    let end = net
                        .rest
                        .last()
                        .map_or(net.first.span, |(_, term)| term.span);
                    self.between(last.span.end, end.end);
                    self.set_expr(net);
                }
            }
            Item::Bucket(bucket) => {
                self.rate(&bucket.rate.node, bucket.rate.span);
                self.alone(&bucket.options);
            }
            Item::Proxy(proxy) => {
                let mut options = proxy.options.clone();
                // `bypass` with several principals is one line.
                options.dedup_by_key(|option| option.span);
                self.alone(&options);
                proxy.options.iter().for_each(|o| self.option(&o.node));
            }
            Item::Template(template) => self.template(&template.body, depth),
            Item::Guard(guard) => {
                if let Some(on) = &guard.on {
                    self.list(&on.names);
                }
                self.body(&guard.body, depth);
            }
            Item::Steer(body) | Item::Egress(body) => self.body(body, depth),
            Item::Section(section) => {
                self.all_clauses(&section.clauses);
                self.body(&section.body, depth);
            }
            Item::Default(default) => self.all_clauses(&default.clauses),
            Item::Apply(apply) => apply.args.iter().for_each(|v| self.value(&v.node)),
            Item::Claim(claim) => {
                self.some_services(&claim.services);
                self.all_clauses(&claim.clauses);
            }
            Item::Test(test) => self.block(test.steps.iter().map(|s| s.span), depth),
            Item::Use(_) | Item::Strict(_) | Item::Raw(_) => {}
        }
    }

    fn template(&mut self, body: &[Spanned<TemplateNode>], depth: usize) {
        self.block(body.iter().map(|node| node.span), depth);
        for node in body {
            match &node.node {
                TemplateNode::Item(item) => self.item(item, depth + 1),
                TemplateNode::Stmt(stmt) => self.stmt(stmt, node.span, depth + 1),
            }
        }
    }

    fn block(&mut self, spans: impl Iterator<Item = Span>, depth: usize) {
        let parts: Vec<_> = spans.map(|span| vec![span]).collect();
        if !parts.is_empty() {
            self.blocks
                .entry(depth)
                .or_default()
                .push(Parts::Free(parts));
        }
    }

    fn body(&mut self, body: &[Spanned<Stmt>], depth: usize) {
        self.block(body.iter().map(|stmt| stmt.span), depth);
        for stmt in body {
            self.stmt(&stmt.node, stmt.span, depth + 1);
        }
    }

    fn stmt(&mut self, stmt: &Stmt, span: Span, depth: usize) {
        match stmt {
            Stmt::Rule(rule) => {
                self.some_services(&rule.services);
                self.all_clauses(&rule.clauses);
            }
            Stmt::Group(group) => {
                if let (Some(first), Some(last)) = (group.body.first(), group.body.last()) {
                    let head = between(span.start, first.span.start);
                    let foot = between(last.span.end, span.end);
                    self.frames.push(vec![head, foot]);
                }
                self.all_clauses(&group.clauses);
                self.body(&group.body, depth);
            }
            Stmt::Default(default) => self.all_clauses(&default.clauses),
            Stmt::Apply(apply) => apply.args.iter().for_each(|v| self.value(&v.node)),
        }
    }

    /// Things that can go one by one.
    fn alone<T>(&mut self, things: &[Spanned<T>]) {
        let places = things.iter().map(|thing| vec![thing.span]);
        self.clauses.extend(places);
    }

    fn between(&mut self, start: u32, end: u32) {
        self.clauses.push(vec![between(start, end)]);
    }

    /// From the last such word of a place to `end`.
    fn word_to(&mut self, word: &str, within: Span, end: u32) {
        let at = self.text.get(within.range()).and_then(|t| t.rfind(word));
        if let Some(at) = at {
            let start = Span::new(within.range().start + at, 0).start;
            self.between(start, end);
        }
    }

    /// The members of a list, of which one has to stay.
    fn list<T>(&mut self, members: &[Spanned<T>]) {
        if members.len() > 1 {
            let places = members.iter().map(|m| m.span).collect();
            self.lists.push(Parts::List(places));
        }
    }

    fn all_clauses(&mut self, clauses: &[Spanned<Clause>]) {
        self.alone(clauses);
        for clause in clauses {
            self.clause(&clause.node, clause.span);
        }
    }

    fn clause(&mut self, clause: &Clause, span: Span) {
        match clause {
            Clause::From(ends) | Clause::To(ends) | Clause::ToOriginal(ends) => {
                self.ends(span.start, ends);
            }
            Clause::In(ifaces) | Clause::Out(ifaces) => self.ifaces(span.start, ifaces),
            Clause::By(principal) => self.principal(principal),
            Clause::Limit(_, rate) => self.some_rate(rate),
            Clause::When(expr) => {
                self.expr(expr);
            }
            Clause::Except(services) => self.services(services),
            Clause::Target { targets, balance } => {
                self.list(targets);
                if let (Some(balance), Some(last)) = (balance, targets.last()) {
                    self.between(last.span.end, balance.span.end);
                }
            }
            Clause::Mark(mark) => self.mark(mark),
            Clause::Log { text, at } => {
                if let Some(text) = text {
                    self.between(text.span.start, text.span.end);
                }
                if let Some(at) = at {
                    let start = text.as_ref().map_or(span.start, |text| text.span.end);
                    let within = between(start, at.span.start);
                    self.word_to("at", within, at.span.end);
                    self.some_rate(at);
                }
            }
            Clause::Only(_)
            | Clause::Via(_)
            | Clause::ViaTable(_)
            | Clause::With(_)
            | Clause::Add(_)
            | Clause::Count
            | Clause::AndAllow
            | Clause::As(_)
            | Clause::Meta(_) => {}
        }
    }

    fn option(&mut self, option: &ProxyOption) {
        match option {
            ProxyOption::Listen { protocols, at } => {
                self.list(protocols);
                self.list(at);
            }
            ProxyOption::Mark(mark) => self.mark(mark),
            ProxyOption::Bypass(principal) => self.principal(principal),
            ProxyOption::Table(_) | ProxyOption::Down(_) => {}
        }
    }

    fn mark(&mut self, mark: &MarkLit) {
        if let Some(mask) = &mark.mask {
            self.between(mark.value.span.end, mask.span.end);
        }
    }

    fn principal(&mut self, principal: &Principal) {
        self.list(&principal.names);
    }

    /// `start` is where the clause begins.
    fn ends(&mut self, start: u32, ends: &Ends) {
        if ends.not {
            self.not(start, ends.list.first().map(|end| end.span));
        }
        self.list(&ends.list);
        for end in &ends.list {
            if let End::Body(body) = &end.node {
                self.list(&body.elements);
            }
        }
    }

    fn ifaces(&mut self, start: u32, ifaces: &Ifaces) {
        if ifaces.not {
            self.not(start, ifaces.names.first().map(|name| name.span));
        }
        self.list(&ifaces.names);
    }

    /// The `not` between `start` and the first of what it negates.
    fn not(&mut self, start: u32, first: Option<Span>) {
        if let Some(first) = first {
            let within = between(start, first.start);
            self.word_to("not", within, first.start);
        }
    }

    /// The services of a rule: also all of them.
    fn some_services(&mut self, services: &[Spanned<Service>]) {
        if let (Some(first), Some(last)) = (services.first(), services.last()) {
            self.between(first.span.start, last.span.end);
        }
        self.services(services);
    }

    fn services(&mut self, services: &[Spanned<Service>]) {
        self.list(services);
        for service in services {
            if let Service::Proto {
                proto,
                ports: Some(ports),
            } = &service.node
            {
                self.between(proto.span.end, service.span.end);
                self.list(ports);
            }
        }
    }

    fn set_expr(&mut self, expr: &SetExpr) {
        let first = std::iter::once(&expr.first);
        let terms: Vec<_> = first
            .chain(expr.rest.iter().map(|(_, term)| term))
            .collect();
        if terms.len() > 1 {
            let places = terms.iter().map(|term| term.span).collect();
            self.lists.push(Parts::List(places));
        }
        for term in terms {
            match &term.node {
                SetTerm::Body(body) => self.list(&body.elements),
                SetTerm::File(paths) => self.list(paths),
                SetTerm::Ref(_) | SetTerm::Addr(_) => {}
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Set(expr) => self.set_expr(expr),
            Value::Services(services) => self.services(services),
            _ => {}
        }
    }

    fn some_rate(&mut self, rate: &Spanned<Rate>) {
        if let Rate::Lit(lit) = &rate.node {
            self.rate(lit, rate.span);
        }
    }

    /// `10/s burst 20 per source`: burst and key can go.
    fn rate(&mut self, rate: &RateLit, span: Span) {
        if let Some(burst) = &rate.burst {
            let within = between(rate.count.span.end, burst.span.start);
            self.word_to("burst", within, burst.span.end);
        }
        if rate.key.is_some() {
            self.word_to("per", span, span.end);
        }
    }

    /// One operand of `and` and `or` can stand for both, and that of `not` for itself; a single
    /// comparison needs no parentheses. The place of the condition, with the parentheses around it.
    fn expr(&mut self, expr: &Spanned<Expr>) -> Span {
        let place = match &expr.node {
            Expr::And(left, right) | Expr::Or(left, right) => {
                let (left, right) = (self.expr(left), self.expr(right));
                self.operands.push(vec![between(left.end, right.end)]);
                self.operands.push(vec![between(left.start, right.start)]);
                left.to(right)
            }
            Expr::Not(inner) => {
                let inner = self.expr(inner);
                self.operands
                    .push(vec![between(expr.span.start, inner.start)]);
                expr.span.to(inner)
            }
            Expr::Is(_) => expr.span,
            Expr::Cmp { values, .. } => {
                self.list(values);
                expr.span
            }
        };
        let whole = self.parenthesised(place);
        let joins = matches!(expr.node, Expr::And(..) | Expr::Or(..));
        if !joins && whole != place {
            let head = between(whole.start, place.start);
            let foot = between(place.end, whole.end);
            self.operands.push(vec![head, foot]);
        }
        whole
    }

    /// A place with all parentheses around it.
    fn parenthesised(&self, place: Span) -> Span {
        let (mut start, mut end) = (place.range().start, place.range().end);
        loop {
            let before = self.text.get(..start).unwrap_or_default().trim_end();
            let behind = self.text.get(end..).unwrap_or_default();
            let next = behind.trim_start();
            if !before.ends_with('(') || !next.starts_with(')') {
                return Span::new(start, end);
            }
            start = before.len() - 1;
            end += behind.len() - next.len() + 1;
        }
    }
}
