//! The help of every command.

use crate::process::{run, stdout};

/// The commands that a help lists below the one that it is of.
fn below(help: &str) -> Vec<String> {
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = commands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn collect(home: &std::path::Path, path: &[&str], all: &mut Vec<(String, String)>) {
    let output = run(home, &[path, &["--help"]].concat());
    assert!(output.status.success(), "{path:?}");
    let help = stdout(&output);
    let commands = below(&help);
    all.push((path.join(" "), help));
    for command in &commands {
        collect(home, &[path, &[command.as_str()]].concat(), all);
    }
}

#[test]
fn every_command_has_a_help_with_an_example() {
    let home = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    collect(home.path(), &[], &mut all);
    assert!(all.len() > 40, "{}", all.len());
    for (command, help) in &all {
        // A command that has others below it leaves the examples to those.
        if below(help).is_empty() {
            assert!(help.contains("Example"), "`placet {command}` has no example");
        }
    }
    let text: String =
        all.iter().map(|(command, help)| format!("$ placet {command} --help\n{help}\n")).collect();
    insta::assert_snapshot!("help", text.replace("$ placet  --help", "$ placet --help"));
}

#[test]
fn wrong_use_is_code_2() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["nonsense"][..],
        &["agent", "list"],
        &["serve", "--listen", "here"],
        &["--url", "http://127.0.0.1:1", "agent", "list"],
    ] {
        let output = run(home.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
