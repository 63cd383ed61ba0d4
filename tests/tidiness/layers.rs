//! Layers: a module of `src/` names only modules below it. ARCHITECTURE.md has the picture.

use super::tree::{RustFile, rust_files};
use super::{assert_caught, assert_none};

/// What each layer may name beside itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("record", &["types"]),
    ("disk", &["types"]),
    ("log", &["disk", "record", "types"]),
    ("replica", &["log", "disk", "record", "types"]),
    ("broker", &["replica", "log", "disk", "record", "types"]),
    ("protocol", &["record", "types"]),
    // Of the replica layer, the handles and answers that the broker gives out.
    ("listener", &["broker", "replica", "protocol", "record", "types"]),
    // Looks into a data directory that no broker serves.
    ("inspect", &["broker", "replica", "log", "disk", "record", "types"]),
    ("server", &["listener", "broker", "replica", "log", "disk", "protocol", "record", "types"]),
    ("client", &["protocol", "record", "types"]),
    // What measuring any broker takes.
    ("load", &[]),
    ("cli", &["client", "load", "protocol", "record", "types"]),
];

/// Files with a rule of their own instead of their layer's.
const FILES: &[(&str, &[&str])] = &[
    // The server's command line starts it, and hands its offline tools a disk.
    ("src/cli/server", &["server", "inspect", "log", "disk", "client", "protocol", "record", "types"]),
    ("src/cli/mod.rs", &["client", "protocol", "record", "types"]),
    ("src/bin/wiber-server.rs", &["cli", "server"]),
    ("src/bin/wiber-client.rs", &["cli", "client"]),
];

fn violations(files: &[RustFile]) -> Vec<String> {
    files.iter().filter(|file| file.path != "src/lib.rs").flat_map(violations_of).collect()
}

fn violations_of(file: &RustFile) -> Vec<String> {
    let Some(layer) = file.layer() else { return Vec::new() };
    let of_file = FILES.iter().find(|(path, _)| file.path.starts_with(path));
    let Some((_, allowed)) = of_file.or_else(|| LAYERS.iter().find(|(name, _)| *name == layer)) else {
        return vec![format!("{}: the layers do not say where `{layer}` belongs", file.path)];
    };
    let is_layer = |name: &str| LAYERS.iter().any(|(layer, _)| *layer == name);
    let mentions = file.paths.mentions.iter().filter(|mention| mention.segments[0] == "crate");
    let strangers = mentions.filter(|mention| {
        let named = mention.segments.get(1).map_or("", String::as_str);
        is_layer(named) && named != layer && !allowed.contains(&named)
    });
    strangers.map(|m| format!("{}:{}: `{layer}` must not name `{}`", file.path, m.line, m.text())).collect()
}

#[test]
fn no_layer_names_one_above_it() {
    assert_none(&violations(&rust_files()));
}

#[test]
fn an_upward_import_is_caught() {
    let sample = |path, text| violations(&[RustFile::sample(path, text)]);
    let caught = [
        ("src/log/read.rs", "use crate::{types::Offset, broker::Broker};", "`crate::broker::Broker`"),
        ("src/log/read.rs", "use super::super::replica;", "`crate::replica`"),
        ("src/types/name.rs", "fn f() { crate::record::verify(b) }", "src/types/name.rs:1"),
        ("src/disk/mod.rs", "use crate::log as l;", "`disk` must not name"),
        ("src/protocol/native/frame.rs", "\nuse crate::broker::Broker;", ":2: `protocol`"),
        ("src/protocol/lines/codec.rs", "use crate::broker::queues;", "`protocol` must not name"),
        ("src/broker/queues/group.rs", "use crate::listener::lines::LinesListener;", "`broker` must not name"),
        ("src/listener/native/mod.rs", "use crate::disk::Disk;", "`crate::disk::Disk`"),
        ("src/client/mod.rs", "use crate::server;", "`crate::server`"),
        ("src/cli/client/publish.rs", "use crate::server;", "`crate::server`"),
        ("src/server/mod.rs", "use crate::cli;", "`crate::cli`"),
        ("src/load/payload.rs", "use crate::client;", "`crate::client`"),
        ("src/broker/open.rs", "use crate::inspect;", "`crate::inspect`"),
        ("src/bin/wiber-client.rs", "fn main() { wiber::server::run() }", "`crate::server::run`"),
        ("src/helping/mod.rs", "", "where `helping` belongs"),
    ];
    for (path, text, expected) in caught {
        assert_caught(&sample(path, text), &[expected]);
    }
    for (path, text) in [
        ("src/log/read.rs", "use crate::disk::Disk; // not crate::broker\nconst A: &str = \"crate::broker\";"),
        ("src/cli/server/mod.rs", "use crate::server;"),
        ("src/cli/server_tools/verify.rs", "use crate::{disk::RealDisk, inspect::verify};"),
        ("src/server/mod.rs", "use crate::disk::RealDisk;"),
        ("tests/some.rs", "use wiber::broker::Broker;"),
    ] {
        assert_none(&sample(path, text));
    }
}
