//! A partition as a replicated log: append, durable, committed. A lone broker is a group of one.

pub mod producers;
