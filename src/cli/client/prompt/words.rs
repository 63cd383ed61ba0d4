//! The words of a prompt's lines.

/// A command of a prompt.
#[derive(Debug)]
pub(super) struct Command {
    /// The name it goes by.
    pub(super) name: &'static str,
    /// Names that mean the same.
    pub(super) others: &'static [&'static str],
    /// What follows it.
    pub(super) takes: &'static str,
    /// What it does, in a line.
    pub(super) about: &'static str,
    /// What its first word names.
    pub(super) names: Names,
}

/// What a word names, so that it can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Nothing,
    Topics,
    Groups,
}

impl Command {
    /// Whether it goes by this name; `-` and `_` are the same.
    pub(super) fn has(&self, word: &str) -> bool {
        let word = word.replace('-', "_");
        self.name == word || self.others.contains(&word.as_str())
    }
}

/// The first word of a line, and what follows it: as it is, without the space around it.
pub(super) fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim_start()))
}

/// What can be done, a line for each command.
pub(super) fn help(commands: &[Command]) -> String {
    let own = [("help", "says this"), ("quit", "ends; so does the end of the input (Ctrl-D)")];
    let of = |command: &Command| (format!("{} {}", command.name, command.takes).trim_end().to_owned(), command.about);
    let lines: Vec<(String, &str)> =
        commands.iter().map(of).chain(own.map(|(name, about)| (name.to_owned(), about))).collect();
    let width = lines.iter().map(|(usage, _)| usage.len()).max().unwrap_or(0);
    let lines = lines.iter().map(|(usage, about)| format!("  {usage:<width$}  {about}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_their_words() {
        let check = |line: &str, expected: (&str, &str)| assert_eq!(split(line), expected, "{line:?}");
        check("", ("", ""));
        check("  topics ", ("topics", ""));
        check("send t two  spaces \n", ("send", "t two  spaces"));
        check("send\tt", ("send", "t"));
    }

    #[test]
    fn names_of_a_command() {
        let command =
            Command { name: "add_topic", others: &["add"], takes: "TOPIC", about: "…", names: Names::Topics };
        for (word, expected) in [("add_topic", true), ("add-topic", true), ("add", true), ("ad", false), ("", false)] {
            assert_eq!(command.has(word), expected, "{word}");
        }
        assert!(help(&[command]).starts_with("  add_topic TOPIC  …\n"));
    }
}
