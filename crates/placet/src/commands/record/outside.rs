//! What a record is compared with: checkpoints that were kept outside of it, given by a person or kept by this command.
//!
//! Invariant: a file that holds no checkpoint is not taken for none, nor for a record that is wrong.

use crate::{exit::Failure, input};
use placet_core::record::Kept;
use serde_json::Value;
use std::path::Path;

/// Checkpoints from outside of a record.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Those that a person gives: every one has to be of the record's past.
    pub(crate) given: Vec<String>,
    /// Those that this command keeps: the one of the record's lineage has to be.
    pub(crate) kept: Vec<Kept>,
    /// Whether the record is a backup, which may be older than what was kept of it.
    pub(crate) may_be_older: bool,
}

impl Outside {
    /// The file of `--checkpoint`, if there is one, and what `kept` finds.
    ///
    /// # Errors
    /// A sentence, where something can't be read.
    pub(crate) fn read(
        file: Option<&Path>,
        kept: impl FnOnce() -> Result<Vec<Kept>, Failure>,
    ) -> Result<Self, Failure> {
        let given = file.map(given).transpose()?.into_iter().collect();
        Ok(Self { given, kept: kept()?, may_be_older: false })
    }
}

/// The checkpoint in a file: the signed note itself, or what `placet record verify --json` printed.
fn given(path: &Path) -> Result<String, Failure> {
    let bytes = input::file(path)?;
    let wrong = |why: &str| Failure::unreadable(format!("`{}` holds no checkpoint: {why}", path.display()));
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not text"))?;
    let text = if text.trim_start().starts_with('{') {
        let document: Value = serde_json::from_str(&text)
            .map_err(|error| wrong(&format!("it is no JSON document: {error}")))?;
        let note = document.get("checkpoint").and_then(Value::as_str);
        note.ok_or_else(|| wrong("its member `checkpoint` is missing"))?.to_owned()
    } else {
        text
    };
    // Whose it is, and whether it is signed, is for the verification to say.
    let is_signed = text.lines().any(|line| line.starts_with("\u{2014} "));
    let size = text.lines().nth(1).is_some_and(|line| line.parse::<u64>().is_ok());
    if is_signed && size { Ok(text) } else { Err(wrong("it is no signed note of three lines")) }
}
