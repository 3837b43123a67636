//! One small policy for each recipe, as text, and accepted by the kernel's tools.

mod build;
mod filter;
mod limits;
mod steer;
