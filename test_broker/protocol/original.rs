//! A client written from the protocol's description alone, in another language and with the habits of old ones:
//! `test_broker/original_client.py`. Passed over, with a word, where there is no Python.

use std::path::Path;
use std::process::Command;

use super::start;
use crate::harness::say;

/// Plays one scenario of the client's against a server with these variables.
fn play(variables: &[(&str, &str)], scenario: &[&str]) {
    let version = Command::new("python3").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        return say("the client in Python is not tested: there is no python3");
    }
    let (_directory, server) = start(variables);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_broker/original_client.py");
    let address = server.address();
    let mut command = Command::new("python3");
    // It leaves nothing beside its source.
    command.arg("-B").arg(script).args([address.ip().to_string(), address.port().to_string()]).args(scenario);
    let output = command.output().expect("python3 runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{scenario:?}: {out}{err}");
    say(&format!("a client in Python: {}", out.trim()));
}

#[test]
fn it_creates_publishes_and_subscribes() {
    play(&[], &["round-trip"]);
}

/// Its handlers are installed so late after the ACK as the grace allows, with what this machine needs taken off.
#[test]
fn its_slow_handlers_miss_nothing() {
    play(&[("QB_SERVER__SUBSCRIBE_GRACE_MS", "5000")], &["slow-handlers", "100", "0.2"]);
}

#[test]
fn it_acknowledges_each_record() {
    play(&[], &["at-least-once"]);
}
