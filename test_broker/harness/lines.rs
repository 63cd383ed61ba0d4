//! A client of the line protocol, as a person with a terminal would be one.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{BOUND, Server};

/// A connection.
#[derive(Debug)]
pub(crate) struct Terminal {
    stream: BufReader<TcpStream>,
}

/// Where a server listens for lines.
pub(crate) fn lines_address(server: &mut Server) -> SocketAddr {
    let line = server.wait_for("listening (line protocol)");
    let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    address.unwrap_or_else(|| panic!("an address in {line:?}"))
}

impl Terminal {
    /// Connects, and reads the greeting.
    pub(crate) fn connect(address: SocketAddr) -> Terminal {
        let mut terminal = Terminal::connect_silently(address);
        terminal.expect("OK connected");
        terminal
    }

    /// Connects.
    pub(crate) fn connect_silently(address: SocketAddr) -> Terminal {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(BOUND)).expect("a bound");
        stream.set_nodelay(true).expect("nodelay");
        Terminal { stream: BufReader::with_capacity(64 << 10, stream) }
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket().write_all(bytes).expect("sent");
    }

    /// Sends a line.
    pub(crate) fn say(&self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// The next line, without its end; `None` where the server has closed.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                assert_eq!(line.pop(), Some(b'\n'), "a whole line");
                Some(String::from_utf8(line).expect("UTF-8"))
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// The next line is this one.
    pub(crate) fn expect(&mut self, expected: &str) {
        assert_eq!(self.hear().as_deref(), Some(expected));
    }

    /// Sends a line that is answered by this one.
    pub(crate) fn ask(&mut self, line: &str, expected: &str) {
        self.say(line);
        self.expect(expected);
    }

    /// The message of the next line, which is a MSG.
    pub(crate) fn message(&mut self) -> String {
        let line = self.hear().expect("a MSG");
        let words: Vec<&str> = line.splitn(6, ' ').collect();
        assert!(words[0] == "MSG" && words.len() == 6, "{line:?}");
        words[5].to_owned()
    }

    /// Whatever comes within a moment: what is about to come is not waited for.
    pub(crate) fn drain(&mut self, moment: Duration) -> Vec<String> {
        self.socket().set_read_timeout(Some(moment)).expect("a bound");
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while self.stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            lines.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            line.clear();
        }
        self.socket().set_read_timeout(Some(BOUND)).expect("a bound");
        lines
    }

    /// Closes the sending side, and reads to the end.
    pub(crate) fn finish(mut self) -> String {
        self.socket().shutdown(Shutdown::Write).expect("shut down");
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).expect("the rest");
        rest
    }
}
