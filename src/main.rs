//! The `polc` command line.

fn main() {}
