//! The envelope of Wiber's JSON files: a version and a checksum around the content.
//!
//! ```json
//! {"version": 1, "checksum": "crc32c:1a2b3c4d", "content": { … }}
//! ```
//!
//! The checksum is CRC-32C over the content printed compactly with its keys sorted, so that reformatting the file by
//! hand does not break it and changing a digit does.

use crc_fast::{CrcAlgorithm, checksum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why an envelope cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or not the JSON expected.
    #[error("not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
    /// A part of the envelope is missing or of the wrong type.
    #[error("the envelope has no {0:?}")]
    Missing(&'static str),
    /// Written by a later version.
    #[error("version {found} is newer than {known}, the newest this program knows")]
    Newer {
        /// The version in the file.
        found: u64,
        /// The newest version known.
        known: u64,
    },
    /// The content is not what was written.
    #[error("checksum {found} where the content has {computed}")]
    Checksum {
        /// The checksum in the file.
        found: String,
        /// The checksum of the content as it is.
        computed: String,
    },
}

/// Wraps a content; readable JSON that ends in a newline.
///
/// # Errors
/// [`EnvelopeError::Json`] where the content has no JSON form.
pub fn seal_envelope<T: Serialize>(version: u64, content: &T) -> Result<Vec<u8>, EnvelopeError> {
    let content = serde_json::to_value(content)?;
    let checksum = content_checksum(&content)?;
    let envelope = serde_json::json!({ "version": version, "checksum": checksum, "content": content });
    let mut bytes = serde_json::to_vec_pretty(&envelope)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Opens an envelope: version at most `known`, checksum right, content of the type asked for.
///
/// # Errors
/// Every variant of [`EnvelopeError`].
pub fn open_envelope<T: DeserializeOwned>(known: u64, bytes: &[u8]) -> Result<T, EnvelopeError> {
    let mut envelope: Value = serde_json::from_slice(bytes)?;
    let found = envelope.get("version").and_then(Value::as_u64).ok_or(EnvelopeError::Missing("version"))?;
    if found > known {
        return Err(EnvelopeError::Newer { found, known });
    }
    let stated = envelope.get("checksum").and_then(Value::as_str).ok_or(EnvelopeError::Missing("checksum"))?.to_owned();
    let content = envelope.get_mut("content").map(Value::take).ok_or(EnvelopeError::Missing("content"))?;
    let computed = content_checksum(&content)?;
    if stated != computed {
        return Err(EnvelopeError::Checksum { found: stated, computed });
    }
    Ok(serde_json::from_value(content)?)
}

fn content_checksum(content: &Value) -> Result<String, EnvelopeError> {
    let canonical = serde_json::to_vec(content)?;
    Ok(format!("crc32c:{:08x}", checksum(CrcAlgorithm::Crc32Iscsi, &canonical)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed_or_harmless() {
        let content = serde_json::json!({ "b": [1, 2, 3], "a": "x" });
        let sealed = seal_envelope(1, &content).expect("seals");
        assert_eq!(open_envelope::<Value>(1, &sealed).expect("opens"), content);
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            if let Ok(opened) = open_envelope::<Value>(1, &changed) {
                assert_eq!(opened, content, "byte {position}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_refused() {
        let sealed = seal_envelope(2, &1).expect("seals");
        assert!(matches!(open_envelope::<u32>(1, &sealed), Err(EnvelopeError::Newer { found: 2, known: 1 })));
    }
}
