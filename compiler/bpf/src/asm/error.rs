//! What can be wrong with a program.

/// Why a program cannot be assembled. Instructions are counted from 0, as they were written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsmError {
    /// A label that is jumped to was never bound.
    #[error("label `{label}` is not bound, and instruction {index} of `{function}` jumps to it")]
    UnboundLabel {
        /// The function that jumps.
        function: String,
        /// The instruction that jumps.
        index: usize,
        /// The label.
        label: String,
    },
    /// A label was bound in two places.
    #[error("label `{label}` is bound twice")]
    BoundTwice {
        /// The label.
        label: String,
    },
    /// A jump leaves its function, or goes behind its end.
    #[error("instruction {index} of `{function}` jumps to `{label}`, outside of the function")]
    JumpOut {
        /// The function that jumps.
        function: String,
        /// The instruction that jumps.
        index: usize,
        /// The label.
        label: String,
    },
    /// A label or function was made by another assembler; or the entry is called.
    #[error("instruction {index} of `{function}` refers to what the program does not have")]
    Foreign {
        /// The function that refers to it.
        function: String,
        /// The instruction that refers to it, or would have followed.
        index: usize,
    },
    /// A jump is longer than 16 bits can say, and there is nothing longer in [`Isa::V3`](super::Isa::V3).
    #[error(
        "instruction {index} of `{function}` jumps to `{label}`, {slots} slots away: more than \
         32767 need Linux 6.6"
    )]
    TooFar {
        /// The function that jumps.
        function: String,
        /// The instruction that jumps.
        index: usize,
        /// The label.
        label: String,
        /// How many slots are skipped; negative for a jump back.
        slots: i32,
    },
    /// An access through the frame pointer misses the stack frame.
    #[error(
        "instruction {index} of `{function}` accesses {width} bytes at r10{offset:+}, outside of \
         the stack frame of 512 bytes"
    )]
    StackOffset {
        /// The function.
        function: String,
        /// The instruction.
        index: usize,
        /// The offset from the frame pointer, in bytes.
        offset: i16,
        /// How many bytes are accessed.
        width: u8,
    },
    /// The frame pointer is read-only.
    #[error("instruction {index} of `{function}` writes to the frame pointer r10")]
    FramePointer {
        /// The function.
        function: String,
        /// The instruction.
        index: usize,
    },
    /// The kernel refuses a division by a constant zero, and a shift by more bits than there are.
    #[error("instruction {index} of `{function}` divides by zero or shifts too far")]
    Constant {
        /// The function.
        function: String,
        /// The instruction.
        index: usize,
    },
    /// The instruction is not known to [`Isa::V3`](super::Isa::V3).
    #[error("instruction {index} of `{function}` needs Linux 6.6")]
    Unsupported {
        /// The function.
        function: String,
        /// The instruction.
        index: usize,
    },
    /// The last instruction of a function is neither a jump nor a return; or there is none.
    #[error("the end of `{function}` is neither a jump nor a return")]
    FallsThrough {
        /// The function.
        function: String,
    },
    /// The program is bigger than the kernel accepts.
    #[error("the program has {slots} slots, and the kernel accepts a million")]
    TooLong {
        /// How many it has.
        slots: usize,
    },
}
