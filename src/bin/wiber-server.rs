//! `wiber-server`: the broker.

fn main() {}
