//! What is fuzzed is also run by ordinary tests, and told.

use crate::tree::root;
use std::fs;

#[test]
fn every_fuzz_target_is_built_told_and_run_over_its_inputs() {
    let root = root();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let (manifest, readme) = (read("fuzz/Cargo.toml"), read("fuzz/README.md"));
    let replays = ["core", "gateway", "server"]
        .map(|name| read(&format!("crates/placet-{name}/src/fuzzing/replay.rs")));
    let targets = fs::read_dir(root.join("fuzz/fuzz_targets")).unwrap();
    let mut count = 0;
    for target in targets {
        let file = target.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".rs").unwrap();
        let path = format!("fuzz_targets/{file}\"");
        assert!(manifest.contains(&format!("path = \"{path}")), "{name} is not built");
        assert!(readme.contains(&format!("\n| `{name}` |")), "fuzz/README.md does not tell of {name}");
        let is_run = |replay: &String| {
            let (modules, tests) = replay.split_once("replayed!(").unwrap_or_default();
            modules.contains(&path) && tests.split([',', ' ', ')', '\n']).any(|test| test == name)
        };
        assert_eq!(replays.iter().filter(|replay| is_run(replay)).count(), 1, "{name} is run by no test");
        count += 1;
    }
    assert!(count > 25, "where have they gone?");
}
