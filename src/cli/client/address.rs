//! Where the broker is: what the command line says, else the environment, else the default.

use super::failure::Failure;

const HOST: &str = "127.0.0.1";
const PORT: u16 = 9999;

const HOST_VARIABLE: &str = "WIBER_CLIENT_HOST";
/// The second is the server's own: beside a server, in one container with it, its port is known already.
const PORT_VARIABLES: [&str; 2] = ["WIBER_CLIENT_PORT", "QB_SERVER_PORT"];

/// Host and port; `variable` looks one up in the environment.
pub(super) fn choose(
    host: Option<String>,
    port: Option<u16>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(String, u16), Failure> {
    // As many tools have it, an empty variable is none.
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let host = host.or_else(|| variable(HOST_VARIABLE)).unwrap_or_else(|| HOST.to_owned());
    if let Some(port) = port {
        return Ok((host, port));
    }
    let Some((name, text)) = PORT_VARIABLES.iter().find_map(|name| Some((name, variable(name)?))) else {
        return Ok((host, PORT));
    };
    match text.trim().parse() {
        Ok(0) | Err(_) => Err(Failure::Usage(format!("{name}: '{text}' is no port between 1 and 65535"))),
        Ok(port) => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_then_the_environment_then_the_default() {
        let check = |host: Option<&str>, port, variables: &[(&str, &str)], expected: Option<(&str, u16)>| {
            let find = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, v)| (*v).to_owned());
            let chosen = choose(host.map(str::to_owned), port, find);
            assert_eq!(chosen.ok(), expected.map(|(host, port)| (host.to_owned(), port)), "{variables:?}");
        };
        let all = [("WIBER_CLIENT_HOST", "b"), ("WIBER_CLIENT_PORT", "2"), ("QB_SERVER_PORT", "3")];
        check(None, None, &[], Some((HOST, PORT)));
        check(Some("a"), Some(1), &all, Some(("a", 1)));
        check(None, None, &all, Some(("b", 2)));
        check(None, None, &all[2..], Some((HOST, 3)));
        check(None, None, &[("WIBER_CLIENT_PORT", "")], Some((HOST, PORT)));
        check(None, None, &[("QB_SERVER_PORT", "0")], None);
        check(None, None, &[("WIBER_CLIENT_PORT", "many")], None);
        check(None, Some(1), &[("WIBER_CLIENT_PORT", "many")], Some((HOST, 1)));
    }
}
