//! Getting the rivals from the package managers.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::rival::{Placeholders, Rival};

/// Debian's packages start their servers at once unless this program forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\nexit 101\n";

/// Installs what is missing.
pub(crate) fn install(rivals: &[Rival]) -> Result<()> {
    let mut failed = Vec::new();
    for rival in rivals {
        if let Ok(found) = rival.locate() {
            eprintln!("{}: {} is there", rival.name, rival.version(&found));
        } else if rival.install.is_empty() {
            eprintln!("{}: nothing to install ({})", rival.name, rival.hint);
        } else if let Err(error) = install_one(rival) {
            eprintln!("{}: {error:#}", rival.name);
            failed.push(rival.name.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not installed: {}", failed.join(", ")) }
}

fn install_one(rival: &Rival) -> Result<()> {
    let _forbidden = NoServices::forbid();
    let placeholders = Placeholders::common()?;
    for words in &rival.install {
        let words = placeholders.fill_all(words)?;
        eprintln!("{}: {}", rival.name, words.join(" "));
        let run = |words: &[String]| -> Result<bool> {
            let status = Command::new(&words[0]).args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive").status();
            Ok(status.with_context(|| format!("cannot run {}", words[0]))?.success())
        };
        // An index of packages that is old or absent is the usual reason why the first try fails.
        let again = || Ok::<_, anyhow::Error>(words[0] == "apt-get" && refresh()? && run(&words)?);
        if !run(&words)? && !again()? {
            bail!("'{}' failed; get it by hand ({})", words.join(" "), rival.hint);
        }
    }
    let version = rival.version(&rival.locate()?);
    eprintln!("{}: {version} installed", rival.name);
    Ok(())
}

fn refresh() -> Result<bool> {
    Ok(Command::new("apt-get").arg("update").status()?.success())
}

/// While it lives, no package starts a service. Where a policy is there already, it is left as it is; where none may be
/// written, there is no root, and no service can be started either.
struct NoServices {
    written: bool,
}

impl NoServices {
    fn forbid() -> Self {
        let policy = Path::new(POLICY);
        let written = !policy.exists() && write_policy(policy).is_ok();
        Self { written }
    }
}

fn write_policy(policy: &Path) -> Result<()> {
    let mut file = fs::File::create_new(policy)?;
    file.write_all(POLICY_TEXT.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    Ok(())
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.written {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Builds what is built from source.
pub(crate) fn build(rivals: &[Rival]) -> Result<()> {
    let placeholders = Placeholders::common()?;
    for rival in rivals {
        for words in &rival.build {
            let words = placeholders.fill_all(words)?;
            eprintln!("{}: {}", rival.name, words.join(" "));
            let mut command = Command::new(&words[0]);
            // Cargo tells its own settings to what it runs; a build of another crate must not have them.
            for (name, _) in
                env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR")
            {
                command.env_remove(name);
            }
            if !command.args(&words[1..]).status()?.success() {
                bail!("{} cannot be built", rival.name);
            }
        }
    }
    Ok(())
}
