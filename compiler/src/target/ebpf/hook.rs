//! The places in the kernel where programs run.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R7, R10};
use polc_bpf::insn::Width::W;
use polc_bpf::insn::{AluOp, Cond, Helper, Reg};
use polc_bpf::object::Section;

/// A hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Before the kernel has made a packet of the frame: what arrives by an interface.
    Xdp,
    /// What arrives by an interface, as a packet.
    Ingress,
    /// What leaves by an interface.
    Egress,
}

/// Where `struct xdp_md` and `struct __sk_buff` have the first byte and what is behind the last one
/// that can be read directly, and the length (include/uapi/linux/bpf.h).
struct Context {
    data: i16,
    end: i16,
    length: Option<i16>,
}

impl Hook {
    /// The section of an object in which its programs stand.
    pub(super) fn section(self) -> Section {
        match self {
            Self::Xdp => Section::Xdp,
            Self::Ingress | Self::Egress => Section::Classifier,
        }
    }

    /// What a program returns to hand the packet on: `XDP_PASS`, and `TCX_NEXT`, after which other
    /// owners' programs run.
    pub(super) fn pass(self) -> i32 {
        match self {
            Self::Xdp => 2,
            Self::Ingress | Self::Egress => -1,
        }
    }

    /// What it returns to drop it: `XDP_DROP`, `TCX_DROP`.
    pub(super) fn drop(self) -> i32 {
        match self {
            Self::Xdp => 1,
            Self::Ingress | Self::Egress => 2,
        }
    }

    /// Where the context says whether a VLAN tag was taken out of the frame, and which; `None` where
    /// tags stay in it.
    pub(super) fn tag(self) -> Option<(i16, i16)> {
        match self {
            Self::Xdp => None,
            Self::Ingress | Self::Egress => Some((20, 24)),
        }
    }

    /// Where the context says by which interface the frame has come.
    pub(super) fn interface(self) -> i16 {
        match self {
            Self::Xdp => 12,
            Self::Ingress | Self::Egress => 40,
        }
    }

    /// Where the context has the packet's mark; `None` where frames have none.
    pub(super) fn mark(self) -> Option<i16> {
        match self {
            Self::Xdp => None,
            Self::Ingress | Self::Egress => Some(8),
        }
    }

    /// Its number in log entries.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Xdp => 0,
            Self::Ingress => 1,
            Self::Egress => 2,
        }
    }

    fn context(self) -> Context {
        match self {
            Self::Xdp => Context {
                data: 0,
                end: 4,
                length: None,
            },
            Self::Ingress | Self::Egress => Context {
                data: 76,
                end: 80,
                length: Some(0),
            },
        }
    }

    /// `dst =` 0, of which the verifier knows only that it is 0 or 1: a place on the stack that has a known 0
    /// is another one to it than one that has anything, and it would look at all rules for both. The context is in
    /// `R6`.
    pub(super) fn zero(self, asm: &mut Assembler, dst: Reg) {
        // A length, and the number of a queue: neither is as large as 2^31.
        let at = self.context().length.unwrap_or(16);
        asm.load(W, dst, R6, at);
        asm.alu(AluOp::Rsh, dst, 31);
    }

    /// Makes the verifier forget that a register may be 0. Changes `spare`.
    pub(super) fn hide(self, asm: &mut Assembler, reg: Reg, spare: Reg) {
        self.zero(asm, spare);
        asm.alu(AluOp::Or, reg, spare);
    }

    /// `R1 =` the frame's length. The context is in `R6`. Changes `R0` to `R5`.
    pub(super) fn length(self, asm: &mut Assembler) {
        if let Some(at) = self.context().length {
            asm.load(W, R1, R6, at);
        } else {
            asm.mov(R1, R6);
            asm.call(Helper::XdpGetBuffLen);
            asm.mov(R1, R0);
        }
    }

    /// Goes to `short` when the frame has fewer than `size` bytes from offset `R7` on. Changes `R1`
    /// and `R2`.
    pub(super) fn shorter(self, asm: &mut Assembler, size: Reg, short: Label) {
        let context = self.context();
        if let Some(at) = context.length {
            asm.load(W, R2, R6, at);
            asm.mov(R1, R7);
        } else {
            asm.load(W, R1, R6, context.data);
            asm.load(W, R2, R6, context.end);
            asm.add(R1, R7);
        }
        asm.add(R1, size);
        asm.jump_if(Cond::Gt, R1, R2, short);
    }

    /// `R1 =` a pointer to `size` bytes of the frame from offset `R7` on; goes to `fail` when it has
    /// fewer. Bytes that a packet keeps elsewhere are copied to `scratch` on the stack. Changes `R0`
    /// to `R5`.
    pub(super) fn read(self, asm: &mut Assembler, size: i32, scratch: i16, fail: Label) {
        let context = self.context();
        asm.load(W, R1, R6, context.data);
        asm.load(W, R2, R6, context.end);
        asm.add(R1, R7);
        asm.mov(R3, R1);
        asm.add(R3, size);
        if self == Self::Xdp {
            asm.jump_if(Cond::Gt, R3, R2, fail);
            return;
        }
        let ready = asm.label("ready");
        asm.jump_if(Cond::Le, R3, R2, ready);
        copy(asm, size, scratch, fail);
        asm.bind(ready);
    }

    /// As [`Hook::read`], for what seldom comes: on packets, the bytes are always copied. It is slower,
    /// and in a loop the verifier has half as many ways to look at.
    pub(super) fn read_seldom(self, asm: &mut Assembler, size: i32, scratch: i16, fail: Label) {
        match self {
            Self::Xdp => self.read(asm, size, scratch, fail),
            Self::Ingress | Self::Egress => copy(asm, size, scratch, fail),
        }
    }
}

/// Copies bytes of a packet to the stack, and points `R1` to them.
fn copy(asm: &mut Assembler, size: i32, scratch: i16, fail: Label) {
    asm.mov(R1, R6);
    asm.mov(R2, R7);
    asm.mov(R3, R10);
    asm.add(R3, i32::from(scratch));
    asm.mov(R4, size);
    asm.call(Helper::SkbLoadBytes);
    asm.jump_if(Cond::Ne, R0, 0, fail);
    asm.mov(R1, R10);
    asm.add(R1, i32::from(scratch));
}
