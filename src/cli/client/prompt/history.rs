//! Where a prompt's history is kept.

use std::ffi::OsString;
use std::path::PathBuf;

/// The file of a prompt's history: below `$XDG_STATE_HOME`, else `~/.local/state`; `None` where there is no home.
pub(super) fn file(name: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let given = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")))?;
    Some(state.join("wiber").join(format!("{name}_history")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_state() {
        let check = |variables: &[(&str, &str)], expected: Option<&str>| {
            let find =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            assert_eq!(file("producer", find), expected.map(PathBuf::from), "{variables:?}");
        };
        check(&[("HOME", "/h")], Some("/h/.local/state/wiber/producer_history"));
        check(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")], Some("/s/wiber/producer_history"));
        check(&[("HOME", "/h"), ("XDG_STATE_HOME", "relative")], Some("/h/.local/state/wiber/producer_history"));
        check(&[], None);
    }
}
