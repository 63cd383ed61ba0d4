//! The two forms of output, and what lines of either are made of.

use std::io::Write;

use bytes::BytesMut;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::ToolError;
use crate::protocol::native::encode_base64;

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints one JSON object on a line of its own.
pub(super) fn print_json<T: Serialize>(out: &mut dyn Write, value: &T) -> Result<(), ToolError> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(writeln!(out)?)
}

/// Bytes as a JSON value and the name of their encoding: text where they are UTF-8, base64 where not.
pub(super) fn bytes_as_json(bytes: Option<&[u8]>) -> (Value, Option<&'static str>) {
    match bytes.map(std::str::from_utf8) {
        None => (Value::Null, None),
        Some(Ok(text)) => (json!(text), None),
        Some(Err(_)) => {
            let mut text = BytesMut::new();
            encode_base64(bytes.unwrap_or_default(), &mut text);
            (json!(String::from_utf8_lossy(&text)), Some("base64"))
        }
    }
}

/// Bytes as one line of text: control characters escaped, what is not UTF-8 replaced.
pub(super) fn bytes_as_text(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    let mut text = String::from("\"");
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() || matches!(character, '"' | '\\') {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text.push('"');
    text
}
