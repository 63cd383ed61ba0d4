//! Who asks, and in which version.

use std::net::SocketAddr;

/// What a handler knows of a request beside its body.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The version of the request, and of its response.
    pub(super) version: i16,
    /// What the client calls itself.
    pub(super) client_id: Option<Box<str>>,
    /// The client's address.
    pub(super) peer: SocketAddr,
    /// The address that the client dialled.
    pub(super) local: SocketAddr,
}
