//! Load from a process of its own: it publishes, many records in flight, and writes down every acknowledgement it gets.
//!
//! [`record`] says what each record is, so that a reader needs no list of what was sent; [`publisher`] is the process;
//! [`ledger`] compares what it was told with what is there.

pub(crate) mod ledger;
pub(crate) mod publisher;
pub(crate) mod record;
