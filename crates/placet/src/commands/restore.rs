//! `placet restore`: a data directory from a backup, or a PostgreSQL database that its operator has put back; closed.
//!
//! What happened after the backup is gone: spent budgets and used idempotency keys are as they were, and whatever was
//! revoked, used or signed out since would be alive again. So everything that could act is ended, agents are
//! suspended until an administrator resumes them, and the record says that it was restored ([`closing`]).
//!
//! Invariant: nothing is overwritten, and a backup whose record does not verify is not restored.

mod closing;
mod in_place;

use super::{
    backup::{self, FORM, MANIFEST, Manifest},
    record::outside::Outside,
};
use crate::{
    cli::Context,
    data::{DATABASE, Installation, VAULT_KEY, write_whole},
    exit::{Exit, Failure},
    input,
    installation::Elsewhere,
    output::note,
};
use clap::Args;
use closing::{Closed, Found};
use placet_core::record::VerifierKey;
use placet_server::clock::Clock;
use serde_json::json;
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Component, Path, PathBuf},
};

const AFTER: &str = "\
What happened after the backup is gone. So that nothing which had ended acts again, a restored installation is closed:
every task, grant, session and approval is ended, and every agent is suspended until an administrator resumes it with
`placet agent resume`. Budgets count on from the backup: what was spent since is not known. Requests with an
idempotency key that ran since may run again. Keys are those of the backup: rotate again what was rotated since.

The vault key that the backup was made with is needed, where it is not in it.

The record is verified first, also against the last checkpoint that this command saw of it (and --checkpoint).

A PostgreSQL database is put back by PostgreSQL's own tools (`pg_restore`, `psql`), while no node runs. Then this
command, without SRC, closes what is in it: once, before the first node starts. It ends what runs there, so it has to
be asked for with --database; where the URL has a password, put it into PLACET_DATABASE and give --database alone.

Examples:
  placet restore /backup/placet-2026-01-31 --data /var/lib/placet
  PLACET_DATABASE=postgres://placet:secret@db.example/placet placet restore --database --data /var/lib/placet";

/// Put a data directory back from a backup, or close a PostgreSQL database that was put back.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Restore {
    /// What `placet backup` made
    #[arg(value_name = "SRC", conflicts_with = "database", required_unless_present = "database")]
    source: Option<PathBuf>,
    /// Close the PostgreSQL database at this URL, which was put back; without one, that of PLACET_DATABASE
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    database: Option<Option<String>>,
    /// A checkpoint of the record that was kept outside: the note, or what `record verify --json` printed
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The file with the vault key, where it is not in the backup (or PLACET_VAULT_KEY)
    #[arg(long, value_name = "FILE")]
    vault_key_file: Option<PathBuf>,
    /// The file that says where key services are, where one wraps the vault key [env: PLACET_VAULT_SERVICE]
    #[arg(long, value_name = "FILE")]
    vault_service: Option<PathBuf>,
}

impl Restore {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match &self.source {
            Some(source) => self.backup(context, source).await,
            None => self.in_place(context).await,
        }
    }

    async fn backup(&self, context: &Context, source: &Path) -> Result<Exit, Failure> {
        let Some(target) = context.global.data.as_deref() else {
            return Err(Failure::unreadable("say with --data DIR which data directory to make"));
        };
        backup::must_be_free(target)?;
        let manifest = read_manifest(source)?;
        let draft = backup::beside(target, ".restoring");
        backup::clear(&draft)?;
        let restored = self.restore(context, source, &manifest, &draft).await;
        let (found, closed) = match restored {
            Ok(restored) => restored,
            Err(failure) => {
                _ = fs::remove_dir_all(&draft);
                return Err(failure);
            }
        };
        _ = fs::remove_dir(target);
        let renamed = fs::rename(&draft, target).and_then(|()| backup::synced(target));
        renamed.map_err(|error| backup::unwritable(target, &error))?;
        closing::keep(context, &found, &closed)?;
        let document = json!({
            "restored": target, "backup_made": manifest.made, "vault_key": manifest.vault_key,
        });
        let restored = format!("Restored to {} from the backup of {}", target.display(), manifest.made);
        closing::tell(context, document, &restored, &found, &closed);
        if !manifest.vault_key {
            note(&format!(
                "The vault key is not in the backup: put it at {} (mode 0600), or start with --vault-key-file.",
                target.join(VAULT_KEY).display()
            ));
        }
        Ok(Exit::Done)
    }

    async fn restore(
        &self,
        context: &Context,
        source: &Path,
        manifest: &Manifest,
        draft: &Path,
    ) -> Result<(Found, Closed), Failure> {
        copy(source, manifest, draft)?;
        let vault = context.vault(self.vault_key_file.as_deref(), self.vault_service.as_deref())?;
        if vault.elsewhere().is_none() && !manifest.vault_key {
            return Err(Failure::unreadable(
                "the backup has no vault key: give the one that it was made with, with --vault-key-file or PLACET_VAULT_KEY",
            ));
        }
        let installation = Installation::new(draft, None);
        let key = installation.record_key()?;
        let bodies = installation.bodies(&vault)?;
        let found = closing::verify(&installation, key, &bodies, |key| self.outside(context, key))?;
        let said = json!({"backup_made": manifest.made, "backup_entries": manifest.entries});
        let elsewhere = Elsewhere { vault, database: None };
        let closed = closing::close(draft, elsewhere, said, &found, Clock::System.now()).await?;
        Ok((found, closed))
    }

    /// What the record is compared with.
    fn outside(&self, context: &Context, key: &VerifierKey) -> Result<Outside, Failure> {
        Outside::read(self.checkpoint.as_deref(), || match context.state() {
            Ok(state) => state.checkpoints(&key.to_string()),
            Err(_) => Ok(Vec::new()),
        })
    }
}

fn read_manifest(source: &Path) -> Result<Manifest, Failure> {
    let path = source.join(MANIFEST);
    let bytes = input::file(&path)?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::unreadable(format!("`{}` can't be read: {error}", path.display())))?;
    if manifest.form != FORM {
        return Err(Failure::unreadable(format!(
            "`{}` has form {}, this version of Placet reads form {FORM}",
            path.display(),
            manifest.form
        )));
    }
    Ok(manifest)
}

/// Copies what the manifest lists, each file as it was when the backup was made.
fn copy(source: &Path, manifest: &Manifest, draft: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(draft)
        .map_err(|error| backup::unwritable(draft, &error))?;
    if !manifest.files.contains_key(DATABASE) {
        return Err(Failure::unreadable("the backup has no database"));
    }
    for (name, expected) in &manifest.files {
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Failure::unreadable(format!("`{name}` is no name of a file in a backup")));
        }
        let (from, to) = (source.join(name), draft.join(name));
        if backup::digest(&from)? != *expected {
            return Err(Failure::Refused(format!(
                "`{}` is not what it was when the backup was made",
                from.display()
            )));
        }
        if name == DATABASE {
            fs::copy(&from, &to).map_err(|error| backup::unwritable(&to, &error))?;
            backup::only_owner(&to)?;
            let synced = fs::File::open(&to).and_then(|file| file.sync_all());
            synced.map_err(|error| backup::unwritable(&to, &error))?;
        } else {
            let bytes = fs::read(&from).map_err(|error| backup::unreadable(&from, &error))?;
            write_whole(&to, &bytes).map_err(|error| backup::unwritable(&to, &error))?;
        }
    }
    Ok(())
}
