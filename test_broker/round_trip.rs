//! Lines in by `wiber-client publish`, out by `wiber-client subscribe --raw`, compared byte for byte.

use std::fs;
use std::path::Path;

use crate::corpus;
use crate::harness::{Server, Setup, client, client_with_input, delete_derived};

const CORPUS_BYTES: usize = 8 << 20;

/// What comes back for a text: each line with a newline after it, the last one too.
fn told(text: &[u8]) -> (Vec<u8>, usize) {
    let mut told = text.to_vec();
    if told.last().is_some_and(|&last| last != b'\n') {
        told.push(b'\n');
    }
    let lines = told.iter().filter(|&&byte| byte == b'\n').count();
    (told, lines)
}

fn create(server: &Server, topic: &str) {
    let said = client(server, &["create-topic", topic, "--partitions", "1"]).expect_text();
    assert_eq!(said, format!("Created topic '{topic}' with 1 partitions\n"));
}

/// Reads as many records as there are lines, and sees that they are the lines.
fn check(server: &Server, topic: &str, text: &[u8]) {
    let (told, lines) = told(text);
    let count = lines.to_string();
    let arguments = ["subscribe", topic, "--partition", "0", "--from", "start", "--count", &count, "--raw"];
    let out = client(server, &arguments).expect_out();
    if out != told {
        let at = out.iter().zip(&told).position(|(a, b)| a != b).unwrap_or(out.len().min(told.len()));
        let around = |bytes: &[u8]| {
            let shown = &bytes[at.saturating_sub(100).min(bytes.len())..(at + 100).min(bytes.len())];
            String::from_utf8_lossy(shown).into_owned()
        };
        panic!(
            "{} bytes of {}, different from byte {at} on:\n{:?}\n{:?}",
            out.len(),
            told.len(),
            around(&out),
            around(&told)
        );
    }
}

/// Publishes a text by file, and again through standard input; reads it as it runs, after kill -9, and after kill -9
/// with every snapshot and index gone.
fn round_trip(setup: &Setup, data_dir: &Path, text: &[u8]) {
    let file = data_dir.with_extension("txt");
    fs::write(&file, text).expect("file is written");
    let file = file.to_str().expect("UTF-8");

    let server = setup.start();
    create(&server, "lines");
    create(&server, "piped");
    client(&server, &["publish", "lines", "--file", file]).expect_out();
    check(&server, "lines", text);
    client_with_input(&server, &["publish", "piped", "-"], Path::new(file)).expect_out();
    server.kill();

    let server = setup.start();
    check(&server, "lines", text);
    check(&server, "piped", text);
    server.kill();

    assert!(delete_derived(data_dir) > 0);
    let server = setup.start();
    check(&server, "lines", text);
    check(&server, "piped", text);
    server.terminate();
}

#[test]
fn eight_megabytes_of_real_lines() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    // Small segments, so that the text spans several.
    let setup = Setup::new(&data_dir).set("QB_STORAGE__MAX_LOG_SIZE", "3000000");
    round_trip(&setup, &data_dir, &corpus::text(CORPUS_BYTES));
    assert!(fs::read_dir(data_dir.join("lines_p0")).expect("partition").count() > 5, "several segments");
}

#[test]
fn lines_of_every_shape() {
    let mut text = Vec::new();
    for line in [
        "",
        "",
        "plain",
        "tab\tand \"quotes\"",
        "carriage return\r",
        "Zażółć gęślą jaźń",
        "日本語のテキスト",
        "🦀🚀",
        "a\u{0}b",
        " ",
    ] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(b"\xff\xfe not UTF-8 \x80\n");
    for length in [1_usize, 255, 65_535, 65_536, 300_000, 1 << 20] {
        text.extend((0..length).map(|at| b'a' + u8::try_from(at % 26).expect("small")));
        text.push(b'\n');
    }
    text.extend_from_slice("the last line has no newline: ż".as_bytes());
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    round_trip(&Setup::new(&data_dir), &data_dir, &text);
}

#[test]
fn a_line_above_the_limit_is_refused_and_those_before_it_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    let setup = Setup::new(&data_dir).set("QB_TOPICS__MAX_MESSAGE_SIZE", "1000");
    let file = directory.path().join("lines.txt");
    fs::write(&file, format!("first\nsecond\n{}\n", "x".repeat(1_001))).expect("file is written");
    let server = setup.start();
    create(&server, "lines");
    let ran = client(&server, &["publish", "lines", "--file", file.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("1001 bytes") || ran.err.contains("message_too_large"), "{}", ran.err);
    check(&server, "lines", b"first\nsecond\n");
}
