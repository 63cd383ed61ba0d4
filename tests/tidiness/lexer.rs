//! Rust source cut into code, comments and tokens. Never fails: what is no Rust gives odd tokens, and the compiler says so.

/// A source text in two halves of equal shape: in each, what belongs to the other is blank.
#[derive(Debug)]
pub(crate) struct Split {
    /// Code; comments and the insides of strings and characters are spaces.
    pub(crate) code: String,
    /// Comments, with their slashes.
    pub(crate) comments: String,
}

/// An identifier, `::`, or one other character that is no space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_name(&self) -> bool {
        self.text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic())
    }
}

/// Tells comments from code.
pub(crate) fn split(text: &str) -> Split {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Split { code: String::new(), comments: String::new() };
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (length, is_comment, is_blank) = if rest.starts_with(&['/', '/']) {
            (rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()), true, false)
        } else if rest.starts_with(&['/', '*']) {
            (block_comment_length(rest), true, false)
        } else if let Some(length) = literal_length(rest, at.checked_sub(1).map(|before| chars[before])) {
            (length, false, true)
        } else {
            (1, false, false)
        };
        for &c in &rest[..length] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            out.code.push(if is_comment || is_blank { blank } else { c });
            out.comments.push(if is_comment { c } else { blank });
        }
        at += length;
    }
    out
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(&['*', '/']) {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string or character that begins here, with its prefix; `None` where none does.
fn literal_length(rest: &[char], before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c == '_' || c.is_alphanumeric()) {
        return None;
    }
    let prefix = rest.iter().take_while(|c| matches!(c, 'b' | 'c' | 'r')).count();
    if prefix > 2 {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    let is_raw = prefix > 0 && rest[prefix - 1] == 'r';
    match rest.get(prefix + hashes)? {
        '"' if is_raw => Some(raw_string_end(rest, prefix + hashes + 1, hashes)),
        '"' if hashes == 0 => Some(quoted_end(rest, prefix + 1, '"')),
        '\'' if hashes == 0 && !is_raw && is_character(&rest[prefix + 1..]) => Some(quoted_end(rest, prefix + 1, '\'')),
        _ => None,
    }
}

/// Whether what follows a `'` is a character and not a lifetime.
fn is_character(rest: &[char]) -> bool {
    rest.first() == Some(&'\\') || rest.get(1) == Some(&'\'')
}

fn quoted_end(rest: &[char], mut at: usize, quote: char) -> usize {
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string_end(rest: &[char], mut at: usize, hashes: usize) -> usize {
    while at < rest.len() {
        let closing = rest[at + 1..].iter().take_while(|&&c| c == '#').count();
        if rest[at] == '"' && closing >= hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    rest.len()
}

/// Cuts code (see [`split`]) into tokens.
pub(crate) fn tokens(code: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let line = index + 1;
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c == '_' || c.is_alphanumeric();
            let length = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            out.push(Token { text: rest[..length].to_owned(), line });
            rest = rest[length..].trim_start();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of the code, and words of the comments.
    fn check(text: &str, code: &str, comments: &str) {
        let split = split(text);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&split.code), code, "code of {text}");
        assert_eq!(words(&split.comments), comments, "comments of {text}");
        for half in [&split.code, &split.comments] {
            assert_eq!(half.chars().count(), text.chars().count(), "shape of {text}");
            assert_eq!(half.lines().count(), text.lines().count(), "lines of {text}");
        }
    }

    #[test]
    fn comments_strings_and_code_are_told_apart() {
        check("a // b \"c\n d", "a d", "// b \"c");
        check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
        check(r#"a "b // \" c" d"#, "a d", "");
        check(r##"a r#"b " // c"# d"##, "a d", "");
        check(r#"a b"b" br"\" c"d" e"#, "a e", "");
        check("a '\"' b '\\'' c", "a b c", "");
        check("fn f<'a>(x: &'a str) // 'b'", "fn f<'a>(x: &'a str)", "// 'b'");
        check("r#use + r", "r#use + r", "");
        check("\"one\ntwo\" three", "three", "");
        check("a \"never closed", "a", "");
    }

    #[test]
    fn tokens_carry_their_lines() {
        let found: Vec<_> = tokens("a::b {\n r#c }").into_iter().map(|token| (token.text, token.line)).collect();
        let expected = [("a", 1), ("::", 1), ("b", 1), ("{", 1), ("r", 2), ("#", 2), ("c", 2), ("}", 2)];
        assert_eq!(found, expected.map(|(text, line)| (text.to_owned(), line)));
    }
}
