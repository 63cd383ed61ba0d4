//! The rules of this repository that a machine can check, run by `cargo test`: layers, confinement, tidiness, documents.
//!
//! Each rule is a function from sources to violations, so that beside the test that holds the repository to it stands one
//! that shows the rule catching a sample. The rules read text: they know Rust's comments, strings and `use` trees, not
//! its types.

mod confinement;
mod documents;
mod files;
mod layers;
mod lexer;
mod operations;
mod paths;
mod repository;
mod tree;

/// Fails with every violation on a line of its own.
#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// Fails unless the violations are as many as expected and each holds its text, in order.
#[track_caller]
fn assert_caught(violations: &[String], expected: &[&str]) {
    let matches = violations.len() == expected.len()
        && violations.iter().zip(expected).all(|(violation, text)| violation.contains(text));
    assert!(matches, "expected {expected:#?}, found {violations:#?}");
}
