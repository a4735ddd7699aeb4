//! The files of the repository.

use crate::lexer::{self, Lexed};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("a crate is two below the root")
        .to_owned()
}

/// Where these tests are: they have to name what they forbid.
const TIDY: &str = "crates/placet-testkit/tests/tidy/";

/// A Rust file.
#[derive(Debug)]
pub(crate) struct RustFile {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) lexed: Lexed,
}

impl RustFile {
    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    pub(crate) fn is_tidy(&self) -> bool {
        self.is_in(TIDY)
    }

    /// Whether all of it is tests.
    pub(crate) fn is_test(&self) -> bool {
        ["/tests/", "/benches/"].iter().any(|folder| self.path.contains(folder))
            || self.path.ends_with("/tests.rs")
    }

    /// Its code without what is only built for tests: `mod tests { … }`, which is last in a file.
    pub(crate) fn shipped(&self) -> &str {
        let code = self.lexed.code.as_str();
        match code.find("#[cfg(test)]\nmod tests {") {
            _ if self.is_test() => "",
            Some(at) => code.get(..at).unwrap_or_default(),
            None => code,
        }
    }
}

/// Every Rust file of the crates, in the order of their paths.
pub(crate) fn rust_files() -> Vec<RustFile> {
    let root = root();
    let mut paths = Vec::new();
    walk(&root.join("crates"), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    assert!(paths.len() > 50, "only {} Rust files found: is this the root?", paths.len());
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let lexed = lexer::lex(&text);
            let path = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            RustFile { path, text, lexed }
        })
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// Fails with all of `found`, a line each, under a sentence that says what to do.
pub(crate) fn none(what_to_do: &str, found: &[String]) {
    assert!(found.is_empty(), "{what_to_do}:\n  {}", found.join("\n  "));
}

/// Compares a generated file with what it should be, or writes it where `UPDATE_DOCS` is set.
pub(crate) fn generated(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, wanted).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == wanted,
        "`{path}` is stale: run `UPDATE_DOCS=1 cargo test -p placet-testkit --test tidy` and look at the difference\n\
         --- it says\n{found}\n--- it should say\n{wanted}"
    );
}
