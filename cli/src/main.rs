//! AnyLoRA.
fn main() {}
