//! Signs of life: heartbeats, who lives without a word, who is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::start;
use super::subscribe::now;
use crate::harness::peer::{DATA, HEARTBEAT, PUBLISH, Peer, SUBSCRIBE, frame};
use crate::harness::{Server, Setup, say};

#[test]
fn the_servers_own_heartbeats_carry_zero() {
    let (_directory, server) = start(&[("QB_SERVER__HEARTBEAT_INTERVAL", "0.1")]);
    let mut peer = Peer::connect(&server);
    // Also before the first frame, and among DATA.
    let first = peer.next_or_end().expect("a heartbeat");
    assert_eq!((first.kind, first.sequence, first.properties.len(), first.body.len()), (HEARTBEAT, 0, 0, 0));
    peer.create("t", 1);
    peer.subscribe("t", &[]);
    let mut publisher = Peer::connect(&server);
    let (mut beats, mut records) = (0, 0);
    while beats < 5 {
        publisher.publish("t", 0, b"x");
        match peer.next_or_end().expect("a frame") {
            frame if frame.kind == DATA => {
                assert_eq!(frame.sequence, records);
                records += 1;
            }
            frame => {
                assert_eq!((frame.kind, frame.sequence), (HEARTBEAT, 0));
                beats += 1;
            }
        }
    }
}

#[test]
fn a_heartbeat_is_answered_with_its_number() {
    let (_directory, server) = start(&[]);
    let mut peer = Peer::connect(&server);
    for sequence in [0, 1, 42, u64::MAX] {
        for (properties, body) in [(&[][..], &b""[..]), (&[("created_at", "1"), ("version", "1.0")], b"anything")] {
            peer.send(&[frame(HEARTBEAT, sequence, properties).with_body(body)]);
            let reply = peer.next_or_end().expect("a heartbeat");
            assert_eq!((reply.kind, reply.sequence), (HEARTBEAT, sequence));
            assert_eq!((reply.properties.len(), reply.body.len()), (0, 0));
            assert!(reply.timestamp > 1_700_000_000_000, "a time of the server's");
        }
    }
}

/// A subscriber that sends nothing after its SUBSCRIBE outlives three connection timeouts, counted in heartbeats.
#[test]
fn who_only_reads_lives() {
    let variables = [("QB_SERVER__CONNECTION_TIMEOUT", "1"), ("QB_SERVER__HEARTBEAT_INTERVAL", "0.1")];
    let (_directory, server) = start(&variables);
    let mut peer = Peer::connect(&server);
    peer.create("t", 1);
    peer.subscribe("t", &[]);
    for _ in 0..35 {
        let beat = peer.next_or_end().expect("it lives");
        assert_eq!((beat.kind, beat.sequence), (HEARTBEAT, 0));
    }
    Peer::connect(&server).publish("t", 0, b"still there?");
    assert_eq!(peer.data().body, b"still there?");
}

/// The variable that makes the test a subscriber: the server's address.
const SUBSCRIBER: &str = "WIBER_TEST_SUBSCRIBER";
/// What it says once it has its first record.
const READING: &str = "a record came";

/// Nothing, unless run by another test: a subscriber in a process of its own, which reads until it is stopped.
#[test]
fn subscriber_process() {
    let Ok(address) = std::env::var(SUBSCRIBER) else { return };
    let mut peer = Peer::connect_to(address.parse().expect("an address"));
    peer.subscribe("t", &[]);
    peer.data();
    say(READING);
    while peer.next_or_end().is_some() {}
}

/// A subscriber in a process, ended with it.
struct Subscriber(Child);

impl Subscriber {
    /// Starts it, behind this command where there is one, and waits for its first record.
    fn start(server: &Server, behind: &[&str]) -> Subscriber {
        let executable = std::env::current_exe().expect("this executable");
        let mut command = match behind {
            [] => Command::new(executable),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(executable);
                command
            }
        };
        command.args(["--exact", "protocol::heartbeats::subscriber_process", "--nocapture", "--test-threads=1"]);
        command.env(SUBSCRIBER, server.address().to_string()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the subscriber starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains(READING) {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("it speaks"), 0, "the subscriber ended early");
        }
        Subscriber(child)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// How much longer than its timeout a connection may live, on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(30);

/// Waits until the server drops somebody who fell silent at this moment.
fn wait_for_drop(server: &mut Server, began: Instant) {
    let line = server.wait_for("disconnected");
    assert!(!line.contains("closed by the peer"), "{line}");
    let took = now() - began;
    say(&format!("dropped after {:.1} s where the timeout is 1 s", took.as_secs_f64()));
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
}

const IMPATIENT: [(&str, &str); 2] = [("QB_SERVER__CONNECTION_TIMEOUT", "1"), ("QB_SERVER__HEARTBEAT_INTERVAL", "0.2")];

/// A stopped process takes nothing more once its buffers are full: it is dropped, and the others are served meanwhile.
#[test]
fn a_stopped_subscriber_is_dropped() {
    let (_directory, mut server) = start(&IMPATIENT);
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    publisher.publish("t", 0, b"first");
    let subscriber = Subscriber::start(&server, &[]);
    kill_process(Pid::from_child(&subscriber.0), Signal::STOP).expect("stopped");
    let began = now();
    // More than the buffers of two sockets and the server's own take.
    let records: Vec<_> =
        (0..64).map(|n| frame(PUBLISH, n, &[("topic", "t")]).with_body(&vec![b'x'; 1 << 20])).collect();
    for record in &records {
        publisher.ask(record);
    }
    wait_for_drop(&mut server, began);
    publisher.is_alive();
    drop(subscriber);
}

/// A client whose handler takes long reads nothing meanwhile, but its heartbeats say that it lives: it is not dropped, and
/// misses nothing.
#[test]
fn who_sends_heartbeats_lives_without_reading() {
    let (_directory, server) = start(&IMPATIENT);
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    let mut slow = Peer::connect(&server);
    slow.subscribe("t", &[]);
    // More than the buffers take, so that the window is shut.
    for _ in 0..32 {
        publisher.ask(&frame(PUBLISH, 1, &[("topic", "t")]).with_body(&vec![b'x'; 1 << 20]));
        assert!(slow.try_send_bytes(&frame(HEARTBEAT, 0, &[]).bytes()), "it was dropped");
    }
    // Its time is measured by somebody else's heartbeats: 20 are four timeouts.
    let mut clock = Peer::connect(&server);
    clock.is_alive();
    for _ in 0..20 {
        assert_eq!(clock.next_or_end().map(|beat| beat.kind), Some(HEARTBEAT));
        assert!(slow.try_send_bytes(&frame(HEARTBEAT, 0, &[]).bytes()), "it was dropped");
    }
    for offset in 0..32 {
        assert_eq!(slow.data().sequence, offset);
    }
}

/// A network between server and subscriber, that can be cut. Gone with the value.
struct Network {
    name: String,
    address: String,
}

impl Network {
    /// Makes one, or says why that cannot be.
    fn new() -> Result<Network, String> {
        let number = std::process::id() % 60_000;
        let (high, low) = (number / 250, number % 250);
        let network = Network { name: format!("wbr{number}"), address: format!("10.{}.{low}.1", 200 + high % 50) };
        let (name, other) = (network.name.as_str(), format!("{}p", network.name));
        let near = format!("{}/24", network.address);
        let far = format!("10.{}.{low}.2/24", 200 + high % 50);
        ip(&["netns", "add", name])?;
        ip(&["link", "add", name, "type", "veth", "peer", "name", &other])?;
        ip(&["link", "set", &other, "netns", name])?;
        ip(&["addr", "add", &near, "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        ip(&["-n", name, "addr", "add", &far, "dev", &other])?;
        ip(&["-n", name, "link", "set", &other, "up"])?;
        Ok(network)
    }

    fn cut(&self) {
        let other = format!("{}p", self.name);
        // The far end: the near one stays up, as a cable pulled elsewhere leaves it.
        ip(&["-n", &self.name, "link", "set", &other, "down"]).expect("cut");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone = ip(&["link", "del", &self.name]);
        let _gone = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    let said = || format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(said()) }
}

/// A peer whose network is gone says neither a word nor good-bye: the heartbeats find out.
#[test]
fn a_subscriber_behind_a_cut_network_is_dropped() {
    let network = match Network::new() {
        Ok(network) => network,
        Err(reason) => return say(&format!("a cut network is not tested: {reason}")),
    };
    let directory = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&directory.path().join("data")).set("QB_SERVER_HOST", &network.address);
    let mut server = IMPATIENT.iter().fold(setup, |setup, (name, value)| setup.set(name, value)).start();
    let mut publisher = Peer::connect(&server);
    publisher.create("t", 1);
    publisher.publish("t", 0, b"first");
    let subscriber = Subscriber::start(&server, &["ip", "netns", "exec", &network.name]);
    network.cut();
    let began = now();
    wait_for_drop(&mut server, began);
    publisher.is_alive();
    publisher.refused(&frame(SUBSCRIBE, 1, &[("topic", "absent")]), "unknown_topic");
    drop(subscriber);
}
