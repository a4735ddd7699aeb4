//! The file that says which programs may be started as MCP servers (`--mcp-commands`).
//!
//! Invariant: a document names such a program and nothing else of it; what stands in this file is the operator's alone.

use crate::{exit::Failure, input};
use placet_core::{
    diagnostic::{Diagnostic, Report, quoted},
    yaml::{self, MapReading, Reading},
};
use placet_gateway::Command;
use std::{collections::BTreeMap, path::Path};

/// The programs of the file, by the names that services use.
///
/// # Errors
/// Sentences, where it can't be read or used.
pub(crate) fn open(path: &Path) -> Result<BTreeMap<String, Command>, Failure> {
    let text = input::text_file(path, "file of commands")?;
    read(&text, &path.display().to_string()).map_err(|found| {
        let all: Vec<String> = found.iter().map(Diagnostic::render).collect();
        Failure::unreadable(all.join("\n"))
    })
}

fn read(text: &str, file: &str) -> Result<BTreeMap<String, Command>, Vec<Diagnostic>> {
    let (node, report) = yaml::parse(text.as_bytes(), Some(file))?;
    let all = node.as_map(&report).map(|map| commands(&map, &report));
    Ok(report.finish(all)?.0)
}

fn commands(map: &MapReading<'_>, report: &Report) -> BTreeMap<String, Command> {
    let mut all = BTreeMap::new();
    for (name, it) in map.entries() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !name.value.starts_with(|first: char| first.is_ascii_lowercase())
            || !name.value.bytes().all(plain)
            || name.value.len() > 63
            || name.value.ends_with('-')
        {
            let message = format!("{} is no name of a command: `a-z`, `0-9` and `-`", quoted(&name.value));
            report.error(name.position, message);
        }
        if let Some(command) = it.map().and_then(|map| command(&map)) {
            all.insert(name.value.clone(), command);
        }
    }
    all
}

fn command(map: &MapReading<'_>) -> Option<Command> {
    map.finish(&["command", "env", "secret"]);
    let at = map.required("command")?;
    let line: Vec<String> = at.strings()?.into_iter().map(|word| word.value).collect();
    if line.first().is_none_or(|program| !Path::new(program).is_absolute()) {
        at.error("`command` is a list: the absolute path of the program, then its arguments");
        return None;
    }
    let mut env = BTreeMap::new();
    for (name, it) in map.optional("env").and_then(|it| it.map()).iter().flat_map(MapReading::entries) {
        if !is_variable(&name.value) {
            it.error(format!("{} can't be a variable of the environment", quoted(&name.value)));
        }
        env.insert(name.value.clone(), it.string()?.to_owned());
    }
    let secret = match map.optional("secret") {
        None => None,
        Some(it) => Some(variable(&it)?),
    };
    if let Some(both) = secret.as_ref().filter(|secret| env.contains_key(*secret)) {
        at.error(format!("`{both}` has the connection's secret, so `env` can't have it"));
    }
    Some(Command { line, env, secret })
}

fn variable(it: &Reading<'_>) -> Option<String> {
    let name = it.string()?;
    if !is_variable(name) {
        it.error(format!("{} can't be a variable of the environment", quoted(name)));
        return None;
    }
    Some(name.to_owned())
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_started_is_said_in_full() {
        let all =
            read("files:\n  command: [/usr/bin/node, server.js]\n  env: {LANG: C}\n  secret: KEY\n", "f")
                .unwrap();
        let files = &all["files"];
        assert_eq!(
            (files.line.len(), files.env["LANG"].as_str(), files.secret.as_deref()),
            (2, "C", Some("KEY"))
        );
        for bad in [
            "files: {command: node}",
            "files: {command: [node]}",
            "files: {command: []}",
            "files: {}",
            "Files: {command: [/bin/sh]}",
            "files: {command: [/bin/sh], shell: true}",
            "files: {command: [/bin/sh], env: {'A=B': x}}",
            "files: {command: [/bin/sh], env: {KEY: x}, secret: KEY}",
            "files: {command: [/bin/sh], secret: 'a b'}",
        ] {
            assert!(read(bad, "f").is_err(), "{bad}");
        }
    }
}
