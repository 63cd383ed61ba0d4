//! From `server.host` to a socket that listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, lookup_host};

/// Whether a host to listen on is all there are.
pub(super) fn is_wildcard(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::" | "[::]")
}

/// Listens on a host's first address that is ours, IPv4 before IPv6: whoever says `localhost` here and `127.0.0.1` in a
/// client means the same.
pub(super) async fn listen_on(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failed = None;
    for address in resolve(host, port).await? {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// `localhost` needs no resolver (RFC 6761, section 6.3): a container without `/etc/hosts` knows it too.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.eq_ignore_ascii_case("localhost") {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(loopback.map(|address| SocketAddr::new(address, port)).to_vec());
    }
    let mut addresses: Vec<SocketAddr> = lookup_host((bare, port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[tokio::test]
    async fn addresses_and_localhost_need_no_resolver() {
        for (host, expected) in [
            ("127.0.0.1", "127.0.0.1:7"),
            ("localhost", "127.0.0.1:7"),
            ("LocalHost", "127.0.0.1:7"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("0.0.0.0", "0.0.0.0:7"),
        ] {
            let addresses = resolve(host, 7).await.expect(host);
            assert_eq!(addresses.first().map(ToString::to_string).as_deref(), Some(expected), "{host}");
        }
    }
}
