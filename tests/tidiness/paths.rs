//! Every path that a Rust file mentions, as far as text tells: `use` trees opened, names imported traced back, `self` and
//! `super` resolved. Says of each whether only tests see it.

use std::collections::HashMap;

use super::lexer::Token;

/// One mention of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    /// Its segments from the crate's root (`crate`) or another crate's name on.
    pub(crate) segments: Vec<String>,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Whether it stands under `#[cfg(test)]` in this file.
    pub(crate) is_test: bool,
}

impl Mention {
    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }

    /// Whether this is the path given, or a path below it.
    pub(crate) fn is_in(&self, path: &str) -> bool {
        let mut own = self.segments.iter();
        path.split("::").all(|segment| own.next().is_some_and(|own| own == segment))
    }
}

/// A `mod` of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Whether it stands under `#[cfg(test)]` in this file.
    pub(crate) is_test: bool,
}

/// What a file mentions.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    pub(crate) mentions: Vec<Mention>,
    pub(crate) modules: Vec<Module>,
    /// Lines under `#[cfg(test)]`.
    pub(crate) test_lines: usize,
}

/// Names that a module imports, with what they stand for.
type Imports = HashMap<(Vec<String>, String), Vec<String>>;

/// Finds the paths in a file whose module is `module` (`["crate", "log"]`).
pub(crate) fn find(module: &[String], tokens: &[Token]) -> Paths {
    let mut imports = Imports::new();
    let mut unused = Paths::default();
    // Twice, for an import counts before its line as well.
    Walk::new(module, tokens, &mut imports, &mut unused).run();
    let mut paths = Paths::default();
    Walk::new(module, tokens, &mut imports, &mut paths).run();
    paths
}

struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Vec<String>,
    /// Inline modules open here, by the depth of braces at which each ends.
    inline: Vec<usize>,
    depth: usize,
    /// The index of the token that ends the item under `#[cfg(test)]`.
    test_until: Option<usize>,
    imports: &'a mut Imports,
    paths: &'a mut Paths,
}

impl<'a> Walk<'a> {
    fn new(module: &[String], tokens: &'a [Token], imports: &'a mut Imports, paths: &'a mut Paths) -> Walk<'a> {
        let module = module.to_vec();
        Walk { tokens, at: 0, module, inline: Vec::new(), depth: 0, test_until: None, imports, paths }
    }

    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn run(&mut self) {
        while self.at < self.tokens.len() {
            if self.test_until.is_some_and(|end| self.at > end) {
                self.test_until = None;
            }
            match self.text(self.at) {
                "#" => self.attribute(),
                "{" => {
                    self.depth += 1;
                    self.at += 1;
                }
                "}" => self.close(),
                "mod" => self.declare(),
                "use" if self.text(self.at + 1) != "<" => self.import(),
                "::" => self.path(),
                _ if self.tokens[self.at].is_name() => self.path(),
                _ => self.at += 1,
            }
        }
    }

    /// Steps over `#[cfg(test)]` and notes where its item ends; other attributes are walked like code.
    fn attribute(&mut self) {
        let is_cfg_test = ["#", "[", "cfg", "(", "test", ")", "]"]
            .iter()
            .enumerate()
            .all(|(ahead, &expected)| self.text(self.at + ahead) == expected);
        if !is_cfg_test {
            self.at += 1;
            return;
        }
        if self.test_until.is_none() {
            let end = self.item_end(self.at + 7);
            self.paths.test_lines += self.tokens[end].line - self.tokens[self.at].line + 1;
            self.test_until = Some(end);
        }
        self.at += 7;
    }

    /// The index of the token that ends the item that begins here: a `;`, or the brace that closes its first block.
    fn item_end(&self, from: usize) -> usize {
        let mut depth = 0_usize;
        for at in from..self.tokens.len() {
            match self.text(at) {
                "{" | "(" | "[" => depth += 1,
                ")" | "]" => depth = depth.saturating_sub(1),
                "}" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at;
                    }
                }
                ";" if depth == 0 => return at,
                _ => {}
            }
        }
        self.tokens.len() - 1
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.inline.last() == Some(&self.depth) {
            self.inline.pop();
            self.module.pop();
        }
        self.at += 1;
    }

    fn declare(&mut self) {
        let name = self.text(self.at + 1).to_owned();
        let line = self.tokens[self.at].line;
        self.paths.modules.push(Module { name: name.clone(), line, is_test: self.test_until.is_some() });
        self.at += 2;
        if self.text(self.at) == "{" {
            self.module.push(name);
            self.inline.push(self.depth);
        }
    }

    fn import(&mut self) {
        self.at += 1;
        if self.text(self.at) == "::" {
            self.at += 1;
        }
        self.import_tree(&[]);
    }

    /// One tree of a `use`, whose prefix was read.
    fn import_tree(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        while self.at < self.tokens.len() {
            let line = self.tokens[self.at].line;
            match self.text(self.at) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(self.at), "}" | ";" | "") {
                        self.import_tree(&path);
                    }
                    self.at += 1;
                    return;
                }
                "," => {
                    self.at += 1;
                    return;
                }
                "}" | ";" => return,
                _ => {
                    path.push(self.text(self.at).to_owned());
                    self.at += 1;
                    if self.text(self.at) != "::" {
                        self.import_one(path, line);
                        return;
                    }
                }
            }
        }
    }

    /// The end of one branch: `a::b`, `a::b as c`, `a::self`, `a::*`.
    fn import_one(&mut self, mut path: Vec<String>, line: usize) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if self.text(self.at) == "as" {
            name = self.text(self.at + 1).to_owned();
            self.at += 2;
        }
        let segments = self.absolute(path);
        self.imports.insert((self.module.clone(), name), segments.clone());
        self.mention(segments, line);
    }

    /// A path in code, from its first segment on.
    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let is_field = self.at > 0 && self.text(self.at - 1) == "." && self.text(self.at.saturating_sub(2)) != ".";
        let mut path = Vec::new();
        if self.text(self.at) == "::" {
            self.at += 1;
        }
        while self.at < self.tokens.len() && self.tokens[self.at].is_name() {
            path.push(self.text(self.at).to_owned());
            self.at += 1;
            let goes_on = self.text(self.at) == "::" && self.tokens.get(self.at + 1).is_some_and(Token::is_name);
            if !goes_on {
                break;
            }
            self.at += 1;
        }
        let Some(first) = path.first().filter(|_| !is_field) else { return };
        let imported = self.imports.get(&(self.module.clone(), first.clone())).cloned();
        match imported {
            Some(mut whole) => {
                whole.extend(path.drain(1..));
                self.mention(whole, line);
            }
            None if path.len() > 1 => {
                let whole = self.absolute(path);
                self.mention(whole, line);
            }
            None => {}
        }
    }

    /// `self`, `super` and the library's own name resolved.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let mut whole = match path.first().map_or("", String::as_str) {
            "self" | "super" => self.module.clone(),
            "wiber" => vec!["crate".to_owned()],
            _ => return path,
        };
        let mut rest = path.into_iter().peekable();
        rest.next_if(|first| first == "self" || first == "wiber");
        while rest.next_if(|segment| segment == "super").is_some() {
            if whole.len() > 1 {
                whole.pop();
            }
        }
        whole.extend(rest);
        whole
    }

    fn mention(&mut self, segments: Vec<String>, line: usize) {
        self.paths.mentions.push(Mention { segments, line, is_test: self.test_until.is_some() });
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::{split, tokens};
    use super::*;

    /// The paths mentioned by code in the module `crate::log::read`; `?` marks those of tests.
    fn check(code: &str, expected: &[&str]) {
        let module = ["crate", "log", "read"].map(str::to_owned);
        let paths = find(&module, &tokens(&split(code).code));
        let found: Vec<_> = paths.mentions.iter().map(|m| m.text() + if m.is_test { "?" } else { "" }).collect();
        assert_eq!(found, expected, "{code}");
    }

    #[test]
    fn paths_are_resolved() {
        check("use std::fs;", &["std::fs"]);
        check("use std::{fs, io::{self, Read as R}};", &["std::fs", "std::io", "std::io::Read"]);
        check("use ::std::fs as files; fn f() { files::read(p) }", &["std::fs", "std::fs::read"]);
        check("use super::walk::*; use super::super::broker;", &["crate::log::walk::*", "crate::broker"]);
        check("use self::x::y; use wiber::client::{Client};", &["crate::log::read::x::y", "crate::client::Client"]);
        check("fn f() { std::thread::spawn(g); ::std::fs::read(p) }", &["std::thread::spawn", "std::fs::read"]);
        check(
            "fn f() -> Instant { Instant::now() } use std::time::Instant;",
            &["std::time::Instant", "std::time::Instant::now", "std::time::Instant"],
        );
        check("use a::fs; fn f() { x.fs; for i in 0..fs::N {} }", &["a::fs", "a::fs::N"]);
        check("fn f() -> impl Sized + use<'a> { \"std::fs\" } // std::fs", &[]);
        check("mod inner { use super::super::walk; } use super::cut;", &["crate::log::walk", "crate::log::cut"]);
        check("use {a::b, c::d}; use e::f;", &["a::b", "c::d", "e::f"]);
    }

    #[test]
    fn what_only_tests_see_is_marked() {
        let inline = "use a::b; #[cfg(test)] mod tests { use c::d; fn f() {} } use e::f;";
        check(inline, &["a::b", "c::d?", "e::f"]);
        check("#[cfg(test)] #[path(x)] use c::d; use e::f;", &["c::d?", "e::f"]);
        check("#[cfg(not(test))] use c::d;", &["c::d"]);
        let module = ["crate".to_owned()];
        let paths = find(&module, &tokens("fn f() {}\n#[cfg(test)]\nmod tests {\n}\nmod other;"));
        assert_eq!(paths.test_lines, 3);
        let modules: Vec<_> = paths.modules.iter().map(|m| (m.name.as_str(), m.line, m.is_test)).collect();
        assert_eq!(modules, [("tests", 3, true), ("other", 5, false)]);
    }
}
