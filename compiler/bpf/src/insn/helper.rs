//! The kernel functions that a program can call.

/// Defines [`Helper`] from one table.
macro_rules! helpers {
    ($($variant:ident = $number:literal $name:literal,)*) => {
        /// A function of the kernel, by the name and number of `enum bpf_func_id` in
        /// `include/uapi/linux/bpf.h`. Which of them a program may call depends on its type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Helper {
            $(#[doc = concat!("`bpf_", $name, "`")] $variant = $number,)*
        }

        impl Helper {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, which begins with `bpf_`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("bpf_", $name),)*
                }
            }

            /// The helper of that number.
            pub const fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

helpers! {
    MapLookupElem = 1 "map_lookup_elem",
    MapUpdateElem = 2 "map_update_elem",
    MapDeleteElem = 3 "map_delete_elem",
    KtimeGetNs = 5 "ktime_get_ns",
    GetPrandomU32 = 7 "get_prandom_u32",
    GetSmpProcessorId = 8 "get_smp_processor_id",
    SkbStoreBytes = 9 "skb_store_bytes",
    L3CsumReplace = 10 "l3_csum_replace",
    L4CsumReplace = 11 "l4_csum_replace",
    TailCall = 12 "tail_call",
    GetCurrentUidGid = 15 "get_current_uid_gid",
    Redirect = 23 "redirect",
    SkbLoadBytes = 26 "skb_load_bytes",
    CsumDiff = 28 "csum_diff",
    SkbChangeTail = 38 "skb_change_tail",
    SkbPullData = 39 "skb_pull_data",
    SkbChangeHead = 43 "skb_change_head",
    XdpAdjustHead = 44 "xdp_adjust_head",
    GetSocketCookie = 46 "get_socket_cookie",
    GetSocketUid = 47 "get_socket_uid",
    SkbAdjustRoom = 50 "skb_adjust_room",
    XdpAdjustMeta = 54 "xdp_adjust_meta",
    XdpAdjustTail = 65 "xdp_adjust_tail",
    FibLookup = 69 "fib_lookup",
    GetCurrentCgroupId = 80 "get_current_cgroup_id",
    SkbAncestorCgroupId = 83 "skb_ancestor_cgroup_id",
    SkLookupTcp = 84 "sk_lookup_tcp",
    SkLookupUdp = 85 "sk_lookup_udp",
    SkRelease = 86 "sk_release",
    SkFullsock = 95 "sk_fullsock",
    GetListenerSock = 98 "get_listener_sock",
    SkcLookupTcp = 99 "skc_lookup_tcp",
    SkStorageGet = 107 "sk_storage_get",
    GetNetnsCookie = 122 "get_netns_cookie",
    SkAssign = 124 "sk_assign",
    RingbufOutput = 130 "ringbuf_output",
    RingbufReserve = 131 "ringbuf_reserve",
    RingbufSubmit = 132 "ringbuf_submit",
    RingbufDiscard = 133 "ringbuf_discard",
    RedirectNeigh = 152 "redirect_neigh",
    KtimeGetCoarseNs = 160 "ktime_get_coarse_ns",
    ForEachMapElem = 164 "for_each_map_elem",
    Loop = 181 "loop",
    SetRetval = 187 "set_retval",
    XdpGetBuffLen = 188 "xdp_get_buff_len",
    XdpLoadBytes = 189 "xdp_load_bytes",
    KtimeGetTaiNs = 208 "ktime_get_tai_ns",
}

impl Helper {
    /// Its number in the encoding.
    pub const fn number(self) -> i32 {
        self as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back() {
        for helper in Helper::ALL {
            assert_eq!(Helper::from_number(helper.number()), Some(*helper));
        }
        assert_eq!(Helper::from_number(0), None);
        assert!(Helper::ALL.is_sorted_by_key(|helper| helper.number()));
    }
}
