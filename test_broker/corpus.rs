//! A text of real lines: the sources and documents of this repository and of the packages it is built from.

use std::fs;
use std::path::{Path, PathBuf};

/// A line longer than this is more than a broker takes by default.
const LINE_BYTES_MAX: usize = 1 << 20;

/// About `bytes` of text, the same on every run on one machine, every byte as it stands in its file.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut roots: Vec<PathBuf> = ["src", "docs", "test_broker"].iter().map(|name| repository.join(name)).collect();
    roots.extend(package_sources());
    let mut text = Vec::with_capacity(bytes + LINE_BYTES_MAX);
    for root in &roots {
        gather(root, bytes, &mut text);
    }
    assert!(!text.is_empty(), "no text found under {roots:?}");
    // Without any packages at hand the repository is told again and again.
    while text.len() < bytes {
        text.extend_from_within(..text.len().min(bytes - text.len()));
    }
    text
}

/// Where Cargo keeps the sources of packages.
fn package_sources() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.map(|home| home.join("registry/src")).into_iter().collect()
}

fn gather(directory: &Path, bytes: usize, text: &mut Vec<u8>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if text.len() >= bytes {
            return;
        }
        if path.is_dir() {
            gather(&path, bytes, text);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md")
            && let Ok(content) = fs::read(&path)
            && content.split(|&byte| byte == b'\n').all(|line| line.len() <= LINE_BYTES_MAX)
        {
            text.extend_from_slice(&content[..content.len().min(bytes - text.len())]);
        }
    }
}
