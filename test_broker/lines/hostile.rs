//! What no client should send, and limits.

use std::io::Write;
use std::net::TcpListener;

use super::{setup, start};
use crate::harness::Setup;
use crate::harness::lines::{Terminal, lines_address};
use crate::harness::peer::{PUBLISH, Peer, frame};

/// A gigabyte without a newline: it is told, dropped as it comes, and cut off.
#[test]
fn a_line_without_end_costs_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let mut other = Terminal::connect(address);
    let mut endless = Terminal::connect(address);
    let before = server.resident_bytes();
    let piece = vec![b'x'; 1 << 20];
    // It is closed while it sends, or has sent all of it in the moment that a closed connection is still read.
    let _sent = (0..1_024).take_while(|_| endless.socket().write_all(&piece).is_ok()).count();
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{} MiB more", grown >> 20);
    other.ask("PING", "OK pong");
    let said: Vec<String> = std::iter::from_fn(|| endless.hear()).collect();
    // The last words may be lost to the reset that its bytes provoke.
    assert!(said.iter().all(|line| line.starts_with("ERR line too long: ")), "{said:?}");
    server.terminate();
}

#[test]
fn a_line_that_is_too_long_is_dropped_and_the_connection_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()).set("QB_TOPICS__MAX_MESSAGE_SIZE", "1000"));
    let mut client = Terminal::connect(address);
    client.ask(&format!("PUB t {}", "x".repeat(1_000)), "OK published");
    client.ask(&format!("PUB t {}", "x".repeat(1_001)), "ERR a message of 1001 bytes where topic 't' allows 1000");
    let long = "x".repeat(1 << 20);
    client.ask(&format!("PUB t {long}"), "ERR line too long: 1512 bytes are allowed; the rest of it is dropped");
    client.send(format!("{long}\nPING\n").as_bytes());
    client.expect("ERR line too long: 1512 bytes are allowed; the rest of it is dropped");
    client.expect("OK pong");
    server.terminate();
}

/// However lines come, in one write or byte by byte, they are the same.
#[test]
fn lines_come_in_any_pieces() {
    const COUNT: usize = 10_000;
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()));
    let mut client = Terminal::connect(address);
    client.ask("SUB t", "OK subscribed t");
    let lines: String = (0..COUNT).map(|number| format!("PUB t {number}\r\n")).collect();
    let mut writer = client.socket().try_clone().expect("a second handle");
    #[expect(clippy::disallowed_methods, reason = "one end writes while the other one reads")]
    let writing = std::thread::spawn(move || writer.write_all(lines.as_bytes()).expect("written"));
    let (mut published, mut messages) = (0, 0);
    while published < COUNT || messages < COUNT {
        let line = client.hear().expect("a line");
        if line == "OK published" {
            published += 1;
        } else {
            assert!(line.starts_with("MSG t ") && line.ends_with(&format!(" {messages}")), "{line}");
            messages += 1;
            assert!(messages <= published, "who publishes is answered first");
        }
    }
    writing.join().expect("written");
    // A character whose bytes come one by one is whole; bytes that are none are replaced.
    for byte in "PUB t caf\u{e9} \u{1f600}\n".as_bytes() {
        client.send(&[*byte]);
    }
    client.expect("OK published");
    assert_eq!(client.message(), "caf\u{e9} \u{1f600}");
    client.send(b"PUB t \xff\xfe!\n");
    client.expect("OK published");
    assert_eq!(client.message(), "\u{fffd}\u{fffd}!");
    server.terminate();
}

/// What other clients published is shown in one line, whatever it is.
#[test]
fn payloads_of_other_clients_stay_in_their_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, address) = start(&setup(directory.path()).set("QB_TOPICS__CREATE", r#"{"t":1}"#));
    let mut client = Terminal::connect(address);
    client.ask("SUB t", "OK subscribed t");
    let mut native = Peer::connect(&server);
    let id = "msg_1700000000123_0a1b2c3d";
    let publish = |sequence, pairs: &[(&str, &str)]| frame(PUBLISH, sequence, &[&[("topic", "t")], pairs].concat());
    native.send(&[
        publish(1, &[("id", id)]).at(1_700_000_000_123).with_body(b"one\ntwo\r\nthree"),
        publish(2, &[("id", "another")]).at(1_700_000_000_124).with_body(b"\xc3\x28"),
    ]);
    let first = client.hear().expect("a line");
    assert_eq!(first, format!("MSG t {id} 1 1700000000.123 one\\ntwo\\r\\nthree"));
    let second = client.hear().expect("a line");
    assert!(
        second.starts_with("MSG t msg_1700000000124_") && second.ends_with(" 2 1700000000.124 \u{fffd}("),
        "{second}"
    );
    server.terminate();
}

/// One limit of connections for all listeners.
#[test]
fn places_are_shared_with_the_native_protocol() {
    let directory = tempfile::tempdir().expect("a directory");
    let setup = setup(directory.path()).set("QB_MAX_CONNECTIONS", "2").expect_line("connections refused");
    let (server, address) = start(&setup);
    let _first = Terminal::connect(address);
    let mut native = Peer::connect(&server);
    native.send(&[frame(crate::harness::peer::HEARTBEAT, 1, &[])]);
    assert_eq!(native.next().sequence, 1);
    let mut third = Terminal::connect_silently(address);
    third.expect("ERR the server serves at most 2 connections (server.max_connections)");
    assert_eq!(third.hear(), None);
    server.terminate();
}

/// A port that was chosen and is taken stops the server; the default one turns the listener off.
#[test]
fn a_taken_port_that_was_chosen_is_fatal() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let (status, log) = setup(directory.path()).unset("QB_LINES__PORT").set("WIBER_PORT", &port).start_and_fail();
    assert!(!status.success() && log.contains("cannot listen on") && log.contains("WIBER_PORT"), "{log}");
    let (server, address) = {
        let setup =
            setup(directory.path()).unset("QB_LINES__PORT").set("WIBER_PORT", "0").set("WIBER_HOST", "127.0.0.2");
        start(&setup)
    };
    assert_eq!(address.ip().to_string(), "127.0.0.2");
    server.terminate();
    // Whoever chose a port for lines alone gets that, whatever listens on the native protocol's.
    let _taken_now_or_before = TcpListener::bind(("127.0.0.1", 9_999));
    let data = directory.path().join("lines").display().to_string();
    let alone = Setup::bare().set("WIBER_PORT", "0").set("WIBER_DATA_DIR", &data).expect_line("no native protocol");
    let mut server = alone.set("QB_KAFKA__ENABLED", "false").spawn();
    let address = lines_address(&mut server);
    Terminal::connect(address).ask("PUB t x", "OK published");
    assert!(server.terminate().contains("no native protocol"));
    let off = Setup::new(&directory.path().join("data")).set("QB_LINES__ENABLED", "false").start();
    assert!(!off.terminate().contains("line protocol"));
}
