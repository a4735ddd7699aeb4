//! Files of policy tests, with the policies and services that they name.
//!
//! Invariant: read in one order, whatever the file system's is, so that what is printed is the same everywhere.

use crate::{exit::Failure, input};
use placet_core::{
    diagnostic::Diagnostic,
    policy::{
        Policy,
        case::{ENDING, Needs, Suite},
    },
    service::Service,
    yaml::Spanned,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// One file.
pub(super) struct Tests {
    /// As it is called in messages.
    pub(super) file: String,
    /// What it became.
    pub(super) suite: Suite,
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    /// The files that can be run.
    pub(super) tests: Vec<Tests>,
    /// What is wrong or doubtful with all.
    pub(super) found: Vec<Diagnostic>,
}

/// Reads these files, and those of these directories and below whose name ends with `.test.yaml`.
///
/// # Errors
/// Where a path can't be read, or a directory has no tests.
pub(super) fn read(paths: &[PathBuf]) -> Result<Read, Failure> {
    let mut read = Read::default();
    for path in paths {
        let files = if path.is_dir() { below(path)? } else { vec![path.clone()] };
        if files.is_empty() {
            let message = format!("no file below `{}` has a name that ends with `{ENDING}`", path.display());
            return Err(Failure::unreadable(message));
        }
        for file in files {
            one(&file, &mut read)?;
        }
    }
    Ok(read)
}

fn one(path: &Path, read: &mut Read) -> Result<(), Failure> {
    let file = path.display().to_string();
    let source = input::file(path)?;
    let needs = match Needs::read(&source, Some(&file)) {
        Ok(needs) => needs,
        Err(found) => {
            read.found.extend(found);
            return Ok(());
        }
    };
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut services = Vec::new();
    let mut policies = Vec::new();
    let mut sound = true;
    for named in &needs.services {
        let Some((source, name)) = source_of(named, &file, beside, &mut read.found) else {
            sound = false;
            continue;
        };
        match Service::parse(&source, Some(&name)) {
            Ok((service, _)) => services.push(service),
            Err(found) => {
                sound = false;
                read.found.extend(found);
            }
        }
    }
    let known: Vec<&Service> = services.iter().collect();
    for named in &needs.policies {
        let Some((source, name)) = source_of(named, &file, beside, &mut read.found) else {
            sound = false;
            continue;
        };
        match Policy::load(&source, Some(&name), 1, &known) {
            // What is doubtful about a policy is told by `check`.
            Ok((policy, _)) => {
                if policies.iter().any(|other: &Arc<Policy>| other.name() == policy.name()) {
                    sound = false;
                    read.found.push(mistake(
                        named,
                        &file,
                        format!("the policy `{}` is named twice", policy.name()),
                    ));
                }
                policies.push(Arc::new(policy));
            }
            Err(found) => {
                sound = false;
                read.found.extend(found);
            }
        }
    }
    if !sound {
        return Ok(());
    }
    match Suite::load(&source, Some(&file), policies, services) {
        Ok((suite, warnings)) => {
            read.found.extend(warnings);
            read.tests.push(Tests { file, suite });
        }
        Err(found) => read.found.extend(found),
    }
    Ok(())
}

/// The text of a file that is named relative to the one with the tests, and what it is called.
fn source_of(
    named: &Spanned<String>,
    file: &str,
    beside: &Path,
    found: &mut Vec<Diagnostic>,
) -> Option<(Vec<u8>, String)> {
    let path = beside.join(&named.value);
    match input::file(&path) {
        Ok(source) => Some((source, path.display().to_string())),
        Err(failure) => {
            found.push(mistake(named, file, failure.to_string()));
            None
        }
    }
}

fn mistake(named: &Spanned<String>, file: &str, message: String) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(message).at(named.position);
    diagnostic.file = Some(file.to_owned());
    diagnostic
}

/// The files of tests below a directory, sorted. Hidden entries and links to directories are left out.
fn below(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::unreadable(format!("`{}` can't be read: {error}", directory.display()))
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        entries.push((entry.file_name(), entry.file_type().map_err(unreadable)?, entry.path()));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    let mut files = Vec::new();
    for (name, kind, path) in entries {
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            files.extend(below(&path)?);
        } else if name.ends_with(ENDING) {
            files.push(path);
        }
    }
    Ok(files)
}
