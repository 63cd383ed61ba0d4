//! Where the keys of a JSON text stand, in the order of the text and with those that stand there twice.
//!
//! `serde_json` says what a text means, but forgets where it said so and lets the last of two equal keys win.

/// A key, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyAt {
    /// The keys that lead to it, itself the last.
    pub(super) path: Vec<String>,
    pub(super) position: Position,
}

/// A place in a text, counted from 1 in lines and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character of the line.
    pub column: usize,
}

impl Position {
    /// The place of a byte of a text.
    pub(super) fn of(text: &str, at: usize) -> Position {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Position { line, column: before[line_start..].chars().count() + 1 }
    }
}

/// What is open around a place.
enum Open {
    Object { key: Option<String>, is_key_next: bool },
    Array,
}

/// The keys of all objects that are in no array. The text must be JSON; of anything else it finds something or nothing.
pub(super) fn key_positions(text: &str) -> Vec<KeyAt> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut rest = text.char_indices();
    while let Some((at, character)) = rest.next() {
        match character {
            '{' => open.push(Open::Object { key: None, is_key_next: true }),
            '[' => open.push(Open::Array),
            '}' | ']' => drop(open.pop()),
            ',' => {
                if let Some(Open::Object { is_key_next, .. }) = open.last_mut() {
                    *is_key_next = true;
                }
            }
            '"' => {
                let end = string_end(text, at);
                while rest.offset() < end && rest.next().is_some() {}
                if let Some(Open::Object { key, is_key_next: is_key_next @ true }) = open.last_mut() {
                    *is_key_next = false;
                    *key = text.get(at..end).and_then(|token| serde_json::from_str(token).ok());
                    found.extend(path(&open).map(|path| KeyAt { path, position: Position::of(text, at) }));
                }
            }
            _ => {}
        }
    }
    found
}

/// The byte after the quote that ends the string that begins at `from`.
fn string_end(text: &str, from: usize) -> usize {
    let mut is_escaped = false;
    for (at, character) in text[from..].char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return from + at + 1,
            _ => {}
        }
    }
    text.len()
}

fn path(open: &[Open]) -> Option<Vec<String>> {
    let key_of = |open: &Open| match open {
        Open::Object { key, .. } => key.clone(),
        Open::Array => None,
    };
    open.iter().map(key_of).collect()
}

#[cfg(test)]
mod tests {
    use super::key_positions;

    fn check(text: &str, expected: &[&str]) {
        let found = key_positions(text).into_iter();
        let found: Vec<_> =
            found.map(|key| format!("{}@{}:{}", key.path.join("."), key.position.line, key.position.column)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        check("{}", &[]);
        check(r#"{"a": 1, "b": "x,\"y\":{"}"#, &["a@1:2", "b@1:10"]);
        check("{\n  \"s\": {\n    \"ä\": 1, \"k\": [{\"no\": 2}]\n  }\n}", &["s@2:3", "s.ä@3:5", "s.k@3:13"]);
        check(r#"{"a": {"b": 1, "b": 2}, "a": {}}"#, &["a@1:2", "a.b@1:8", "a.b@1:16", "a@1:25"]);
        check(r#"{"p\u006frt": 1}"#, &["port@1:2"]);
    }

    #[test]
    fn no_text_makes_it_fail() {
        let text = "{\"a\": {\"b\\\"\": [\"ü\", {\"c\": null}]}, \"d\": \"\\u00e4\"}";
        for (end, _) in text.char_indices() {
            key_positions(&text[..end]);
            key_positions(&text[end..]);
        }
    }
}
