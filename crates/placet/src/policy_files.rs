//! Which files of a directory are policies: one rule for whoever takes a directory of them.
//!
//! Invariant: tests of policies, which stand beside them, are none; nor are names with a dot at their beginning, where
//! editors and orchestrators keep their own things.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// What the names of tests end with, before the ending that they share with policies.
const TEST: &str = ".test";

/// The policies of a directory, not of those below it, by name. A link is what it leads to: that is how orchestrators
/// change files.
///
/// # Errors
/// The directory, or what is in it, can't be looked at.
pub(crate) fn within(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if is_policy(&path) && fs::metadata(&path)?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_policy(path: &Path) -> bool {
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let stem = text(path.file_stem());
    matches!(&*text(path.extension()), "yaml" | "yml" | "json")
        && !stem.starts_with('.')
        && !stem.ends_with(TEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_hidden_names_are_no_policies() {
        for policy in ["a.yaml", "a.yml", "b.json", "a.test-desk.yaml", "test.yaml"] {
            assert!(is_policy(Path::new(policy)), "{policy}");
        }
        for other in
            ["a.test.yaml", "a.test.yml", "a.test.json", ".a.yaml", "..data", "a.txt", "yaml", "a.yaml~"]
        {
            assert!(!is_policy(Path::new(other)), "{other}");
        }
    }
}
