//! The effective configuration as text: as a file that would give it again, or with the place each value came from.

use std::fmt::Write;

use super::keys::{KEYS, SECTIONS};
use super::load::Loaded;

impl Loaded {
    /// The whole configuration in the layout of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let sections = SECTIONS.iter().map(|section| {
            let keys = KEYS.iter().zip(&self.slots).filter(|(key, _)| key.section == *section);
            let lines: Vec<String> = keys.map(|(key, (value, _))| format!("    \"{}\": {value}", key.name)).collect();
            format!("  \"{section}\": {{\n{}\n  }}", lines.join(",\n"))
        });
        format!("{{\n{}\n}}\n", sections.collect::<Vec<_>>().join(",\n"))
    }

    /// A line for every key: its value, and where that came from.
    #[must_use]
    pub fn to_lines(&self) -> String {
        let mut lines = String::new();
        for (key, (value, origin)) in KEYS.iter().zip(&self.slots) {
            let _infallible = writeln!(lines, "{:<45} # {origin}", format!("{} = {value}", key.path));
        }
        lines
    }
}
