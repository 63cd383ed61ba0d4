//! The table of workloads, `workloads.toml`: what each is, in which classes it makes sense, and what is to be reached.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::rival::Rival;

/// What an acknowledgement promises. Figures of two classes are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// The message was written, but not synced
    Written,
    /// The message was synced to the disk
    Durable,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::Written, Self::Durable];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Durable => "durable",
        }
    }

    /// What the class says of an acknowledged message.
    pub(crate) fn promise(self) -> &'static str {
        match self {
            Self::Written => "acknowledged before it is synced: in the page cache, or in the server",
            Self::Durable => "acknowledged after it is synced to the disk",
        }
    }
}

/// What a load program does, in the word it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
    Publish,
    Consume,
    Mixed,
    Latency,
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Mixed => "mixed",
            Self::Latency => "latency",
        }
    }
}

/// What Wiber is to reach.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Target {
    /// So many times the best rival, or the row `of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<String>,
    /// Messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<f64>,
    /// CPU the server may take for a million messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_s: Option<f64>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) shape: Shape,
    /// Messages stored to be read, for each second.
    stored_per_second: Option<u64>,
    /// Rivals it is for; all where none are named.
    #[serde(default)]
    pub(crate) only: Vec<String>,
    pub(crate) arguments: BTreeMap<String, u64>,
    written: Option<Target>,
    durable: Option<Target>,
}

impl Workload {
    pub(crate) fn target(&self, class: Class) -> Option<&Target> {
        match class {
            Class::Written => self.written.as_ref(),
            Class::Durable => self.durable.as_ref(),
        }
    }

    /// Whether it is measured with `rival`.
    pub(crate) fn is_for(&self, rival: &Rival) -> bool {
        self.only.is_empty() || self.only.contains(&rival.name)
    }

    /// The standard arguments of every load program, after the shape.
    pub(crate) fn arguments(&self, rival: &Rival, seconds: f64) -> Vec<String> {
        let mut arguments = vec![self.shape.name().to_owned()];
        let mut add = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        match self.stored_per_second {
            Some(stored) => {
                let messages = stored as f64 * seconds * rival.stored_times;
                add("messages", (messages.round() as u64).to_string());
            }
            None => add("duration", seconds.to_string()),
        }
        let batched = self.arguments.get("batch").is_some_and(|&batch| batch > 1);
        for (name, &value) in &self.arguments {
            let value = match rival.batches_in_flight {
                Some(batches) if batched && name == "in-flight" && value > 1 => batches,
                _ => value,
            };
            add(name, value.to_string());
        }
        arguments
    }
}

#[derive(Debug, Deserialize)]
struct Table {
    workload: Vec<Workload>,
}

/// All workloads.
pub(crate) fn all() -> Result<Vec<Workload>> {
    let table: Table = toml::from_str(include_str!("../workloads.toml")).context("workloads.toml")?;
    Ok(table.workload)
}

/// Those named, in the order of the table; `all` names all. A name that ends with `*` stands for all that begin so.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Workload>> {
    let all = all()?;
    let matches = |name: &str, workload: &Workload| match name.strip_suffix('*') {
        Some(start) => workload.name.starts_with(start),
        None => name == "all" || name == workload.name,
    };
    for name in names {
        if !all.iter().any(|workload| matches(name, workload)) {
            let known: Vec<&str> = all.iter().map(|workload| workload.name.as_str()).collect();
            bail!("there is no workload '{name}'; there are {}", known.join(", "));
        }
    }
    Ok(all.into_iter().filter(|workload| names.iter().any(|name| matches(name, workload))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rival;

    #[test]
    fn the_table_holds_together() {
        let all = all().unwrap();
        for (index, workload) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.name != workload.name), "{} twice", workload.name);
            assert!(Class::ALL.iter().any(|&class| workload.target(class).is_some()), "{}", workload.name);
            assert_eq!(workload.shape == Shape::Consume, workload.stored_per_second.is_some(), "{}", workload.name);
            for class in Class::ALL {
                let of = workload.target(class).and_then(|target| target.of.as_deref());
                let Some(of) = of else { continue };
                assert!(all[..index].iter().any(|row| row.name == of && row.target(class).is_some()), "{of}");
            }
        }
    }

    #[test]
    fn names_choose() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            chosen(&names).map(|chosen| chosen.into_iter().map(|workload| workload.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["lone-1k", "mixed-1k"]).unwrap(), ["mixed-1k", "lone-1k"]);
        assert_eq!(names(&["consume-100b-*"]).unwrap(), ["consume-100b-1", "consume-100b-4"]);
        assert_eq!(names(&["all"]).unwrap().len(), all().unwrap().len());
        assert!(names(&["nothing"]).unwrap_err().to_string().contains("lone-1k"));
    }

    #[test]
    fn arguments_are_the_standard_ones() {
        let rival = rival::built_in().unwrap().into_iter().find(|rival| rival.name == "redis").unwrap();
        let workload = chosen(&["consume-1k-4".to_owned()]).unwrap().remove(0);
        let expected = "consume --messages 450000 --batch 1000 --consumers 4 --in-flight 4 --partitions 4 --size 1024";
        assert_eq!(workload.arguments(&rival, 1.5).join(" "), expected);
        let workload = chosen(&["lone-1k".to_owned()]).unwrap().remove(0);
        let expected = "publish --duration 2.5 --batch 1 --in-flight 1 --partitions 1 --producers 1 --size 1024";
        assert_eq!(workload.arguments(&rival, 2.5).join(" "), expected);
    }
}
