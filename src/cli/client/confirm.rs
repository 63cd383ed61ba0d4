//! Questions before something is done that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;

/// Whether there is somebody to ask; `does` is what --yes has the command do.
pub(super) fn may_ask(command: &str, does: &str) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::Usage(format!("{command}: there is no terminal to ask at; --yes {does} without asking")))
}

/// Asks on standard error; anything but a yes is a no.
pub(super) fn agreed(question: &str) -> Result<bool, Failure> {
    answered(question, &mut io::stdin().lock())
}

fn answered(question: &str, input: &mut impl BufRead) -> Result<bool, Failure> {
    let mut asked = io::stderr().lock();
    drop(asked.write_all(question.as_bytes()).and_then(|()| asked.flush()));
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    read.map_err(|source| Failure::Input { path: "-".into(), source })?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in
            [("y\n", true), (" YES \n", true), ("yes", true), ("", false), ("n\n", false), ("yet\n", false)]
        {
            assert_eq!(answered("?", &mut answer.as_bytes()).expect("read"), expected, "{answer:?}");
        }
    }
}
