//! `placet restore`: a data directory from a backup, closed.
//!
//! What happened after the backup is gone: spent budgets and used idempotency keys are as they were, and whatever was
//! revoked, used or signed out since would be alive again. So everything that could act is ended, agents are
//! suspended until an administrator resumes them, and the record says that it was restored.
//!
//! Invariant: nothing is overwritten, and a backup whose record does not verify is not restored.

use super::{
    backup::{self, FORM, MANIFEST, Manifest},
    record::offline::{self, Wrong},
};
use crate::{
    cli::Context,
    data::{BodyReader, DATABASE, DataDir, VAULT_KEY, VaultKeys, record_key, write_whole},
    exit::{Exit, Failure},
    input,
    installation::{self, Elsewhere},
    output::note,
};
use clap::Args;
use placet_core::{
    record::{Body, Checkpoint, EntryType, Envelope, Fault as RecordFault},
    time::Timestamp,
};
use placet_server::clock::{self, Clock};
use placet_store::{
    Fault, PreparedEntry,
    restored::{self, Neutralised},
};
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

Example:
  placet restore /backup/placet-2026-01-31 --data /var/lib/placet";

/// Put a data directory back from a backup.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Restore {
    /// What `placet backup` made
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// A checkpoint of the record that was kept outside
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The file with the vault key, where it is not in the backup (or PLACET_VAULT_KEY)
    #[arg(long, value_name = "FILE")]
    vault_key_file: Option<PathBuf>,
}

/// What is missing at the end of the restored record.
struct Lost {
    entries: u64,
    /// The newest checkpoint that was seen of it.
    seen: String,
}

impl Restore {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Some(target) = context.global.data.as_deref() else {
            return Err(Failure::unreadable("say with --data DIR which data directory to make"));
        };
        backup::must_be_free(target)?;
        let manifest = read_manifest(&self.source)?;
        let draft = backup::beside(target, ".restoring");
        backup::clear(&draft)?;
        let restored = self.restore(context, &manifest, &draft).await;
        let (ended, lost, checkpoint) = match restored {
            Ok(restored) => restored,
            Err(failure) => {
                _ = fs::remove_dir_all(&draft);
                return Err(failure);
            }
        };
        _ = fs::remove_dir(target);
        let renamed = fs::rename(&draft, target).and_then(|()| backup::synced(target));
        renamed.map_err(|error| backup::unwritable(target, &error))?;
        if let (Ok(state), Some((key, note))) = (context.state(), checkpoint) {
            state.keep_checkpoint(&key, &note)?;
        }
        tell(context, target, &manifest, ended, lost.as_ref());
        Ok(Exit::Done)
    }

    async fn restore(
        &self,
        context: &Context,
        manifest: &Manifest,
        draft: &Path,
    ) -> Result<(Neutralised, Option<Lost>, Option<(String, String)>), Failure> {
        copy(&self.source, manifest, draft)?;
        let elsewhere = match (&self.vault_key_file, &context.environment.vault_key) {
            (Some(path), _) => Some(VaultKeys::file(path)),
            (None, Some(text)) => Some(VaultKeys::environment(text.clone())),
            (None, None) => None,
        };
        if elsewhere.is_none() && !manifest.vault_key {
            return Err(Failure::unreadable(
                "the backup has no vault key: give the one that it was made with, with --vault-key-file or PLACET_VAULT_KEY",
            ));
        }
        let key = record_key(draft)?;
        let bodies = BodyReader::new(draft, elsewhere.as_ref())?;
        let mut outside = Vec::new();
        if let Some(path) = &self.checkpoint {
            outside.push(String::from_utf8_lossy(&input::file(path)?).into_owned());
        }
        if let Ok(state) = context.state() {
            outside.extend(state.checkpoint(&key.to_string())?);
        }
        // Those of a longer log can't be compared with; they say how much is gone.
        let mut lost: Option<Lost> = None;
        let mut comparable = Vec::new();
        for text in outside {
            match Checkpoint::parse_and_verify(&text, &key) {
                Ok(seen) if seen.size > manifest.entries => {
                    let entries = seen.size - manifest.entries;
                    if lost.as_ref().is_none_or(|lost| lost.entries < entries) {
                        lost = Some(Lost { entries, seen: text });
                    }
                }
                _ => comparable.push(text),
            }
        }
        let verified = offline::verify(draft, &key, &comparable, &bodies)?;
        if let Err(wrong) = verified.result {
            let advice = match &wrong {
                Wrong::Record(RecordFault::Rewritten { .. }) => "; it is not a backup of the same record",
                _ => "",
            };
            return Err(Failure::Refused(format!("the backup's record does not verify: {wrong}{advice}")));
        }
        let now = Clock::System.now();
        let ended = close(draft, elsewhere, manifest, lost.as_ref(), now).await?;
        let newest = offline::verify(draft, &key, &comparable, &bodies)?.checkpoint;
        Ok((ended, lost, newest.map(|note| (key.to_string(), note))))
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

/// Ends everything that could act, and records it.
async fn close(
    draft: &Path,
    elsewhere: Option<VaultKeys>,
    manifest: &Manifest,
    lost: Option<&Lost>,
    now: Timestamp,
) -> Result<Neutralised, Failure> {
    let directory = DataDir::open(draft)?;
    let node = directory.node(false, now)?;
    let (store, secrets) =
        installation::enter(&directory, node, Elsewhere { vault: elsewhere, database: None }, now).await?;
    let body = json!({
        "backup_made": manifest.made, "backup_entries": manifest.entries,
        "newest_checkpoint_seen": lost.map(|lost| &lost.seen),
    });
    let body = Body::new(clock::entropy(), body.to_string());
    let envelope = Envelope {
        by: Some("restore".to_owned()),
        count: lost.map(|lost| lost.entries),
        commitment: Some(body.commitment()),
        ..Envelope::new(clock::fresh(now), EntryType::ServerRestored, now)
    };
    let sealed = body.seal(secrets.bodies.load().sealing(), envelope.id, clock::entropy());
    let sealed = sealed.map_err(|error| Failure::unreadable(format!("an entry can't be sealed: {error}")))?;
    let entry = PreparedEntry::new(&envelope, Some(sealed));
    let failed =
        |fault: Fault| Failure::unreadable(format!("the restored database can't be closed: {fault}"));
    let ended = store
        .write(move |tx| {
            let ended = restored::neutralise(tx, now)?;
            tx.record(entry.clone())?;
            Ok::<_, Fault>(ended)
        })
        .await
        .map_err(failed)?;
    while store.sequence(now).await.map_err(failed)? > 0 {}
    Ok(ended)
}

fn tell(context: &Context, target: &Path, manifest: &Manifest, ended: Neutralised, lost: Option<&Lost>) {
    let document = json!({
        "restored": target, "backup_made": manifest.made, "entries": manifest.entries,
        "entries_lost": lost.map(|lost| lost.entries), "vault_key": manifest.vault_key,
        "ended": {
            "agents_suspended": ended.agents, "tasks": ended.tasks, "grants": ended.grants,
            "approvals": ended.approvals, "permits": ended.permits, "sessions": ended.sessions,
        },
    });
    let sentence = format!(
        "Restored to {} from the backup of {}: {} agents are suspended; {} tasks, {} grants, {} approvals, {} permits and {} sessions are ended.",
        target.display(),
        manifest.made,
        ended.agents,
        ended.tasks,
        ended.grants,
        ended.approvals,
        ended.permits,
        ended.sessions
    );
    context.out.item(&document, &sentence);
    if let Some(lost) = lost {
        note(&format!(
            "{} entries of the record, seen before, are not in this backup: whoever kept a checkpoint of them will find the record rolled back, and its entry `server.restored` says why.",
            lost.entries
        ));
    }
    note(
        "What happened after the backup is gone: budgets count on from it, and requests with an idempotency key may run again. Look before you resume agents (`placet agent resume`).",
    );
    if !manifest.vault_key {
        note(&format!(
            "The vault key is not in the backup: put it at {} (mode 0600), or start with --vault-key-file.",
            target.join(VAULT_KEY).display()
        ));
    }
}
