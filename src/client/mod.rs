//! The client library: a connection to a broker over the native protocol.
