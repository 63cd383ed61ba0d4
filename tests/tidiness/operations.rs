//! Operations: every warning and error that the server logs is explained in docs/operations.md, word for word.

use super::repository::text_files;
use super::tree::{RustFile, rust_files};
use super::{assert_caught, assert_none};

const DOCUMENT: &str = "docs/operations.md";
const MACROS: &[&str] = &["tracing::warn!(", "tracing::error!("];

/// Lines of the log that the document does not hold. What is filled in at run time may differ, the words between may not.
fn unexplained(files: &[RustFile], document: &str) -> Vec<String> {
    let document = words(document);
    let mut found = Vec::new();
    // What the client library logs is for the operators of the applications that use it.
    for file in files.iter().filter(|file| !file.is_test && file.layer() != Some("client")) {
        for (line, message) in messages(file) {
            let is_explained = fixed_parts(&message).iter().all(|part| document.contains(part));
            if !is_explained {
                found.push(format!("{}:{line}: {DOCUMENT} does not explain \"{message}\"", file.path));
            }
        }
    }
    found
}

/// The messages of a file's warnings and errors, with their lines: of each macro call the last string.
fn messages(file: &RustFile) -> Vec<(usize, String)> {
    let (code, text): (Vec<char>, Vec<char>) = (file.split.code.chars().collect(), file.text.chars().collect());
    let mut found = Vec::new();
    for at in 0..code.len() {
        let Some(call) = MACROS.iter().find(|call| code[at..].iter().copied().take(call.len()).eq(call.chars())) else {
            continue;
        };
        let end = call_end(&code, at + call.len());
        let line = code[..at].iter().filter(|c| **c == '\n').count() + 1;
        found.extend(last_string(&text[at..end]).map(|message| (line, message)));
    }
    found
}

/// The place of the parenthesis that closes a call whose arguments begin at `from`.
fn call_end(code: &[char], from: usize) -> usize {
    let mut depth = 1_usize;
    for (at, c) in code.iter().enumerate().skip(from) {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// The last string in some source text, its continuation lines put together.
fn last_string(text: &[char]) -> Option<String> {
    let mut last = None;
    let mut rest = text.iter().copied();
    while rest.any(|c| c == '"') {
        let mut string = String::new();
        while let Some(c) = rest.next() {
            match c {
                '"' => break,
                '\\' => string.extend(rest.next().filter(|escaped| *escaped != '\n')),
                _ => string.push(c),
            }
        }
        last = Some(words(&string));
    }
    last
}

/// A text with every run of white space as one space.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between the placeholders of a message.
fn fixed_parts(message: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for part in message.split('{') {
        let fixed = part.split_once('}').map_or(part, |(_, after)| after).trim();
        if !fixed.is_empty() {
            parts.push(fixed.to_owned());
        }
    }
    parts
}

#[test]
fn every_warning_and_error_is_explained() {
    let files = text_files();
    let document = files.iter().find(|file| file.path == DOCUMENT).expect("there is a document for operators");
    assert_none(&unexplained(&rust_files(), &document.text));
}

#[test]
fn an_unexplained_warning_is_caught() {
    let sample = |text| unexplained(&[RustFile::sample("src/log/read.rs", text)], "**the disk\nis full**, at once");
    assert_caught(&sample("fn f() {\n tracing::warn!(%error, \"it broke\");\n}"), &["src/log/read.rs:2"]);
    assert_caught(&sample("tracing::error!(n = f(\"the disk\"), \"is {n} broken\")"), &["is {n} broken"]);
    assert_none(&sample("tracing::warn!(n = f(\")\"), \"the disk \\\n   is full\")"));
    assert_none(&sample("tracing::warn!(\"{text}\"); tracing::error!(\"the disk {n} full\", n = 1)"));
    assert_none(&sample("tracing::info!(\"it broke\"); // tracing::warn!(\"it broke\")"));
    let client = RustFile::sample("src/client/mod.rs", "tracing::warn!(\"it broke\")");
    assert_none(&unexplained(&[client], ""));
}
