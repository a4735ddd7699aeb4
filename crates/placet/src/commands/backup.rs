//! `placet backup`: everything that a server needs to be put back, as one directory, while it serves.
//!
//! The database is copied by SQLite itself, on one snapshot; all keys are in it, sealed by the vault key. The files
//! beside it are copied as they are; where one changed meanwhile, all is copied again. The vault key stays out unless
//! it is asked for: a backup with that key beside it protects none of the credentials in it.
//!
//! Invariant: the directory is there in full or not at all, and nobody but its owner may read it.

use crate::{
    cli::Context,
    data::{self, DATABASE, FILES_OF_A_RUN, VAULT_KEY, write_whole},
    exit::{Exit, Failure},
};
use clap::Args;
use placet_core::{secret::sha256, time::Timestamp};
use placet_server::clock::Clock;
use placet_store::{Database, file, offline, record};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// What is in a backup.
pub(crate) const MANIFEST: &str = "backup.json";
/// The form of [`Manifest`].
pub(crate) const FORM: u32 = 1;
/// How often files may change under a backup before it gives up.
const ATTEMPTS: usize = 3;

const AFTER: &str = "\
The server may run meanwhile. The backup has the database, with all keys in it sealed by the vault key, and the
administrator token. The vault key itself is not in it: keep it elsewhere, for as long as the backup (`placet restore`
needs it), or ask for it with --with-vault-key.

What a server on PostgreSQL stores is backed up with the tools of PostgreSQL.

Example:
  placet backup --data /var/lib/placet /backup/placet-2026-01-31";

/// Copy a data directory while the server runs.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Backup {
    /// The directory to make
    #[arg(value_name = "DEST")]
    destination: PathBuf,
    /// Also copy the vault key: whoever has the backup can then open every credential in it
    #[arg(long)]
    with_vault_key: bool,
}

/// `backup.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// [`FORM`].
    pub(crate) form: u32,
    /// When it was made.
    pub(crate) made: Timestamp,
    /// The version of Placet that made it.
    pub(crate) version: String,
    /// The database's newest migration.
    pub(crate) schema: u64,
    /// Whether the vault key is in it.
    pub(crate) vault_key: bool,
    /// The log's size.
    pub(crate) entries: u64,
    /// The log's newest checkpoint.
    pub(crate) checkpoint: Option<String>,
    /// SHA-256 of each file, in hex, by its name below the directory.
    pub(crate) files: BTreeMap<String, String>,
}

impl Backup {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let directory = context.global.data.as_deref().unwrap_or(Path::new(data::DEFAULT));
        let target = &self.destination;
        must_be_free(target)?;
        if !directory.join(DATABASE).is_file() {
            return Err(Failure::unreadable(format!(
                "there is no database in `{}`: name the data directory with --data (a server on PostgreSQL is backed up with `pg_dump`, and its directory copied)",
                directory.display()
            )));
        }
        let draft = beside(target, ".partial");
        clear(&draft)?;
        let made = make(directory, &draft, self.with_vault_key);
        let manifest = match made {
            Ok(manifest) => manifest,
            Err(failure) => {
                _ = fs::remove_dir_all(&draft);
                return Err(failure);
            }
        };
        let renamed = fs::rename(&draft, target).and_then(|()| synced(target));
        renamed.map_err(|error| unwritable(target, &error))?;
        let bytes = total(target);
        let document = json!({
            "backup": target, "made": manifest.made, "entries": manifest.entries, "bytes": bytes,
            "vault_key": manifest.vault_key, "schema": manifest.schema,
        });
        let vault = if manifest.vault_key {
            "with the vault key: whoever has it can open every credential"
        } else {
            "without the vault key: keep that elsewhere"
        };
        let sentence = format!(
            "The backup is in {} ({bytes} bytes, {} entries of the record), {vault}.",
            target.display(),
            manifest.entries
        );
        context.out.item(&document, &sentence);
        Ok(Exit::Done)
    }
}

fn make(directory: &Path, draft: &Path, with_vault_key: bool) -> Result<Manifest, Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(draft).map_err(|error| unwritable(draft, &error))?;
    for _ in 0..ATTEMPTS {
        let before = copy_files(directory, draft, with_vault_key)?;
        let database = draft.join(DATABASE);
        _ = fs::remove_file(&database);
        let unread = |fault: placet_store::Fault| {
            Failure::unreadable(format!("the database can't be copied: {fault}"))
        };
        file::copy(&directory.join(DATABASE), &database).map_err(unread)?;
        only_owner(&database)?;
        if digests(directory, with_vault_key)? != before {
            continue;
        }
        let copy = Database::sqlite(&database);
        let schema = offline::schema(&copy).map_err(unread)?.map_or(0, |schema| schema.found);
        let newest = offline::read(&copy, |q| record::checkpoint(q)).map_err(unread)?;
        let (entries, checkpoint) = newest.unzip();
        let mut files = before;
        files.insert(DATABASE.to_owned(), digest(&database)?);
        // Reading it may have left files beside it.
        for suffix in ["-wal", "-shm"] {
            _ = fs::remove_file(draft.join(format!("{DATABASE}{suffix}")));
        }
        let manifest = Manifest {
            form: FORM,
            made: Clock::System.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema,
            vault_key: files.contains_key(VAULT_KEY),
            entries: entries.unwrap_or(0),
            checkpoint,
            files,
        };
        let text =
            serde_json::to_vec_pretty(&manifest).map_err(|error| Failure::unreadable(error.to_string()))?;
        let path = draft.join(MANIFEST);
        write_whole(&path, &text).map_err(|error| unwritable(&path, &error))?;
        return Ok(manifest);
    }
    Err(Failure::unreadable("the files keep changing; try again in a moment"))
}

/// Copies every file that is not the database's or a run's; answers their digests.
fn copy_files(
    directory: &Path,
    draft: &Path,
    with_vault_key: bool,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut copied = BTreeMap::new();
    for name in names(directory, with_vault_key)? {
        let (from, to) = (directory.join(&name), draft.join(&name));
        let bytes = fs::read(&from).map_err(|error| unreadable(&from, &error))?;
        write_whole(&to, &bytes).map_err(|error| unwritable(&to, &error))?;
        copied.insert(name, hex(&sha256(&[&bytes])));
    }
    Ok(copied)
}

fn digests(directory: &Path, with_vault_key: bool) -> Result<BTreeMap<String, String>, Failure> {
    let names = names(directory, with_vault_key)?.into_iter();
    names.map(|name| digest(&directory.join(&name)).map(|digest| (name, digest))).collect()
}

/// The files of a data directory that a backup has, but for the database; sorted.
fn names(directory: &Path, with_vault_key: bool) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let path = directory.join(&below);
        for entry in fs::read_dir(&path).map_err(|error| unreadable(&path, &error))? {
            let entry = entry.map_err(|error| unreadable(&path, &error))?;
            let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
            let name = below.join(entry.file_name());
            if kind.is_dir() {
                open.push(name);
            } else if let Some(name) =
                name.to_str().filter(|name| kind.is_file() && kept(name, with_vault_key))
            {
                names.push(name.to_owned());
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn kept(name: &str, with_vault_key: bool) -> bool {
    let of_a_run = FILES_OF_A_RUN.contains(&name)
        || name.starts_with(&format!("{DATABASE}-"))
        || name.starts_with(&format!("{DATABASE}."))
        || name.ends_with(".new");
    !of_a_run && (with_vault_key || name != VAULT_KEY)
}

/// SHA-256 of a file in hex.
pub(crate) fn digest(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: io::Error| unreadable(path, &error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        match buffer.get(..read) {
            Some([]) | None => return Ok(hex(context.finish().as_ref())),
            Some(bytes) => context.update(bytes),
        }
    }
}

/// Refuses a place where something is.
pub(crate) fn must_be_free(target: &Path) -> Result<(), Failure> {
    let taken = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    if taken {
        return Err(Failure::unreadable(format!(
            "`{}` is there already and is not an empty directory; nothing is overwritten",
            target.display()
        )));
    }
    Ok(())
}

/// The same place under a name that says that it is not ready.
pub(crate) fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    while name.to_str().is_some_and(|text| text.len() > 1 && text.ends_with('/')) {
        let text = name.to_str().map(|text| text.trim_end_matches('/').to_owned()).unwrap_or_default();
        name = text.into();
    }
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes what an attempt before left.
pub(crate) fn clear(draft: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(draft, &error)),
        _ => Ok(()),
    }
}

/// Brings a directory's entry to the disk.
pub(crate) fn synced(target: &Path) -> io::Result<()> {
    File::open(target)?.sync_all()?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Takes everybody's rights to a file away but the owner's.
pub(crate) fn only_owner(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let changed = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    changed.map_err(|error| unwritable(path, &error))
}

fn total(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => total(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::unreadable(format!("`{}` can't be written: {error}", path.display()))
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::unreadable(format!("`{}` can't be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_run_or_opens_the_vault_stays_out() {
        for name in [
            "lock",
            "reserve",
            "address",
            "placet.db",
            "placet.db-wal",
            "placet.db-shm",
            "placet.db.lock",
            "admin.token.new",
        ] {
            assert!(!kept(name, true), "{name}");
        }
        assert!(!kept("vault.key", false) && kept("vault.key", true));
        for name in ["vault.id", "keys/token.pk8", "admin.token", "node", "record.pub"] {
            assert!(kept(name, false), "{name}");
        }
    }

    #[test]
    fn a_draft_lies_beside_its_target() {
        assert_eq!(beside(Path::new("/a/b/"), ".partial"), Path::new("/a/b.partial"));
        assert_eq!(beside(Path::new("b"), ".partial"), Path::new("b.partial"));
    }
}
