//! The repository's own text files, read from its directory. Build output, run-time data and version control are left out.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct TextFile {
    /// Its path from the repository's top, divided by `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TextFile {
    pub(crate) fn new(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }
}

/// Directories that hold nothing of ours; hidden ones are skipped but for [`HIDDEN`].
const SKIPPED: &[&str] = &["target", "storage", "bench/target", "bench/results"];
const HIDDEN: &[&str] = &[".ci", ".github"];
const EXTENSIONS: &[&str] = &["rs", "md", "toml", "json", "yml", "yaml", "sh", "py", "html", "js", "css"];

/// The repository's top.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, by path.
pub(crate) fn text_files() -> Vec<TextFile> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    files.sort_by(|a: &TextFile, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the sources are not where they should be");
    files
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<TextFile>) {
    for entry in fs::read_dir(dir).expect("a directory of the repository can be read") {
        let entry = entry.expect("an entry can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("an entry has a type").is_dir() {
            let is_ours = HIDDEN.contains(&name.as_str()) || !name.starts_with('.');
            if is_ours && !SKIPPED.contains(&path.as_str()) {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if is_text(&name, prefix) {
            let text = fs::read_to_string(entry.path());
            files.push(TextFile { text: text.unwrap_or_else(|error| panic!("{path}: {error}")), path });
        }
    }
}

fn is_text(name: &str, prefix: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.map_or(prefix == ".ci/" || name == "LICENSE", |extension| EXTENSIONS.contains(&extension))
}

#[test]
fn the_walk_finds_what_is_ours_alone() {
    let files = text_files();
    let has = |path: &str| files.iter().any(|file| file.path == path);
    for ours in ["README.md", "Cargo.toml", "LICENSE", ".ci/run", "src/log/mod.rs", "tests/tidiness/main.rs"] {
        assert!(has(ours), "{ours}");
    }
    assert!(files.iter().all(|file| !file.path.starts_with("target/") && !file.path.starts_with(".git/")));
}
