//! Why a server cannot run, and what its operator can do about it.

use std::error::Error;
use std::io;

use super::descriptors::TooFewDescriptors;
use crate::broker::{BrokerError, OpenError};
use crate::types::TopicName;

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data cannot be opened.
    #[error("{source}{}", way_out(source))]
    Open {
        /// Why not.
        #[from]
        source: OpenError,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", listen_way_out(source))]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// An address of a further protocol cannot be listened on.
    #[error(
        "cannot listen on {address} ({protocol}): {source}; {section}.host and {section}.port{variables} say where, and \
         {section}.enabled=false does without"
    )]
    ListenBeside {
        /// The address.
        address: String,
        /// The protocol's section of the configuration.
        section: &'static str,
        /// What is spoken there.
        protocol: &'static str,
        /// Variables that say where, in parentheses, where there are short ones.
        variables: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Too few files can be open at one time.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// A topic of `topics.create` cannot be created.
    #[error("topic '{topic}' of topics.create cannot be created: {source}")]
    CreateTopic {
        /// The topic.
        topic: TopicName,
        /// Why.
        source: BrokerError,
    },
    /// The operating system gives no thread, runtime or signal handler.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
}

/// What to do about the failure of the file system that is at the bottom of an error, if one is.
fn way_out(error: &(dyn Error + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return file_way_out(error.kind());
        }
        cause = error.source();
    }
    ""
}

#[expect(clippy::wildcard_enum_match_arm, reason = "for all other kinds the error says what there is to say")]
fn file_way_out(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => {
            "; storage.data_dir and storage.snapshot_dir must be writable for the user that runs the server"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; storage.data_dir (QB_DATA_DIR) must be on a file system that can be written to"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the device is full: make room on it, or give storage.data_dir (QB_DATA_DIR) another one"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; a file is where storage.data_dir (QB_DATA_DIR) needs a directory"
        }
        _ => "",
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "for all other kinds there is one advice")]
fn listen_way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop that one, or choose another port with server.port (--port, QB_SERVER_PORT)"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for privileged users: choose another with server.port (--port, QB_SERVER_PORT)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "server.host (--host, QB_SERVER_HOST) must be an address of this machine; 0.0.0.0 is all of them"
        }
        _ => "server.host (QB_SERVER_HOST) and server.port (QB_SERVER_PORT) say where",
    }
}
