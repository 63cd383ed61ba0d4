//! The bytes of a snapshot file:
//!
//! ```json
//! {"version":1,"checksum":"crc32c:xxxxxxxx","content":{…}}
//! ```
//!
//! and a newline. The checksum, eight lower-case hexadecimal digits, is that of the bytes of `content` exactly as they
//! stand in the file, which the broker writes without any white space. A file that was reformatted no longer matches.

use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{SkipReason, Snapshot};

/// The version this broker writes, and the newest it reads.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    checksum: String,
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Found<'a> {
    version: u32,
    checksum: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// The file of a snapshot.
pub(super) fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, serde_json::Error> {
    let content = to_raw_value(snapshot)?;
    let written = Written { version: VERSION, checksum: checksum(content.get()), content: &content };
    let mut bytes = serde_json::to_vec(&written)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The snapshot of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Snapshot, SkipReason> {
    let damaged = |error: serde_json::Error| SkipReason::Damaged(error.to_string());
    let found: Found<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
    if found.version > VERSION {
        return Err(SkipReason::NewerVersion { found: found.version, known: VERSION });
    }
    let (Some(expected), Some(content)) = (found.checksum, found.content) else {
        return Err(SkipReason::Damaged("checksum or content is missing".to_owned()));
    };
    let found = checksum(content.get());
    if found != expected {
        return Err(SkipReason::ChecksumDiffers { expected, found });
    }
    serde_json::from_str(content.get()).map_err(damaged)
}

fn checksum(content: &str) -> String {
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, content.as_bytes());
    format!("crc32c:{crc:08x}")
}
