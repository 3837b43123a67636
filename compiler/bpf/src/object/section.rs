//! The sections that programs live in.

/// Defines [`Section`] from one table.
macro_rules! sections {
    ($($variant:ident = $name:literal $doc:literal,)*) => {
        /// What a program is, and where it can be attached: the section of the object it is in.
        ///
        /// libbpf, bpftool, iproute2 and aya understand all of these names. (`tc`, `tcx/ingress`
        /// and names with something appended are each unknown to one of them.)
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Section {
            $(#[doc = $doc] $variant,)*
        }

        impl Section {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name of the section.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

sections! {
    Xdp = "xdp" "Frames that an interface received, before the kernel looked at them.",
    XdpFrags = "xdp.frags" "The same, also for frames in several pieces.",
    Classifier = "classifier" "Packets that an interface receives or sends (tc, tcx).",
    CgroupIngress = "cgroup_skb/ingress" "Packets that sockets of a control group receive.",
    CgroupEgress = "cgroup_skb/egress" "Packets that sockets of a control group send.",
    Connect4 = "cgroup/connect4" "`connect` to an IPv4 address.",
    Connect6 = "cgroup/connect6" "`connect` to an IPv6 address.",
    Sendmsg4 = "cgroup/sendmsg4" "`sendmsg` to an IPv4 address.",
    Sendmsg6 = "cgroup/sendmsg6" "`sendmsg` to an IPv6 address.",
    Recvmsg4 = "cgroup/recvmsg4" "The sender that `recvmsg` reports, IPv4.",
    Recvmsg6 = "cgroup/recvmsg6" "The sender that `recvmsg` reports, IPv6.",
    Getpeername4 = "cgroup/getpeername4" "What `getpeername` reports, IPv4.",
    Getpeername6 = "cgroup/getpeername6" "What `getpeername` reports, IPv6.",
    Getsockname4 = "cgroup/getsockname4" "What `getsockname` reports, IPv4.",
    Getsockname6 = "cgroup/getsockname6" "What `getsockname` reports, IPv6.",
    SockCreate = "cgroup/sock_create" "A socket that a process of a control group makes.",
    GetSockOpt = "cgroup/getsockopt" "`getsockopt` of a process of a control group, after the kernel has answered.",
    SkLookup = "sk_lookup" "Which local socket a packet is for.",
    Sockops = "sockops" "Events of TCP connections in a control group.",
}
