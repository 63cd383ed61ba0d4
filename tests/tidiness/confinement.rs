//! Confinement: files, sockets, threads, clocks and chance are each met in one place, so that the rest can be replayed.
//!
//! Tests are free: a test may open a socket to knock at a listener.

use super::tree::{RustFile, rust_files};
use super::{assert_caught, assert_none};

/// What may be named only below some paths.
struct Confined {
    what: &'static str,
    paths: &'static [&'static str],
    /// Beginnings of the paths of the files where it is at home.
    home: &'static [&'static str],
}

const CONFINED: &[Confined] = &[
    Confined {
        what: "files",
        paths: &["std::fs", "std::os::unix::fs", "rustix::fs", "tokio::fs"],
        // The command lines read the files their user names; the configuration and the server's own log are no data; what a
        // process uses the operating system tells in files.
        home: &["src/disk/", "src/cli/", "src/load/server_usage.rs", "src/server/config", "src/server/logging"],
    },
    Confined {
        what: "sockets",
        paths: &["std::net", "std::os::unix::net", "tokio::net", "socket2", "rustix::net"],
        // The command line waits for the pipe of its standard output to be closed.
        home: &["src/listener/", "src/client/", "src/server/", "src/cli/client/signals.rs"],
    },
    Confined { what: "threads", paths: &["std::thread"], home: &["src/server/runtime"] },
    Confined {
        what: "clocks",
        paths: &["std::time::Instant::now", "std::time::SystemTime::now", "time::OffsetDateTime::now_utc"],
        // The client stamps what it sends, in a process where nobody hands it the time.
        home: &["src/server/runtime", "src/cli/", "src/client/connection.rs", "src/load/clock.rs"],
    },
    Confined {
        what: "chance",
        paths: &["uuid::Uuid::new_v4", "uuid::Uuid::now_v7", "rand", "getrandom", "std::hash::RandomState"],
        // Clients that failed together draw how long to wait, so as not to come back together.
        home: &["src/server/", "src/client/chance.rs"],
    },
    Confined {
        what: "the asynchronous runtime",
        paths: &["tokio"],
        home: &["src/listener/", "src/client/", "src/server/", "src/cli/", "src/load/pacer.rs"],
    },
];

/// Layers where the order of a hash map could become an effect.
const ORDERED: &[&str] = &["log", "replica", "broker"];

/// Files of those layers that use hash maps all the same, and why no order of theirs gets out.
const HASH_MAPS: &[(&str, &str)] = &[
    (
        "src/replica/producers.rs",
        "looked up by id on every append; what leaves it, snapshots and the order of forgetting, is sorted",
    ),
    ("src/broker/dedup/index.rs", "looked up by message id on every publish with one; never iterated"),
];

fn violations(files: &[RustFile]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.is_test) {
        for confined in CONFINED.iter().filter(|confined| !confined.home.iter().any(|home| file.path.starts_with(home)))
        {
            let mentions = file.paths.mentions.iter().filter(|mention| !mention.is_test);
            let strays = mentions.filter(|mention| confined.paths.iter().any(|path| mention.is_in(path)));
            let what = confined.what;
            found
                .extend(strays.map(|m| format!("{}:{}: {what} have no place here: `{}`", file.path, m.line, m.text())));
        }
        if file.layer().is_some_and(|layer| ORDERED.contains(&layer)) {
            let is_listed = HASH_MAPS.iter().any(|(path, _)| *path == file.path);
            match (hash_map_line(file), is_listed) {
                (Some(line), false) => found.push(format!("{}:{line}: a hash map where order matters", file.path)),
                (None, true) => found.push(format!("{}: needs no leave for hash maps any more", file.path)),
                (Some(_), true) | (None, false) => {}
            }
        }
    }
    found
}

fn hash_map_line(file: &RustFile) -> Option<usize> {
    let mut mentions = file.paths.mentions.iter().filter(|mention| !mention.is_test);
    let is_hashed = |segment: &String| segment == "HashMap" || segment == "HashSet" || segment == "hash_map";
    mentions.find(|mention| mention.segments.iter().any(is_hashed)).map(|mention| mention.line)
}

#[test]
fn the_world_is_met_only_where_it_belongs() {
    assert_none(&violations(&rust_files()));
}

#[test]
fn a_stray_is_caught() {
    let sample = |path, text| violations(&[RustFile::sample(path, text)]);
    for (path, text, expected) in [
        ("src/log/read.rs", "use std::{io, fs as files};", "files have no place here: `std::fs`"),
        ("src/broker/open.rs", "fn f() { std::fs::read(p) }", "`std::fs::read`"),
        ("src/server/mod.rs", "fn f() { rustix::fs::sync() }", "`rustix::fs::sync`"),
        ("src/broker/mod.rs", "use std::net::SocketAddr;", "sockets"),
        ("src/listener/native/mod.rs", "fn f() { std::thread::yield_now() }", "threads"),
        ("src/replica/mod.rs", "fn f(now: std::time::SystemTime) { std::time::SystemTime::now() }", "clocks"),
        ("src/broker/mod.rs", "fn f() { uuid::Uuid::new_v4() }", "chance"),
        ("src/protocol/native/codec.rs", "use tokio::io::AsyncRead;", "the asynchronous runtime"),
        ("src/broker/mod.rs", "type T = std::collections::HashMap<u8, u8>;", "a hash map"),
        ("src/replica/producers.rs", "", "needs no leave"),
    ] {
        assert_caught(&sample(path, text), &[expected]);
    }
    // Found where it is called, not where it is imported.
    let imported = "use std::time::{Duration, Instant};\nfn f() { Instant::now() }";
    assert_caught(&sample("src/log/read.rs", imported), &["src/log/read.rs:2: clocks"]);
    for (path, text) in [
        ("src/disk/real.rs", "use std::fs::File;"),
        ("src/listener/native/mod.rs", "use tokio::time::Instant;\nfn f() { Instant::now() }"),
        ("src/server/runtime/pool.rs", "fn f() { std::thread::Builder::new() }"),
        ("src/protocol/native/codec.rs", "use tokio_util::codec::Decoder;"),
        ("src/log/read.rs", "// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }"),
        ("src/log/tests.rs", "use std::thread;"),
        ("src/server/mod.rs", "use std::collections::HashMap;"),
    ] {
        assert_none(&sample(path, text));
    }
}
