//! Documents: links resolve, files and modules named are there, and nothing tells of the machine it was written on.

use std::path::{Component, Path, PathBuf};

use super::lexer;
use super::repository::{self, TextFile, text_files};
use super::{assert_caught, assert_none};

/// Documents that sources already name and that are still to be written. One that exists must leave this list.
const PROMISED: &[&str] = &[];

/// Directories whose files documents name by their whole path.
const NAMED_BELOW: &[&str] = &["src/", "tests/", "test_broker/", "docs/", "config/", "scripts/", ".ci/"];

/// Whether a path from the top is there; handed in, so that samples need no files.
type Exists<'a> = &'a dyn Fn(&str) -> bool;

fn exists(path: &str) -> bool {
    repository::root().join(path).exists()
}

/// Links of Markdown files, `[text](path)`, that lead to no file.
fn dead_links(files: &[TextFile], exists: Exists<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        for (index, line) in file.text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split('#').next().unwrap_or(target);
                let is_elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
                if !is_elsewhere && !is_there(&beside(&file.path, path), exists) {
                    found.push(format!("{}:{}: the link to {target} leads nowhere", file.path, index + 1));
                }
            }
        }
    }
    found
}

/// Names of documents (anywhere but in code) and of our files (in Markdown) that nothing bears.
fn missing_files(files: &[TextFile], exists: Exists<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let prose = if file.has_extension("rs") { lexer::split(&file.text).comments } else { file.text.clone() };
        let is_markdown = file.has_extension("md");
        for (index, line) in prose.lines().enumerate() {
            let words = line.split(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)));
            for word in words.map(|word| word.trim_end_matches(['.', '-'])) {
                let is_document = word.ends_with(".md") && word.len() > 3;
                let is_named =
                    is_markdown && NAMED_BELOW.iter().any(|dir| word.len() > dir.len() && word.starts_with(dir));
                let is_found = || is_there(word, exists) || is_there(&beside(&file.path, word), exists);
                if (is_document || is_named) && !line.contains("://") && !is_found() {
                    found.push(format!("{}:{}: there is no {word}", file.path, index + 1));
                }
            }
        }
    }
    found
}

fn is_there(path: &str, exists: Exists<'_>) -> bool {
    PROMISED.contains(&path) || exists(path)
}

/// A path relative to a file's directory, from the top.
fn beside(file: &str, path: &str) -> String {
    let mut whole = PathBuf::from(file);
    whole.pop();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(whole.pop()),
            Component::Normal(name) => whole.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    whole.to_string_lossy().into_owned()
}

fn kept_promises(promised: &[&str], exists: Exists<'_>) -> Vec<String> {
    let kept = promised.iter().filter(|path| exists(path));
    kept.map(|path| format!("{path} is there: take it off PROMISED in tests/tidiness/documents.rs")).collect()
}

/// Directories of `src/` that ARCHITECTURE.md does not name.
fn unmapped(files: &[TextFile], map: &str) -> Vec<String> {
    let dirs = files.iter().filter_map(|file| {
        let (dir, _) = file.path.strip_prefix("src/")?.split_once('/')?;
        Some(dir)
    });
    let mut dirs: Vec<&str> = dirs.collect();
    dirs.sort_unstable();
    dirs.dedup();
    let missing = dirs.into_iter().filter(|dir| !map.contains(&format!("`{dir}")));
    missing.map(|dir| format!("ARCHITECTURE.md does not name `{dir}`")).collect()
}

/// Lines that hold a path of the machine: one of `places`, where a path can begin.
fn machine_paths(files: &[TextFile], places: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            let is_place = |place: &String| {
                line.match_indices(place.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-~}/".contains(c))
                })
            };
            if let Some(place) = places.iter().find(|place| is_place(place)) {
                found.push(format!("{}:{}: a path of some machine: {place}", file.path, index + 1));
            }
        }
    }
    found
}

/// Where homes and checkouts lie, and where this one does. Put together here, so that this file does not catch itself.
fn places() -> Vec<String> {
    let mut places: Vec<String> = ["home", "Users", "root", "work"].iter().map(|name| format!("/{name}/")).collect();
    let root = repository::root().to_string_lossy().into_owned();
    if root.matches('/').count() > 1 {
        places.push(root);
    }
    places
}

#[test]
fn links_lead_somewhere() {
    assert_none(&dead_links(&text_files(), &exists));
}

#[test]
fn a_dead_link_is_caught() {
    let exists = |path: &str| path == "docs/adr/one.md" || path == "README.md";
    let sample = |path, text| dead_links(&[TextFile::new(path, text)], &exists);
    assert_caught(&sample("docs/a.md", "\n[x](adr/two.md)"), &["docs/a.md:2: the link to adr/two.md"]);
    assert_caught(&sample("docs/a.md", "[x](README.md) [y](../gone.md#part)"), &["README.md", "../gone.md#part"]);
    assert_none(&sample(
        "docs/a.md",
        "[x](adr/one.md#part) [y](../README.md) [z](#here) [w](https://example.org/a.md)",
    ));
}

#[test]
fn what_documents_name_is_there() {
    assert_none(&missing_files(&text_files(), &exists));
}

#[test]
fn a_missing_file_is_caught() {
    let exists = |path: &str| path == "docs/one.md" || path == "src/log";
    let sample = |path, text| missing_files(&[TextFile::new(path, text)], &exists);
    assert_caught(&sample("src/lib.rs", "// see NOTES.md."), &["src/lib.rs:1: there is no NOTES.md"]);
    assert_caught(&sample("README.md", "`src/logs` and `src/log`"), &["there is no src/logs"]);
    assert_none(&sample("src/lib.rs", "// docs/one.md\nconst NAME: &str = \"other.md\";"));
    assert_none(&sample("docs/two.md", "[one.md](one.md), docs/one.md"));
}

#[test]
fn promises_kept_are_promises_no_more() {
    assert_none(&kept_promises(PROMISED, &exists));
}

#[test]
fn a_promise_kept_is_caught() {
    assert_caught(&kept_promises(&["docs/a.md", "docs/b.md"], &|path| path == "docs/b.md"), &["docs/b.md is there"]);
}

#[test]
fn the_map_names_every_directory() {
    let files = text_files();
    let map = files.iter().find(|file| file.path == "ARCHITECTURE.md").expect("there is a map");
    assert_none(&unmapped(&files, &map.text));
}

#[test]
fn a_directory_off_the_map_is_caught() {
    let files = ["src/log/mod.rs", "src/disk/mod.rs", "src/lib.rs"].map(|path| TextFile::new(path, ""));
    assert_caught(&unmapped(&files, "`log` is a log of disks"), &["`disk`"]);
    assert_none(&unmapped(&files, "`log/` and `disk`"));
}

#[test]
fn nothing_tells_of_the_machine() {
    assert_none(&machine_paths(&text_files(), &places()));
}

#[test]
fn a_path_of_the_machine_is_caught() {
    let sample = |text: String| machine_paths(&[TextFile::new("README.md", &text)], &places());
    for place in places() {
        assert_caught(&sample(format!("\ncd {place}x")), &["README.md:2"]);
        assert_none(&sample(format!("see docs{place}x")));
    }
}
