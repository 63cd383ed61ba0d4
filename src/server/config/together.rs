//! Values that depend on one another: defaults that follow what was chosen, and choices that do not go together.

use std::path::Path;

use serde_json::Value;

use super::error::{ConfigError, Origin};
use super::keys::{Config, KEYS};
use super::load::{Values, find};
use crate::server::address::is_wildcard;

impl Values {
    /// Lets the defaults follow what somebody chose, so that one choice does not force another.
    pub(super) fn follow(&mut self) {
        self.place_snapshots();
        self.make_room_for_messages();
        self.create_within_limits();
    }

    /// Snapshots follow a data directory that somebody chose, unless somebody chose theirs as well.
    fn place_snapshots(&mut self) {
        let Some((data, snapshots)) = self.chosen_alone("storage.data_dir", "storage.snapshot_dir") else {
            return;
        };
        let data_dir = self.slots[data].0.as_str().unwrap_or_default();
        let below = Path::new(data_dir).join(".snapshots");
        let below = Value::String(below.to_string_lossy().into_owned());
        self.slots[snapshots] = (below, Origin::Follows("storage.data_dir"));
    }

    /// A message has to have room among those that wait to be written.
    fn make_room_for_messages(&mut self) {
        let Some((message, pending)) = self.chosen_alone("topics.max_message_size", "storage.pending_bytes") else {
            return;
        };
        let (needed, has) = (self.slots[message].0.as_u64(), self.slots[pending].0.as_u64());
        if needed > has {
            self.slots[pending] = (self.slots[message].0.clone(), Origin::Follows("topics.max_message_size"));
        }
    }

    /// The built-in topics have no more partitions than topics may have.
    fn create_within_limits(&mut self) {
        let Some((limit, create)) = self.chosen_alone("topics.max_partitions", "topics.create") else {
            return;
        };
        let limit = self.slots[limit].0.clone();
        let is_above = |count: &Value| count.as_u64() > limit.as_u64();
        let (topics, origin) = &mut self.slots[create];
        for count in
            topics.as_object_mut().into_iter().flatten().map(|(_, count)| count).filter(|count| is_above(count))
        {
            *count = limit.clone();
            *origin = Origin::Follows("topics.max_partitions");
        }
    }

    /// The places of two keys where somebody chose the first and nobody the second.
    fn chosen_alone(&self, first: &str, second: &str) -> Option<(usize, usize)> {
        let index = |path: &str| path.split_once('.').and_then(|(section, name)| find(section, name));
        let (first, second) = (index(first)?, index(second)?);
        (self.is_chosen(first) && !self.is_chosen(second)).then_some((first, second))
    }

    /// Whether a value is somebody's choice: a file that spells out the default has chosen nothing, or a shipped file
    /// would tie every broker on the host to one directory of snapshots.
    pub(super) fn is_chosen(&self, index: usize) -> bool {
        let (value, origin) = &self.slots[index];
        match origin {
            Origin::Default | Origin::Follows(_) => false,
            Origin::File(..) => *value != KEYS[index].default_value(),
            Origin::Variable(_) | Origin::Flag(_) => true,
        }
    }

    /// Notes the values that only together make no sense.
    pub(super) fn check_together(&mut self, config: &Config) {
        let most = u64::from(config.topics.max_partitions);
        let default = u64::from(config.topics.default_partitions);
        let created = config.topics.create.values().max().copied().unwrap_or(0);
        let message_bytes = config.topics.max_message_size as u64;
        let pending_bytes = config.storage.pending_bytes as u64;
        for (key, value, other, limit) in [
            ("topics.default_partitions", default, "topics.max_partitions", most),
            ("topics.create", u64::from(created), "topics.max_partitions", most),
            ("topics.max_message_size", message_bytes, "storage.pending_bytes", pending_bytes),
        ] {
            if value > limit {
                self.conflict(key, value, &format!("at most {limit}"), other, limit);
            }
        }
        self.check_ports(config);
    }

    /// Two listeners cannot be given one port.
    fn check_ports(&mut self, config: &Config) {
        let (lines, http, kafka) = (&config.lines, &config.http, &config.kafka);
        let listeners = [
            ("server.port", true, config.server.host.as_str(), config.server.port),
            ("lines.port", lines.enabled, lines.host.as_str(), lines.port),
            ("http.port", http.enabled, http.host.as_str(), http.port),
            ("kafka.port", kafka.enabled, kafka.host.as_str(), kafka.port),
        ];
        let given: Vec<_> = listeners
            .into_iter()
            .filter(|(key, is_enabled, _, port)| *is_enabled && *port > 0 && config.is_given(key))
            .collect();
        for (index, (key, _, host, port)) in given.iter().enumerate() {
            let meets = |other: &str| other == *host || is_wildcard(other) || is_wildcard(host);
            let taken = given[..index].iter().find(|(_, _, other, taken)| taken == port && meets(other));
            if let Some((other, ..)) = taken {
                self.conflict(key, u64::from(*port), "another port", other, u64::from(*port));
            }
        }
    }

    fn conflict(&mut self, key: &'static str, value: u64, expected: &str, other: &'static str, limit: u64) {
        let (origin, other_origin) = (self.origin(key), Box::new(self.origin(other)));
        let expected = expected.into();
        self.errors.push(ConfigError::Conflict { origin, key, value, expected, other, limit, other_origin });
    }
}
