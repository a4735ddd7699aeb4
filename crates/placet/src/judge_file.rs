//! The file that says where the judge of intent is, and its key from where that says.
//!
//! Invariant: the key is held as a secret, and printed by no message.

use crate::{environment, exit::Failure, input};
use placet_core::{
    diagnostic::Diagnostic,
    intent::config::{JudgeConfig, KeyFrom},
    secret::Secret,
};
use placet_gateway::CertificateDer;
use placet_server::{clock::Clock, intent::Judge};
use std::path::Path;

/// The judge that the file describes; `roots` are authorities that are believed besides the system's.
///
/// # Errors
/// A sentence, where it can't be read or used.
pub(crate) fn open(path: &Path, roots: &[CertificateDer<'static>]) -> Result<Judge, Failure> {
    let text = input::text_file(path, "judge's file")?;
    let shown = path.display().to_string();
    let config = JudgeConfig::read(text.as_bytes(), Some(&shown)).map_err(|found| {
        let all: Vec<String> = found.iter().map(Diagnostic::render).collect();
        Failure::unreadable(all.join("\n"))
    })?;
    let key = config.key.as_ref().map(|from| key(from, path)).transpose()?;
    Judge::new(config, key, Clock::System, roots)
        .map_err(|error| Failure::unreadable(format!("`{shown}` can't be used: {error}")))
}

fn key(from: &KeyFrom, beside: &Path) -> Result<Secret, Failure> {
    match from {
        KeyFrom::Env(name) => environment::secret(name).ok_or_else(|| {
            Failure::unreadable(format!("the judge's key is not in the environment: `{name}` is not set"))
        }),
        KeyFrom::File(path) => {
            // A relative path is one beside the file that names it.
            let path = beside.parent().map_or_else(|| path.clone(), |directory| directory.join(path));
            let text = input::text_file(&path, "key of the judge")?;
            let key = text.trim_end();
            if key.is_empty() {
                return Err(Failure::unreadable(format!("the judge's key `{}` is empty", path.display())));
            }
            Ok(Secret::new(key.as_bytes()))
        }
    }
}
