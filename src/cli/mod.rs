//! The command lines.

pub mod client;
#[cfg(feature = "server")]
pub mod server;
<<<<<<< HEAD
=======
#[cfg(feature = "server")]
pub mod server_tools;
>>>>>>> main
