//! A rival as its file `rivals/NAME.toml` describes it: how it is installed, configured, started and put under load.
//! Nothing here knows any rival by name but [`built_in`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::workload::Class;

/// The rivals whose files come with this program.
const BUILT_IN: [(&str, &str); 4] = [
    ("wiber", include_str!("../rivals/wiber.toml")),
    ("nats", include_str!("../rivals/nats.toml")),
    ("redis", include_str!("../rivals/redis.toml")),
    ("rabbitmq", include_str!("../rivals/rabbitmq.toml")),
];

/// A rival's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rival {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Programs it needs. `{program}` stands for where each was found.
    pub(crate) programs: Vec<String>,
    /// Directories looked in before those of PATH.
    #[serde(default)]
    pub(crate) search: Vec<String>,
    /// Prints a line with the version.
    pub(crate) version: Vec<String>,
    /// Commands that install it.
    #[serde(default)]
    pub(crate) install: Vec<Vec<String>>,
    /// Commands that build it, before every measurement.
    #[serde(default)]
    pub(crate) build: Vec<Vec<String>>,
    /// Where to get it, for a human.
    pub(crate) hint: String,
    /// Runs the server in the foreground.
    pub(crate) start: Vec<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// Files written into `{dir}` before the start.
    #[serde(default)]
    pub(crate) files: Vec<FileTemplate>,
    /// Succeeds once the server is ready; without it, `{port}` taking connections is enough.
    #[serde(default)]
    pub(crate) ready: Vec<String>,
    #[serde(default = "ready_seconds")]
    pub(crate) ready_seconds: u64,
    /// The load program; the standard arguments follow.
    pub(crate) load: Vec<String>,
    /// Reads so fast that so many times the messages are stored for reading.
    #[serde(default = "once")]
    pub(crate) stored_times: f64,
    /// Batches in flight, where this rival does best with other than the table says.
    pub(crate) batches_in_flight: Option<u64>,
    written: Option<ClassSettings>,
    durable: Option<ClassSettings>,
}

/// A file of a rival's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileTemplate {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// What a class changes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassSettings {
    /// Placeholders.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
    /// Arguments of the load program.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
}

fn ready_seconds() -> u64 {
    20
}

fn once() -> f64 {
    1.0
}

impl Rival {
    fn parse(text: &str) -> Result<Self> {
        let rival: Self = toml::from_str(text)?;
        ensure!(!rival.start.is_empty() && !rival.load.is_empty(), "start and load need a program");
        ensure!(rival.written.is_some() || rival.durable.is_some(), "neither [written] nor [durable]");
        Ok(rival)
    }

    /// The settings of a class; nothing where the rival has none of it.
    pub(crate) fn class(&self, class: Class) -> Option<&ClassSettings> {
        match class {
            Class::Written => self.written.as_ref(),
            Class::Durable => self.durable.as_ref(),
        }
    }

    /// The placeholders with which every command is filled, programs among them; an error says what is missing and how to
    /// get it.
    pub(crate) fn locate(&self) -> Result<Placeholders> {
        let mut placeholders = Placeholders::common()?;
        let mut directories = Vec::new();
        for directory in &self.search {
            directories.push(PathBuf::from(placeholders.fill(directory)?));
        }
        directories.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        for program in &self.programs {
            let found = directories.iter().map(|directory| directory.join(program)).find(|path| path.is_file());
            let Some(found) = found else { bail!("{program} is not there; get it with 'install' ({})", self.hint) };
            placeholders.set(program, &found.to_string_lossy());
        }
        Ok(placeholders)
    }

    /// The version, as far as the program says one.
    pub(crate) fn version(&self, placeholders: &Placeholders) -> String {
        let run = || {
            let words = placeholders.fill_all(&self.version)?;
            let output = Command::new(&words[0]).args(&words[1..]).output()?;
            anyhow::Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        run().ok().and_then(|text| version_in(&text)).unwrap_or_else(|| "unknown".to_owned())
    }
}

/// The first word that is a version: digits, a dot, digits, whatever stands before the first digit.
fn version_in(text: &str) -> Option<String> {
    text.split_whitespace().find_map(|word| {
        let version = &word[word.find(|character: char| character.is_ascii_digit())?..];
        let dot = version.find('.')?;
        let digits = version[..dot].chars().all(|character| character.is_ascii_digit());
        (digits && version[dot + 1..].starts_with(|character: char| character.is_ascii_digit()))
            .then(|| version.trim_end_matches([',', ';', ')']).to_owned())
    })
}

/// The rivals that come with this program.
pub(crate) fn built_in() -> Result<Vec<Rival>> {
    BUILT_IN.into_iter().map(|(name, text)| Rival::parse(text).with_context(|| format!("rivals/{name}.toml"))).collect()
}

/// The rivals named: built-in ones by name, others by the path of their file.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Rival>> {
    let built_in = built_in()?;
    let mut chosen: Vec<Rival> = Vec::new();
    for name in names {
        let rival = match built_in.iter().find(|rival| rival.name == *name) {
            Some(rival) => rival.clone(),
            None if Path::new(name).extension().is_some_and(|extension| extension == "toml") => {
                let text = fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
                Rival::parse(&text).with_context(|| name.clone())?
            }
            None => {
                let known: Vec<&str> = built_in.iter().map(|rival| rival.name.as_str()).collect();
                bail!("there is no rival '{name}'; there are {}, and the path of any rival's file", known.join(", "));
            }
        };
        ensure!(chosen.iter().all(|other| other.name != rival.name), "{} is named twice", rival.name);
        chosen.push(rival);
    }
    Ok(chosen)
}

/// Names in braces and what they stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placeholders(BTreeMap<String, String>);

impl Placeholders {
    /// `{self}` this program, `{repository}` where it was built from, `{tools}` where installed programs are kept.
    pub(crate) fn common() -> Result<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut common = Self::default();
        common.set("self", &std::env::current_exe()?.to_string_lossy());
        common.set("repository", &own.parent().unwrap_or(own).to_string_lossy());
        common.set("tools", &own.join(".tools").to_string_lossy());
        Ok(common)
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Replaces every `{name}` there is a value for. What looks like a placeholder and is none is an error; braces around
    /// anything but a single word are left alone, since configuration files are full of them.
    pub(crate) fn fill(&self, text: &str) -> Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            filled.push_str(&rest[..start]);
            let after = &rest[start + 1..];
            let end = after.find(|character: char| !character.is_ascii_alphanumeric() && character != '-');
            match end {
                Some(end) if end > 0 && after[end..].starts_with('}') && !rest[..start].ends_with('$') => {
                    let value = self.0.get(&after[..end]);
                    filled.push_str(value.with_context(|| format!("nothing is known as {{{}}}", &after[..end]))?);
                    rest = &after[end + 1..];
                }
                _ => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    pub(crate) fn fill_all(&self, words: &[String]) -> Result<Vec<String>> {
        words.iter().map(|word| self.fill(word)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rivals_that_come_with_it_are_understood() {
        let rivals = built_in().unwrap();
        for ((file, _), rival) in BUILT_IN.iter().zip(&rivals) {
            assert_eq!(rival.name, *file);
            for class in Class::ALL {
                let Some(settings) = rival.class(class) else { continue };
                let mut placeholders = Placeholders::common().unwrap();
                let known = ["dir", "data", "port", "port2", "port3", "port4", "pid"];
                for name in known.into_iter().chain(rival.programs.iter().map(String::as_str)) {
                    placeholders.set(name, "x");
                }
                for (name, value) in &settings.settings {
                    placeholders.set(name, value);
                }
                for words in rival.install.iter().chain(&rival.build).chain([&rival.start, &rival.load]) {
                    placeholders.fill_all(words).unwrap();
                }
                for text in rival.files.iter().map(|file| &file.text).chain(rival.environment.values()) {
                    placeholders.fill(text).unwrap();
                }
            }
        }
        assert!(rivals.iter().any(|rival| rival.class(Class::Durable).is_none()), "RabbitMQ never syncs");
    }

    #[test]
    fn a_wrong_file_is_refused() {
        let whole = r#"name = "a"
            title = "A"
            programs = []
            version = ["a"]
            hint = "h"
            start = ["a"]
            load = ["b"]
            [written]"#;
        assert!(Rival::parse(whole).is_ok());
        for (what, instead) in [("[written]", ""), (r#"start = ["a"]"#, "start = []"), ("title", "titel")] {
            assert!(Rival::parse(&whole.replace(what, instead)).is_err(), "{what}");
        }
    }

    #[test]
    fn placeholders_are_filled_and_braces_left() {
        let mut placeholders = Placeholders::default();
        placeholders.set("port", "77");
        for (text, filled) in [
            ("--port={port},{port}", "--port=77,77"),
            ("jetstream { store: 1 }", "jetstream { store: 1 }"),
            ("{}", "{}"),
            ("a {", "a {"),
            ("${Version}", "${Version}"),
            ("{\n{port}}", "{\n77}"),
        ] {
            assert_eq!(placeholders.fill(text).unwrap(), filled);
        }
        assert!(placeholders.fill("{prot}").unwrap_err().to_string().contains("{prot}"));
    }

    #[test]
    fn versions_are_found() {
        for (text, version) in [
            ("nats-server: v2.15.1", Some("2.15.1")),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", Some("7.0.15")),
            ("3.10.8-1.1+deb12u1", Some("3.10.8-1.1+deb12u1")),
            ("wiber-server 0.1.0\n", Some("0.1.0")),
            ("none", None),
        ] {
            assert_eq!(version_in(text).as_deref(), version);
        }
    }
}
