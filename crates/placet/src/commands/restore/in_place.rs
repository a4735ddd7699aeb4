//! A PostgreSQL database that its operator has put back: it is closed where it is.
//!
//! Nodes say in the database that they run. A copy of a database says the same of nodes that ran when it was made, so
//! what counts is whether they go on saying it.
//!
//! Invariant: nothing is ended while a node uses the database, as far as the database can tell.

use super::{Restore, closing};
use crate::{
    cli::Context,
    data::{Installation, RECORD_KEY, is_held},
    exit::{Exit, Failure},
    installation::Elsewhere,
    output::note,
};
use placet_core::{id::NodeId, time::Timestamp};
use placet_server::{
    clock::Clock,
    vault::rotation::{GONE, SAY},
};
use placet_store::keys;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a node may be late in saying that it runs.
const LATE: Duration = Duration::from_secs(3);
/// How often is looked whether one says it.
const LOOK: Duration = Duration::from_millis(500);

impl Restore {
    /// Closes what is in the database.
    pub(super) async fn in_place(&self, context: &Context) -> Result<Exit, Failure> {
        let Some(directory) = context.global.data.as_deref() else {
            return Err(Failure::unreadable(
                "say with --data DIR which data directory the node has that is to serve the database first",
            ));
        };
        let database = context.database(self.database.as_ref().and_then(|url| url.as_deref()))?;
        let database = database.ok_or_else(|| {
            Failure::unreadable("say which database was put back: --database URL, or PLACET_DATABASE")
        })?;
        if is_held(directory) {
            return Err(Failure::unreadable(format!(
                "a server runs on `{}`: stop every node first",
                directory.display()
            )));
        }
        let installation = Installation::new(directory, Some(database));
        let schema = installation.schema().map_err(|fault| installation.unread(&fault))?;
        if schema.is_none() {
            return Err(installation.no_database());
        }
        let vault = context.vault(self.vault_key_file.as_deref(), self.vault_service.as_deref())?;
        let stored = installation.stored_record_key(&vault)?.ok_or_else(|| {
            Failure::unreadable(format!(
                "there is no vault key in `{}`: copy it there, or give the one that the database was made with, with --vault-key-file or PLACET_VAULT_KEY",
                directory.display()
            ))
        })?;
        // Where the directory knows the record's key, that one counts.
        let is_known = directory.join(RECORD_KEY).exists();
        let key = if is_known { installation.record_key()? } else { stored };
        let bodies = installation.bodies(&vault)?;
        nobody_serves(&installation).await?;
        let found = closing::verify(&installation, key, &bodies, |key| self.outside(context, key))?;
        let said = json!({"database": installation.place()});
        let elsewhere = Elsewhere { vault, database: Some(installation.database().clone()) };
        let closed = closing::close(directory, elsewhere, said, &found, Clock::System.now()).await?;
        closing::keep(context, &found, &closed)?;
        let document = json!({"restored": installation.place(), "backup_made": null});
        let restored = format!("Closed what was put back in `{}`", installation.place());
        closing::tell(context, document, &restored, &found, &closed);
        Ok(Exit::Done)
    }
}

/// Waits until it is known that no node says that it runs.
async fn nobody_serves(installation: &Installation<'_>) -> Result<(), Failure> {
    let before = running(installation, Clock::System.now())?;
    if before.is_empty() {
        return Ok(());
    }
    note(&format!(
        "Nodes ran a minute ago, says the database; waiting {} seconds for whether they still do.",
        (SAY + LATE).as_secs()
    ));
    let began = Instant::now();
    while began.elapsed() < SAY + LATE {
        sleep(LOOK).await;
        for node in running(installation, Clock::System.now())? {
            if !before.contains(&node) {
                return Err(Failure::Refused(format!(
                    "node {} uses the database: stop every node first, and put the backup back while none runs",
                    node.0
                )));
            }
        }
    }
    Ok(())
}

/// The nodes that have said lately that they run.
fn running(installation: &Installation<'_>, now: Timestamp) -> Result<Vec<(NodeId, Timestamp)>, Failure> {
    let found = installation.read(|q| keys::running(q, now.minus(GONE)));
    found.map_err(|fault| installation.unread(&fault))
}
