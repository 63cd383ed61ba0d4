//! `wiber-client`: the command line.

fn main() {}
