//! Tidiness of single files: how they open, how long they are, what they are called, what they leave undone.

use std::io::Write;

use super::tree::{RustFile, rust_files};
use super::{assert_caught, assert_none};

/// Lines of production code in one file, beyond which the test fails.
const LINES_MAX: usize = 800;
/// Lines beyond which the test names the file, and no more.
const LINES_WARN: usize = 500;

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"];

/// Marks of work put off, in comments.
const MARKS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

fn openings(files: &[RustFile]) -> Vec<String> {
    let silent = files.iter().filter(|file| !file.text.starts_with("//! "));
    silent.map(|file| format!("{}: opens without `//! ` and its purpose", file.path)).collect()
}

fn longer_than(files: &[RustFile], lines_max: usize) -> Vec<String> {
    let long = files.iter().filter(|file| file.production_lines() > lines_max);
    long.map(|file| format!("{}: {} lines of production code", file.path, file.production_lines())).collect()
}

fn empty_names(files: &[RustFile]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let segments = file.path.split('/').map(|segment| segment.trim_end_matches(".rs"));
        let inline = file.paths.modules.iter().map(|module| module.name.as_str());
        let empty = segments.chain(inline).find(|name| EMPTY_NAMES.contains(name));
        found.extend(empty.map(|name| format!("{}: `{name}` says nothing", file.path)));
    }
    found
}

fn put_off(files: &[RustFile]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (index, (comments, code)) in file.split.comments.lines().zip(file.split.code.lines()).enumerate() {
            let mut words = comments.split(|c: char| !c.is_alphanumeric());
            let is_put_off = words.any(|word| MARKS.contains(&word))
                || ["todo!", "unimplemented!"].iter().any(|call| code.contains(call));
            if is_put_off {
                found.push(format!("{}:{}: work put off", file.path, index + 1));
            }
        }
    }
    found
}

#[test]
fn every_file_opens_with_its_purpose() {
    assert_none(&openings(&rust_files()));
}

#[test]
fn a_silent_opening_is_caught() {
    let sample = |text| openings(&[RustFile::sample("src/log/read.rs", text)]);
    assert_caught(&sample("use std::io;\n//! Late.\n"), &["src/log/read.rs"]);
    assert_caught(&sample(""), &["src/log/read.rs"]);
    assert_none(&sample("//! Reading.\n"));
}

#[test]
fn no_file_is_too_long() {
    let files = rust_files();
    for warning in longer_than(&files, LINES_WARN) {
        writeln!(std::io::stderr(), "warning: {warning}, better below {LINES_WARN}")
            .expect("standard error takes a line");
    }
    assert_none(&longer_than(&files, LINES_MAX));
}

#[test]
fn a_long_file_is_caught_but_not_for_its_tests() {
    let line = "fn f() {}\n";
    let sample = |path, text: String| longer_than(&[RustFile::sample(path, &text)], LINES_MAX);
    assert_caught(&sample("src/log/read.rs", line.repeat(801)), &["801 lines"]);
    assert_none(&sample("src/log/read.rs", line.repeat(800)));
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(100));
    assert_none(&sample("src/log/read.rs", line.repeat(800) + &tests));
    assert_caught(&sample("src/log/read.rs", line.repeat(801) + &tests), &["801 lines"]);
    assert_none(&sample("src/log/read/tests.rs", line.repeat(2000)));
}

#[test]
fn every_name_says_something() {
    assert_none(&empty_names(&rust_files()));
}

#[test]
fn an_empty_name_is_caught() {
    let sample = |path, text| empty_names(&[RustFile::sample(path, text)]);
    for (path, text, expected) in [
        ("src/log/utils.rs", "", "`utils`"),
        ("src/common/mod.rs", "", "`common`"),
        ("src/log/read.rs", "mod helpers { }", "`helpers`"),
    ] {
        assert_caught(&sample(path, text), &[expected]);
    }
    assert_none(&sample("src/log/utility_bill.rs", "mod commons;"));
}

#[test]
fn nothing_is_put_off() {
    assert_none(&put_off(&rust_files()));
}

#[test]
fn work_put_off_is_caught() {
    let sample = |text| put_off(&[RustFile::sample("src/log/read.rs", text)]);
    assert_caught(&sample("// TODO: later"), &[":1: work put off"]);
    assert_caught(&sample("\n/* a\n FIXME(b) */"), &[":3: work put off"]);
    assert_caught(&sample("fn f() { todo!() }"), &[":1: work put off"]);
    assert_none(&sample("fn f() { \"TODO\" } // a XXXL shirt, a todo list"));
}
