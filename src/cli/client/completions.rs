//! `wiber-client completions`: a shell's completion script.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use super::failure::Failure;

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wiber-client completions bash > ~/.local/share/bash-completion/completions/wiber-client
  wiber-client completions zsh > \"${fpath[1]}/_wiber-client\"
  wiber-client completions fish > ~/.config/fish/completions/wiber-client.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        // The generator cannot be told that a write failed: it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "wiber-client", &mut script);
        out.write_all(&script).map_err(Failure::Output)
    }
}
