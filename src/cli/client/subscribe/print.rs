//! How records are printed: for people, as they are, in a format, or as JSON.

use std::io::{self, Write};

use bytes::BytesMut;
use serde_json::Value;

use super::format::Format;
use crate::cli::client::failure::Failure;
use crate::cli::client::output::Output;
use crate::client::Record;
use crate::protocol::native::encode_base64;

/// Headers that are the broker's own, and none of the publisher's.
const OWN_HEADERS: &[u8] = b"wiber.";

/// How records are printed.
#[derive(Debug)]
pub(in crate::cli::client) enum Printer {
    /// `[topic:partition@offset] value`, then key and headers on lines of their own.
    Text,
    /// Values, each with a newline after it.
    Raw,
    Format(Format),
    /// An object per line.
    Json,
}

impl Printer {
    /// As people or programs read records where nothing else is asked for.
    pub(in crate::cli::client) fn plain(output: Output) -> Printer {
        match output {
            Output::Text => Printer::Text,
            Output::Json => Printer::Json,
        }
    }

    pub(in crate::cli::client) fn new(
        output: Output,
        is_raw: bool,
        format: Option<Format>,
    ) -> Result<Printer, Failure> {
        match (output, is_raw, format) {
            (Output::Json, false, None) => Ok(Printer::Json),
            (Output::Json, ..) => Err(Failure::Usage("--output json goes with neither --raw nor --format".to_owned())),
            (Output::Text, _, Some(format)) => Ok(Printer::Format(format)),
            (Output::Text, true, None) => Ok(Printer::Raw),
            (Output::Text, false, None) => Ok(Printer::Text),
        }
    }

    /// Whether nothing but records may be printed.
    pub(in crate::cli::client) fn is_pure(&self) -> bool {
        !matches!(self, Printer::Text)
    }

    pub(in crate::cli::client) fn record(&self, record: &Record, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Printer::Text => text(record, out),
            Printer::Raw => {
                out.write_all(record.value.as_deref().unwrap_or_default())?;
                out.write_all(b"\n")
            }
            Printer::Format(format) => format.write(record, out),
            Printer::Json => json(record, out),
        }
    }
}

fn text(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "[{}:{}@{}] ", record.topic.as_str(), record.partition, record.offset)?;
    out.write_all(record.value.as_deref().unwrap_or(b"<null>"))?;
    out.write_all(b"\n")?;
    if let Some(key) = &record.key {
        out.write_all(b"  Key: ")?;
        out.write_all(key)?;
        out.write_all(b"\n")?;
    }
    if record.headers.iter().any(|header| !header.key.starts_with(OWN_HEADERS)) {
        out.write_all(b"  Properties: ")?;
        headers(record, out)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The publisher's headers as JSON, in their order and as often as they come, which a map would not keep. A value that
/// is no text stands in base64, its name with `.b64` after it.
pub(super) fn headers(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{")?;
    let shown = record.headers.iter().filter(|header| !header.key.starts_with(OWN_HEADERS));
    for (index, header) in shown.enumerate() {
        if index > 0 {
            out.write_all(b", ")?;
        }
        let name = String::from_utf8_lossy(&header.key);
        let value = header.value.as_deref().map(std::str::from_utf8);
        match value {
            Some(Err(_)) => serde_json::to_writer(&mut *out, &format!("{name}.b64"))?,
            Some(Ok(_)) | None => serde_json::to_writer(&mut *out, &name)?,
        }
        out.write_all(b": ")?;
        match value {
            None => out.write_all(b"null")?,
            Some(Ok(text)) => serde_json::to_writer(&mut *out, text)?,
            Some(Err(_)) => serde_json::to_writer(&mut *out, &base64(header.value.as_deref().unwrap_or_default()))?,
        }
    }
    out.write_all(b"}")
}

/// An object on one line: topic, partition, offset, timestamp_ms, key, value, headers. Bytes that are no UTF-8 stand in
/// base64 under `key_base64` and `value_base64`, and `key` or `value` is null then.
fn json(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{{\"topic\":\"{}\",\"partition\":{}", record.topic.as_str(), record.partition)?;
    write!(out, ",\"offset\":{},\"timestamp_ms\":{}", record.offset, record.timestamp)?;
    out.write_all(b",")?;
    bytes_of("key", record.key.as_deref(), out)?;
    out.write_all(b",")?;
    bytes_of("value", record.value.as_deref(), out)?;
    out.write_all(b",\"headers\":[")?;
    for (index, header) in record.headers.iter().enumerate() {
        out.write_all(if index == 0 { b"{" } else { b",{" })?;
        bytes_of("name", Some(&header.key), out)?;
        out.write_all(b",")?;
        bytes_of("value", header.value.as_deref(), out)?;
        out.write_all(b"}")?;
    }
    out.write_all(b"]}\n")
}

/// A member of an object, and with it its base64 where it is no text.
fn bytes_of(name: &str, bytes: Option<&[u8]>, out: &mut dyn Write) -> io::Result<()> {
    let text = bytes.map(std::str::from_utf8);
    let shown = text.and_then(Result::ok).map_or(Value::Null, Value::from);
    write!(out, "\"{name}\":{shown}")?;
    if let (Some(bytes), Some(Err(_))) = (bytes, text) {
        write!(out, ",\"{name}_base64\":\"{}\"", base64(bytes))?;
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    let mut encoded = BytesMut::new();
    encode_base64(bytes, &mut encoded);
    String::from_utf8_lossy(&encoded).into_owned()
}

#[cfg(test)]
pub(super) fn sample() -> Record {
    use crate::client::{Offset, PartitionIndex, RecordHeader, Timestamp, TopicName};
    let header = |name: &'static str, value: &'static str| RecordHeader { key: name.into(), value: Some(value.into()) };
    Record {
        topic: TopicName::new("t").expect("valid"),
        partition: PartitionIndex(1),
        offset: Offset::new(7).expect("small"),
        timestamp: Timestamp::from_millis(5),
        key: Some("k".into()),
        value: Some("v".into()),
        headers: vec![header("a", "b"), header("wiber.client_id", "me"), header("a", "\"c\"")],
        stamp: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::RecordHeader;

    fn check(printer: &Printer, record: &Record, expected: &[u8]) {
        let mut out = Vec::new();
        printer.record(record, &mut out).expect("written");
        assert_eq!(out, expected, "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn records_in_every_form() {
        let full = sample();
        check(&Printer::Text, &full, b"[t:1@7] v\n  Key: k\n  Properties: {\"a\": \"b\", \"a\": \"\\\"c\\\"\"}\n");
        check(&Printer::Raw, &full, b"v\n");
        let json = br#"{"topic":"t","partition":1,"offset":7,"timestamp_ms":5,"key":"k","value":"v","headers":[{"name":"a","value":"b"},{"name":"wiber.client_id","value":"me"},{"name":"a","value":"\"c\""}]}"#;
        check(&Printer::Json, &full, &[&json[..], b"\n"].concat());
        let header = RecordHeader { key: "h".into(), value: Some((&b"\xff"[..]).into()) };
        let binary = Record { key: None, value: Some((&b"\xffv"[..]).into()), headers: vec![header], ..sample() };
        check(&Printer::Text, &binary, b"[t:1@7] \xffv\n  Properties: {\"h.b64\": \"/w==\"}\n");
        check(&Printer::Raw, &binary, b"\xffv\n");
        let json = br#"{"topic":"t","partition":1,"offset":7,"timestamp_ms":5,"key":null,"value":null,"value_base64":"/3Y=","headers":[{"name":"h","value":null,"value_base64":"/w=="}]}"#;
        check(&Printer::Json, &binary, &[&json[..], b"\n"].concat());
        let bare = Record { key: None, value: None, headers: Vec::new(), ..sample() };
        check(&Printer::Text, &bare, b"[t:1@7] <null>\n");
        check(&Printer::Raw, &bare, b"\n");
    }

    #[test]
    fn forms_that_exclude_each_other() {
        assert!(Printer::new(Output::Json, true, None).is_err());
        assert!(Printer::new(Output::Json, false, Format::parse("x").ok()).is_err());
        assert!(Printer::new(Output::Text, true, None).expect("fine").is_pure());
    }
}
