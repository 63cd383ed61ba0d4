//! A broker by its address: what an application that wants nothing else needs to say.

use std::convert::Infallible;
use std::net::SocketAddr;

use super::{ClientError, ClientOptions, ConsumerOptions, ProducerOptions};

impl ClientOptions {
    /// The broker at `host:port`, or at `host` and the port that brokers have; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// [`ClientError::InvalidOptions`] for what is no such address.
    pub fn at(address: &str) -> Result<ClientOptions, ClientError> {
        let defaults = ClientOptions::default();
        let invalid = || ClientError::InvalidOptions(format!("'{address}' is no address of the form host:port"));
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !address.ends_with(']') && (!host.contains(':') || host.ends_with(']')) => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(invalid)?)
            }
            // Colons alone: an IPv6 address without a port.
            _ => (address, defaults.port),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '[' | ']')) {
            return Err(invalid());
        }
        Ok(ClientOptions { host: host.to_owned(), port, ..defaults })
    }
}

impl From<ClientOptions> for ProducerOptions {
    /// What is sent one by one does not wait for more.
    fn from(client: ClientOptions) -> ProducerOptions {
        ProducerOptions { client, linger: std::time::Duration::ZERO, ..ProducerOptions::default() }
    }
}

impl From<ClientOptions> for ConsumerOptions {
    fn from(client: ClientOptions) -> ConsumerOptions {
        ConsumerOptions { client, ..ConsumerOptions::default() }
    }
}

/// Options with everything at its default but the broker.
macro_rules! by_address {
    ($($options:ty),*) => {$(
        impl TryFrom<&str> for $options {
            type Error = ClientError;

            fn try_from(address: &str) -> Result<$options, ClientError> {
                ClientOptions::at(address).map(Into::into)
            }
        }

        impl TryFrom<&String> for $options {
            type Error = ClientError;

            fn try_from(address: &String) -> Result<$options, ClientError> {
                ClientOptions::at(address).map(Into::into)
            }
        }

        impl TryFrom<String> for $options {
            type Error = ClientError;

            fn try_from(address: String) -> Result<$options, ClientError> {
                ClientOptions::at(&address).map(Into::into)
            }
        }

        impl TryFrom<SocketAddr> for $options {
            type Error = ClientError;

            fn try_from(address: SocketAddr) -> Result<$options, ClientError> {
                ClientOptions::at(&address.to_string()).map(Into::into)
            }
        }
    )*};
}

by_address!(ClientOptions, ProducerOptions, ConsumerOptions);

impl From<Infallible> for ClientError {
    fn from(never: Infallible) -> ClientError {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_form() {
        let check = |address: &str, expected: Option<(&str, u16)>| {
            let options = ClientOptions::at(address).ok().map(|options| (options.host, options.port));
            assert_eq!(options, expected.map(|(host, port)| (host.to_owned(), port)), "{address}");
        };
        check("127.0.0.1:9999", Some(("127.0.0.1", 9999)));
        check("broker.example:1", Some(("broker.example", 1)));
        check("localhost", Some(("localhost", 9999)));
        check("[::1]:7000", Some(("::1", 7000)));
        check("[::1]", Some(("::1", 9999)));
        check("::1", Some(("::1", 9999)));
        for bad in ["", ":9999", "a:", "a:0", "a:65536", "a:x", "http://a:1", "a b:1"] {
            check(bad, None);
        }
    }

    #[test]
    fn whatever_names_a_broker() {
        let address: SocketAddr = "127.0.0.1:5".parse().expect("valid");
        let port = |options: Result<ProducerOptions, ClientError>| options.expect("valid").client.port;
        assert_eq!(port("127.0.0.1:5".try_into()), 5);
        assert_eq!(port(String::from("a:5").try_into()), 5);
        assert_eq!(port((&String::from("a:5")).try_into()), 5);
        assert_eq!(port(address.try_into()), 5);
    }
}
