//! One small policy for each recipe, as text, and accepted by the kernel's tools.
