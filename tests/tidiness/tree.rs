//! The Rust files as modules: which module each is, what it mentions, and whether it is there for tests alone.

use std::collections::HashSet;

use super::lexer::{self, Split};
use super::paths::{self, Paths};
use super::repository::{self, TextFile};

/// A Rust file, read and understood.
#[derive(Debug)]
pub(crate) struct RustFile {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) split: Split,
    pub(crate) paths: Paths,
    /// Whether all of it is compiled for tests alone.
    pub(crate) is_test: bool,
}

impl RustFile {
    /// A file by itself, for samples.
    pub(crate) fn sample(path: &str, text: &str) -> RustFile {
        RustFile::new(TextFile::new(path, text))
    }

    fn new(file: TextFile) -> RustFile {
        let split = lexer::split(&file.text);
        let paths = paths::find(&module_of(&file.path), &lexer::tokens(&split.code));
        let is_test = !file.path.starts_with("src/") || is_test_name(&file.path);
        RustFile { path: file.path, text: file.text, split, paths, is_test }
    }

    /// The layer: the first directory below `src/`, or the file there.
    pub(crate) fn layer(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        Some(below.split('/').next().unwrap_or(below).trim_end_matches(".rs"))
    }

    /// Lines that are not for tests alone.
    pub(crate) fn production_lines(&self) -> usize {
        if self.is_test { 0 } else { self.text.lines().count() - self.paths.test_lines }
    }
}

/// Every Rust file of the repository, by path.
pub(crate) fn rust_files() -> Vec<RustFile> {
    let files = repository::text_files().into_iter().filter(|file| file.has_extension("rs"));
    let mut files: Vec<RustFile> = files.map(RustFile::new).collect();
    mark_tests(&mut files);
    files
}

/// Marks the files of modules that are declared under `#[cfg(test)]`, and everything below them.
fn mark_tests(files: &mut [RustFile]) {
    let declared = |file: &RustFile| {
        let module = module_of(&file.path);
        let tests = file.paths.modules.iter().filter(|module| module.is_test);
        tests.map(|test| [module.as_slice(), std::slice::from_ref(&test.name)].concat()).collect::<Vec<_>>()
    };
    let tests: HashSet<Vec<String>> = files.iter().flat_map(declared).collect();
    for file in files.iter_mut().filter(|file| file.path.starts_with("src/")) {
        let module = module_of(&file.path);
        file.is_test |= (1..=module.len()).any(|length| tests.contains(&module[..length]));
    }
}

fn is_test_name(path: &str) -> bool {
    path.split('/').any(|segment| segment == "tests" || segment == "tests.rs")
}

/// The module a file is: `src/log/read.rs` is `crate::log::read`.
fn module_of(path: &str) -> Vec<String> {
    let below = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let is_root = |segment: &&str| !matches!(*segment, "mod" | "lib" | "main");
    std::iter::once("crate").chain(below.split('/').filter(is_root)).map(str::to_owned).collect()
}

#[test]
fn files_are_modules_and_tests_are_known() {
    let mut files = vec![
        RustFile::sample("src/lib.rs", "mod log;"),
        RustFile::sample("src/log/mod.rs", "mod read;\n#[cfg(test)]\nmod stand_in;\n"),
        RustFile::sample("src/log/read.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n}\n"),
        RustFile::sample("src/log/read/tests.rs", "fn f() {}\n"),
        RustFile::sample("src/log/stand_in/deep.rs", "fn f() {}\n"),
    ];
    mark_tests(&mut files);
    let found: Vec<_> = files.iter().map(|f| (f.layer().unwrap_or(""), f.is_test, f.production_lines())).collect();
    let expected = [("lib", false, 1), ("log", false, 1), ("log", false, 1), ("log", true, 0), ("log", true, 0)];
    assert_eq!(found, expected);
}
