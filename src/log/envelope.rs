//! The envelope of Wiber's JSON files: a version and a checksum around the content.
//!
//! ```json
//! {"version":1,"checksum":"crc32c:1a2b3c4d","content":{…}}
//! ```
//!
//! and a newline. The checksum, eight lower-case hexadecimal digits, is that of the bytes of `content` exactly as they
//! stand in the file, which is written without any white space. A file that was reformatted no longer matches.

use crc_fast::CrcAlgorithm;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

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

#[derive(Serialize)]
struct Sealed<'a> {
    version: u64,
    checksum: String,
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Found<'a> {
    version: Option<u64>,
    checksum: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// Wraps a content; one line of JSON.
///
/// # Errors
/// [`EnvelopeError::Json`] where the content has no JSON form.
pub fn seal_envelope<T: Serialize>(version: u64, content: &T) -> Result<Vec<u8>, EnvelopeError> {
    let content = to_raw_value(content)?;
    let mut bytes = serde_json::to_vec(&Sealed { version, checksum: checksum(&content), content: &content })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Opens an envelope: version at most `known`, checksum right, content of the type asked for.
///
/// # Errors
/// Every variant of [`EnvelopeError`].
pub fn open_envelope<T: DeserializeOwned>(known: u64, bytes: &[u8]) -> Result<T, EnvelopeError> {
    let envelope: Found<'_> = serde_json::from_slice(bytes)?;
    let found = envelope.version.ok_or(EnvelopeError::Missing("version"))?;
    if found > known {
        return Err(EnvelopeError::Newer { found, known });
    }
    let stated = envelope.checksum.ok_or(EnvelopeError::Missing("checksum"))?;
    let content = envelope.content.ok_or(EnvelopeError::Missing("content"))?;
    let computed = checksum(content);
    if stated != computed {
        return Err(EnvelopeError::Checksum { found: stated, computed });
    }
    Ok(serde_json::from_str(content.get())?)
}

fn checksum(content: &RawValue) -> String {
    format!("crc32c:{:08x}", crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, content.get().as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
