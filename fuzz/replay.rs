//! Runs a target over all that fuzzing it begins with, in ordinary tests: they have this file by its path, as they have the
//! targets.
//!
//! Invariant: a target without inputs is none that was run.

use std::{fs, path::Path};

/// Runs `target` over each input of its name.
pub(crate) fn replay(name: &str, target: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // The same as `begin` of `fuzz/run` takes, but for what it cuts out of documents.
    let directories: &[(&str, &str)] = match name {
        "yaml" | "service" => &[("examples/services", ".yaml"), ("services", ".yaml")],
        "policy" => &[("examples/policies", ".yaml")],
        "judge" => &[("examples/policies", ".test.yaml")],
        _ => &[],
    };
    let seeds = format!("fuzz/seeds/{name}");
    let mut count = 0;
    for (directory, ending) in [(seeds.as_str(), "")].iter().chain(directories) {
        let Ok(entries) = fs::read_dir(root.join(directory)) else { continue };
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an input").path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.to_string_lossy().ends_with(ending)) {
            // Which one it is stands above what the target says of it.
            println!("{name}: {}", path.display());
            target(&fs::read(path).expect("an input"));
            count += 1;
        }
    }
    assert!(count > 0, "{name} has no inputs");
}

/// A test for each of these targets.
macro_rules! replayed {
    ($($target:ident),* $(,)?) => {$(
        #[test]
        fn $target() {
            inputs::replay(stringify!($target), $target::run);
        }
    )*};
}
pub(crate) use replayed;
