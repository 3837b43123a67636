//! Numbers, durations, strings, addresses and sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Builder;
use crate::ast::{AddrLit, Endpoint, MarkLit, Num, Span, Spanned, Target};
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Pair, Rule};

/// Reads a number: decimal with `k`, `M` or `G` (thousands), or hexadecimal after `0x`.
/// `None` when it does not fit.
fn number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (text.trim_end_matches('k'), 1_000),
        Some(b'M') => (text.trim_end_matches('M'), 1_000_000),
        Some(b'G') => (text.trim_end_matches('G'), 1_000_000_000),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads a duration, in milliseconds. `None` when it does not fit.
fn duration(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(split)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Why a text is no address, prefix or range.
pub(crate) struct BadAddress {
    /// The wrong part, as a range of the text.
    pub(crate) at: (usize, usize),
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl BadAddress {
    fn new(at: (usize, usize), message: String) -> Self {
        Self {
            at,
            message,
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The error, for a text that starts at `start` of the source.
    pub(crate) fn at(self, start: usize) -> SyntaxError {
        let span = Span::new(start + self.at.0, start + self.at.1);
        let error = SyntaxError::new(SyntaxErrorKind::Address, span, self.message);
        SyntaxError {
            help: self.help,
            ..error
        }
    }
}

/// Reads an address, prefix or range from a text of that shape.
pub(crate) fn addr_lit(text: &str) -> Result<AddrLit, BadAddress> {
    if let Some((first, last)) = text.split_once('-') {
        let shift = first.len() + 1;
        let low = ip(first)?;
        let high = ip(last).map_err(|bad| BadAddress {
            at: (bad.at.0 + shift, bad.at.1 + shift),
            ..bad
        })?;
        if low.is_ipv4() != high.is_ipv4() {
            let message = "the two ends of the range are of different families".to_owned();
            return Err(BadAddress::new((0, text.len()), message));
        }
        return Ok(AddrLit::Range(low, high));
    }
    let Some((address, length)) = text.split_once('/') else {
        return ip(text).map(AddrLit::Addr);
    };
    let address = ip(address)?;
    let (most, family) = if address.is_ipv4() {
        (32, "IPv4")
    } else {
        (128, "IPv6")
    };
    match length.parse::<u8>() {
        Ok(bits) if bits <= most => Ok(AddrLit::Prefix(address, bits)),
        _ => {
            let at = (text.len() - length.len(), text.len());
            if let Ok(mask) = length.parse::<Ipv4Addr>() {
                let bits = u32::from(mask).leading_ones();
                return Err(BadAddress::new(at, format!("`{length}` is a mask"))
                    .help(format!("a prefix is written with its length: `/{bits}`")));
            }
            let message = format!("`/{length}` is longer than an {family} address");
            Err(BadAddress::new(at, message)
                .help(format!("the length of an {family} prefix is 0 to {most}")))
        }
    }
}

/// Reads one address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, BadAddress> {
    if text.contains(':') {
        text.parse::<Ipv6Addr>()
            .map(IpAddr::V6)
            .map_err(|_| bad_v6(text))
    } else {
        text.parse::<Ipv4Addr>()
            .map(IpAddr::V4)
            .map_err(|_| bad_v4(text))
    }
}

/// Says what is wrong with an IPv4 address.
fn bad_v4(text: &str) -> BadAddress {
    let parts = text.split('.').count();
    if parts != 4 {
        return BadAddress::new((0, text.len()), format!("`{text}` is not an IPv4 address")).help(
            format!("an IPv4 address has four parts, this one has {parts}"),
        );
    }
    let mut start = 0;
    for part in text.split('.') {
        let at = (start, start + part.len());
        if part.parse::<u8>().is_err() {
            return BadAddress::new(
                at,
                format!("`{part}` is too large a part of an IPv4 address"),
            )
            .help("each part is 0 to 255");
        }
        if part.len() > 1 && part.starts_with('0') {
            return BadAddress::new(at, format!("`{part}` has a leading zero"))
                .help("some tools read such a number as octal: write it without the zero");
        }
        start += part.len() + 1;
    }
    BadAddress::new((0, text.len()), format!("`{text}` is not an IPv4 address"))
}

/// Says what is wrong with an IPv6 address.
fn bad_v6(text: &str) -> BadAddress {
    let whole = (0, text.len());
    let bad = BadAddress::new(whole, format!("`{text}` is not an IPv6 address"));
    if let Some(at) = text.find(":::") {
        let colons = text.bytes().skip(at).take_while(|&b| b == b':').count();
        return BadAddress::new((at, at + colons), bad.message)
            .help("`::` stands for the zeros left out: there is no `:::`");
    }
    let mut start = 0;
    for group in text.split(':') {
        if group.len() > 4 && !group.contains('.') {
            let socket = start + group.len() == text.len() && group.parse::<u16>().is_ok();
            return if socket {
                let address = text.get(..start.saturating_sub(1)).unwrap_or(text);
                bad.help(format!(
                    "an IPv6 address with a port is written `[{address}]:{group}`"
                ))
            } else {
                BadAddress::new((start, start + group.len()), bad.message)
                    .help("a group of an IPv6 address has at most four digits")
            };
        }
        start += group.len() + 1;
    }
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    if text.matches("::").count() > 1 {
        return bad.help("`::` can stand in an address only once");
    }
    if groups > 8 {
        if let Some((address, port)) = text.rsplit_once(':')
            && address.parse::<Ipv6Addr>().is_ok()
        {
            return bad.help(format!(
                "an IPv6 address with a port is written `[{address}]:{port}`"
            ));
        }
        return bad.help(format!(
            "an IPv6 address has eight groups, this one has {groups}"
        ));
    }
    if groups < 8 && !text.contains("::") {
        return bad.help(format!(
            "an IPv6 address has eight groups, this one has {groups}; `::` stands for zeros left out"
        ));
    }
    bad
}

impl Builder<'_> {
    /// `10.0.0.0/8`, from a leaf of that shape.
    pub(super) fn addr(&mut self, leaf: &Pair<'_>) -> Option<AddrLit> {
        match addr_lit(leaf.as_str()) {
            Ok(addr) => Some(addr),
            Err(bad) => self.fail(bad.at(self.base + leaf.as_span().start())),
        }
    }

    /// One address, where a prefix or range makes no sense.
    fn single(&mut self, leaf: &Pair<'_>) -> Option<IpAddr> {
        match self.addr(leaf)? {
            AddrLit::Addr(ip) => Some(ip),
            AddrLit::Prefix(..) | AddrLit::Range(..) => {
                let message = format!("a target is one address, `{}` is many", leaf.as_str());
                let error =
                    SyntaxError::new(SyntaxErrorKind::Address, self.leaf_span(leaf), message)
                        .help("`net PREFIX` rewrites a prefix; `@set` names several addresses");
                self.fail(error)
            }
        }
    }

    /// A literal number.
    pub(super) fn number(&mut self, leaf: &Pair<'_>) -> Option<u64> {
        number(leaf.as_str()).or_else(|| self.too_large(leaf, "number"))
    }

    /// A duration in milliseconds.
    pub(super) fn duration(&mut self, leaf: &Pair<'_>) -> Option<u64> {
        duration(leaf.as_str()).or_else(|| self.too_large(leaf, "duration"))
    }

    fn too_large<T>(&mut self, leaf: &Pair<'_>, what: &str) -> Option<T> {
        let message = format!("the {what} `{}` is too large", leaf.as_str());
        self.fail(SyntaxError::new(
            SyntaxErrorKind::Number,
            self.leaf_span(leaf),
            message,
        ))
    }

    /// A number or the name of a parameter.
    pub(super) fn num(&mut self, pair: &Pair<'_>) -> Option<Spanned<Num>> {
        self.spanned(pair, |this, pair| {
            let leaf = this.only(pair)?;
            match leaf.as_rule() {
                Rule::number => this.number(&leaf).map(Num::Lit),
                Rule::name => Some(Num::Name(leaf.as_str().to_owned())),
                _ => this.unknown(&leaf),
            }
        })
    }

    /// `n/m`
    pub(super) fn mark(&mut self, pair: &Pair<'_>) -> Option<MarkLit> {
        let pair = self.child(pair, Rule::mark)?;
        let mut nums = self.each(&pair, Rule::num, Self::num)?.into_iter();
        match nums.next() {
            Some(value) => Some(MarkLit {
                value,
                mask: nums.next(),
            }),
            None => self.unknown(&pair),
        }
    }

    /// A string, its escapes read.
    pub(super) fn string(&mut self, leaf: &Pair<'_>) -> Option<Spanned<String>> {
        let text = leaf.as_str();
        let inner = text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .unwrap_or(text);
        let mut value = String::with_capacity(inner.len());
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            if c != '\\' {
                value.push(c);
                continue;
            }
            match chars.next() {
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                other => {
                    let bad = other.map_or('\\', |(_, c)| c);
                    let start = leaf.as_span().start() + 1 + at;
                    let span = self.range(start, start + 1 + bad.len_utf8());
                    let message = format!("there is no escape `\\{bad}`");
                    let error = SyntaxError::new(SyntaxErrorKind::String, span, message)
                        .help("the escapes are `\\\"`, `\\\\`, `\\n` and `\\t`");
                    return self.fail(error);
                }
            }
        }
        Some(Spanned::new(value, self.leaf_span(leaf)))
    }

    /// A word, or a string that stands for one.
    pub(super) fn word(&mut self, leaf: &Pair<'_>) -> Option<Spanned<String>> {
        if leaf.as_str().starts_with('"') {
            self.string(leaf)
        } else {
            Some(self.name(leaf))
        }
    }

    /// The targets that are children of `pair`. A listener needs a port; elsewhere an IPv6 address
    /// without one among sockets is a socket that lacks its brackets.
    pub(super) fn targets(
        &mut self,
        pair: &Pair<'_>,
        listener: bool,
    ) -> Option<Vec<Spanned<Target>>> {
        let targets = self.each(pair, Rule::target, Self::target)?;
        let socket = |target: &Spanned<Target>| matches!(target.node, Target::Socket(..));
        if !listener && !targets.iter().any(socket) {
            return Some(targets);
        }
        let portless = |target: &&Spanned<Target>| match target.node {
            Target::Addr(ip) => listener || ip.is_ipv6(),
            _ => false,
        };
        let Some(span) = targets.iter().find(portless).map(|target| target.span) else {
            return Some(targets);
        };
        let text = self.source.get(span.range()).unwrap_or_default();
        let error = SyntaxError::new(
            SyntaxErrorKind::Address,
            span,
            format!("`{text}` has no port"),
        );
        let error = match text.rsplit_once(':') {
            None => error.help(format!("a socket is written `{text}:PORT`")),
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => error.help(format!(
                "an IPv6 address with a port is written `[{address}]:{port}`"
            )),
            Some(_) => error.help(format!("a socket is written `[{text}]:PORT`")),
        };
        self.fail(error)
    }

    /// A target or a socket.
    pub(super) fn target(&mut self, pair: &Pair<'_>) -> Option<Spanned<Target>> {
        self.spanned(pair, |this, pair| {
            let leaf = this.only(pair)?;
            match leaf.as_rule() {
                Rule::net_target => {
                    let addr = this.child(&leaf, Rule::addr)?;
                    this.net_target(&addr)
                }
                Rule::socket | Rule::port_only => this.socket(&leaf),
                Rule::addr => this.single(&leaf).map(Target::Addr),
                Rule::set_ref => Some(Target::Ref(reference(&leaf))),
                Rule::name => Some(Target::Name(leaf.as_str().to_owned())),
                _ => this.unknown(&leaf),
            }
        })
    }

    fn net_target(&mut self, leaf: &Pair<'_>) -> Option<Target> {
        if let AddrLit::Prefix(ip, bits) = self.addr(leaf)? {
            return Some(Target::Net(ip, bits));
        }
        let message = format!("`net` needs a prefix, `{}` is none", leaf.as_str());
        let error = SyntaxError::new(SyntaxErrorKind::Address, self.leaf_span(leaf), message)
            .help("write a prefix such as `2001:db8:1::/64`");
        self.fail(error)
    }

    /// `192.0.2.1:80`, `[2001:db8::1]:80` or `:80`.
    pub(super) fn socket(&mut self, leaf: &Pair<'_>) -> Option<Target> {
        let start = leaf.as_span().start();
        let (address, port) = leaf
            .as_str()
            .rsplit_once(':')
            .unwrap_or((leaf.as_str(), ""));
        let port = self.port_num(port, start + address.len() + 1)?;
        if address.is_empty() {
            return Some(Target::Port(port));
        }
        self.host_part(address, start)
            .map(|ip| Target::Socket(ip, port))
    }

    /// The port of a socket: a number, or the name of a parameter.
    fn port_num(&mut self, text: &str, start: usize) -> Option<Num> {
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(Num::Name(text.to_owned()));
        }
        match text.parse::<u16>() {
            Ok(port) => Some(Num::Lit(u64::from(port))),
            Err(_) => self.bad_port(text, start),
        }
    }

    fn bad_port<T>(&mut self, text: &str, start: usize) -> Option<T> {
        let span = self.range(start, start + text.len());
        let message = format!("`{text}` is not a port");
        self.fail(
            SyntaxError::new(SyntaxErrorKind::Number, span, message)
                .help("a port is a number from 0 to 65535"),
        )
    }

    /// The address of a socket, with or without brackets.
    fn host_part(&mut self, text: &str, start: usize) -> Option<IpAddr> {
        let (bare, shift) = match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            Some(bare) => (bare, 1),
            None => (text, 0),
        };
        if shift == 1 && !bare.contains(':') {
            let span = self.range(start, start + text.len());
            let message = format!("`{bare}` in brackets is not an IPv6 address");
            let error = SyntaxError::new(SyntaxErrorKind::Address, span, message)
                .help("brackets are for IPv6; an IPv4 socket is `192.0.2.1:80`");
            return self.fail(error);
        }
        match ip(bare) {
            Ok(ip) => Some(ip),
            Err(bad) => self.fail(bad.at(self.base + start + shift)),
        }
    }

    /// A side of a flow: `host`, `host:22`, an address, or a socket with a literal port.
    pub(super) fn endpoint(&mut self, leaf: &Pair<'_>) -> Option<Spanned<Endpoint>> {
        let text = leaf.as_str();
        let start = leaf.as_span().start();
        let (address, port) = match text.rsplit_once(':') {
            Some((address, port)) if !address.contains(':') || address.ends_with(']') => {
                (address, Some(port))
            }
            _ => (text, None),
        };
        let port = match port.map(|port| (port, port.parse::<u16>())) {
            None => None,
            Some((_, Ok(port))) => Some(port),
            Some((port, Err(_))) => return self.bad_port(port, start + address.len() + 1),
        };
        let addr = match address {
            "host" => None,
            address => Some(self.host_part(address, start)?),
        };
        Some(Spanned::new(Endpoint { addr, port }, self.leaf_span(leaf)))
    }
}

/// The name in `@name`.
pub(super) fn reference(leaf: &Pair<'_>) -> String {
    leaf.as_str().trim_start_matches('@').to_owned()
}
