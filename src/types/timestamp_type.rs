//! Whose clock gives records their times.

/// Whose time a record bears. In files and among Kafka's settings it goes by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "server", derive(serde::Serialize, serde::Deserialize))]
pub enum TimestampType {
    /// `CreateTime`: its producer's.
    CreateTime,
    /// `LogAppendTime`: the broker's, when it appended the batch.
    LogAppendTime,
}

impl TimestampType {
    /// The type of a name; `None` for an unknown one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<TimestampType> {
        match name {
            "CreateTime" => Some(TimestampType::CreateTime),
            "LogAppendTime" => Some(TimestampType::LogAppendTime),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_its_name_everywhere() {
        for kind in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
            assert_eq!(TimestampType::from_name(kind.as_str()), Some(kind));
            #[cfg(feature = "server")]
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(TimestampType::from_name("createtime"), None);
    }
}
