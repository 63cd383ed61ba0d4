//! Cutting what comes into lines, none longer than its limit: what is longer is dropped as it comes.

use bytes::{Buf, Bytes, BytesMut};

/// What a line may have beside a message: verb, topic, spaces and what ends it, in bytes.
const BESIDE_MESSAGE_BYTES: usize = 512;
/// Bytes of a line that is too long which are dropped before the connection is given up.
pub const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// How long a line may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineLimits {
    /// Bytes of a line, what ends it not counted.
    pub line_bytes_max: usize,
}

impl LineLimits {
    /// For messages of so many bytes.
    #[must_use]
    pub fn for_messages(message_bytes_max: usize) -> LineLimits {
        LineLimits { line_bytes_max: message_bytes_max.saturating_add(BESIDE_MESSAGE_BYTES) }
    }
}

/// What was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// A line, without the newline. It may end with a carriage return and need not be UTF-8.
    Line(Bytes),
    /// A line that is too long; it is dropped, as far as it has come and as it comes.
    TooLong,
    /// More of such a line than anybody will drop: the connection is to be closed.
    Endless,
}

/// Cuts bytes into lines.
///
/// ```text
///  between lines ──too many bytes, no newline──► TooLong ──newline──► between lines
///                                                   └──DISCARDED_BYTES_MAX──► Endless
/// ```
#[derive(Debug)]
pub struct LineCodec {
    limits: LineLimits,
    /// Bytes at the front that are known to hold no newline.
    scanned: usize,
    /// Bytes dropped of a line that is too long.
    discarded: Option<usize>,
}

impl LineCodec {
    /// A codec at the beginning of a line.
    #[must_use]
    pub fn new(limits: LineLimits) -> LineCodec {
        LineCodec { limits, scanned: 0, discarded: None }
    }

    /// Cuts off the next line; `None` where it has not ended. What comes must be added behind what is left.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Option<Cut> {
        if self.discarded.is_some() {
            let endless = self.discard(bytes);
            if self.discarded.is_some() {
                return endless;
            }
        }
        let newline = bytes[self.scanned..].iter().position(|byte| *byte == b'\n');
        if let Some(position) = newline {
            let end = self.scanned + position;
            self.scanned = 0;
            if end > self.line_bytes_max() {
                bytes.advance(end + 1);
                return Some(Cut::TooLong);
            }
            let line = bytes.split_to(end).freeze();
            bytes.advance(1);
            return Some(Cut::Line(line));
        }
        self.scanned = bytes.len();
        if bytes.len() > self.line_bytes_max() {
            self.discarded = Some(bytes.len());
            self.scanned = 0;
            bytes.clear();
            return Some(Cut::TooLong);
        }
        None
    }

    /// Bytes of an unfinished line that may still come before it is too long or has ended;
    /// 0 where it is being dropped.
    #[must_use]
    pub fn missing(&self, bytes: &BytesMut) -> usize {
        if self.discarded.is_some() { 0 } else { (self.line_bytes_max() + 1).saturating_sub(bytes.len()) }
    }

    /// With a carriage return before the newline.
    fn line_bytes_max(&self) -> usize {
        self.limits.line_bytes_max + 1
    }

    /// Drops more of a line that is too long, up to its newline.
    fn discard(&mut self, bytes: &mut BytesMut) -> Option<Cut> {
        let newline = bytes.iter().position(|byte| *byte == b'\n');
        match newline {
            Some(end) => {
                bytes.advance(end + 1);
                self.discarded = None;
                None
            }
            None => {
                let discarded = self.discarded.map_or(0, |before| before + bytes.len());
                self.discarded = Some(discarded);
                bytes.clear();
                (discarded > DISCARDED_BYTES_MAX).then_some(Cut::Endless)
            }
        }
    }
}
