//! A restored installation is verified, and closed.
//!
//! Invariant: what does not verify is not closed, and so not served; what is closed says so in its record, in the
//! transaction that leaves nothing alive.

use super::super::record::{
    offline::{self, Wrong},
    outside::Outside,
};
use crate::{
    cli::Context,
    data::{BodyReader, DataDir, Installation},
    exit::Failure,
    installation::{self, Elsewhere},
    output::note,
};
use placet_core::{
    id::EventId,
    record::{Body, Checkpoint, EntryType, Envelope, Fault as RecordFault, Kept, Verified, VerifierKey},
    time::Timestamp,
};
use placet_server::clock;
use placet_store::{
    Fault, PreparedEntry, record,
    restored::{self, Neutralised},
};
use serde_json::{Value, json};
use std::path::Path;

/// How many of each kind one transaction ends.
const STEP: usize = 5000;

/// The record as the backup has it.
#[derive(Debug)]
pub(super) struct Found {
    /// The key that verifies it.
    key: VerifierKey,
    verified: Verified,
    /// The newest checkpoint of it.
    checkpoint: Option<String>,
    /// What was seen of it that is not in the backup.
    lost: Option<Lost>,
    /// Whether this command has kept a checkpoint of it.
    is_kept: bool,
}

/// What is missing at the end of the restored record.
#[derive(Debug)]
struct Lost {
    entries: u64,
    /// The newest checkpoint that was seen of it.
    seen: String,
}

/// What closing it came to.
#[derive(Debug)]
pub(super) struct Closed {
    ended: Neutralised,
    /// The entry `server.restored`.
    begins: EventId,
    /// The newest checkpoint, which has that entry.
    checkpoint: Option<String>,
}

/// Verifies the record that was put back, against what was kept `outside` of it.
///
/// # Errors
/// A sentence: it does not verify, is no backup of the same record, or can't be read.
pub(super) fn verify(
    installation: &Installation<'_>,
    key: VerifierKey,
    bodies: &BodyReader,
    outside: impl FnOnce(&VerifierKey) -> Result<Outside, Failure>,
) -> Result<Found, Failure> {
    let Outside { given, kept, .. } = outside(&key)?;
    let size_of =
        |note: &str| Checkpoint::parse_and_verify(note, &key).ok().map(|checkpoint| checkpoint.size);
    let size = installation.read(|q| record::size(q)).map_err(|fault| installation.unread(&fault))?;
    // Those of a longer log can't be compared with; they say how much is gone.
    let (newer, given): (Vec<_>, Vec<_>) =
        given.into_iter().partition(|note| size_of(note).is_some_and(|seen| seen > size));
    let outside = Outside { given, kept, may_be_older: true };
    let offline::Outcome { result, checkpoint } = offline::verify(installation, &key, &outside, bodies)?;
    let verified = result.map_err(|wrong| {
        let advice = match &wrong {
            Wrong::Record(RecordFault::Rewritten { .. }) => "; it is not a backup of the same record",
            _ => "",
        };
        Failure::Refused(format!("the backup's record does not verify: {wrong}{advice}"))
    })?;
    let of_it = |kept: &&Kept| kept.lineage == verified.lineage;
    let kept = outside.kept.iter().find(of_it).map(|kept| kept.note.clone());
    // What waited for the sequencer is in the backup, and is put into the log yet.
    let whole: u64 = verified.heads.iter().map(|head| head.seq).sum();
    let is_kept = kept.is_some();
    let seen = newer.into_iter().chain(kept).filter_map(|note| Some((size_of(&note)?, note)));
    let lost = seen.max_by_key(|(size, _)| *size).and_then(|(size, seen)| {
        let entries = size.checked_sub(whole).filter(|entries| *entries > 0)?;
        Some(Lost { entries, seen })
    });
    Ok(Found { key, verified, checkpoint, lost, is_kept })
}

/// Ends everything that could act, and records it, with what is `said` of the backup.
///
/// # Errors
/// A sentence: the directory or the database can't be used. What was ended by then stays ended; the command can be
/// given again.
pub(super) async fn close(
    directory: &Path,
    elsewhere: Elsewhere,
    mut said: Value,
    found: &Found,
    now: Timestamp,
) -> Result<Closed, Failure> {
    let shared = elsewhere.database.is_some();
    let directory = DataDir::open(directory)?;
    let node = directory.node(shared, now)?;
    let (store, secrets) = installation::enter(&directory, node, elsewhere, now).await?;
    directory.publish_record_key(&secrets.record.public_key().to_string())?;
    if let Some(members) = said.as_object_mut() {
        members.insert("newest_checkpoint_seen".into(), json!(found.lost.as_ref().map(|lost| &lost.seen)));
    }
    let body = Body::new(clock::entropy(), said.to_string());
    let envelope = Envelope {
        by: Some("restore".to_owned()),
        count: found.lost.as_ref().map(|lost| lost.entries),
        commitment: Some(body.commitment()),
        ..Envelope::new(clock::fresh(now), EntryType::ServerRestored, now)
    };
    let begins = envelope.id;
    let sealed = body.seal(secrets.bodies.load().sealing(), begins, clock::entropy());
    let sealed = sealed.map_err(|error| Failure::unreadable(format!("an entry can't be sealed: {error}")))?;
    let entry = PreparedEntry::new(&envelope, Some(sealed));
    let failed =
        |fault: Fault| Failure::unreadable(format!("the restored database can't be closed: {fault}"));
    let mut ended = Neutralised::default();
    loop {
        let entry = entry.clone();
        let step = store.write(move |tx| {
            let step = restored::end(tx, now, STEP)?;
            if step.total() == 0 {
                restored::make_stale(tx)?;
                tx.record(entry.clone())?;
            }
            Ok::<_, Fault>(step)
        });
        let step = step.await.map_err(failed)?;
        if step.total() == 0 {
            break;
        }
        ended = ended.and(step);
    }
    while store.sequence(now).await.map_err(failed)? > 0 {}
    let checkpoint = store.read(|q| record::checkpoint(q)).await.map_err(failed)?;
    Ok(Closed { ended, begins, checkpoint: checkpoint.map(|(_, note)| note) })
}

/// Keeps a checkpoint of the lineage that begins here, beside that of the record which the backup was made of: that one
/// may go on, where a backup is only tried out.
///
/// # Errors
/// A sentence, where it can't be kept.
pub(super) fn keep(context: &Context, found: &Found, closed: &Closed) -> Result<(), Failure> {
    let Ok(state) = context.state() else { return Ok(()) };
    let key = found.key.to_string();
    if let Some(note) = found.checkpoint.as_ref().filter(|_| !found.is_kept) {
        state.keep_checkpoint(&key, found.verified.lineage, note)?;
    }
    if let Some(note) = &closed.checkpoint {
        state.keep_checkpoint(&key, Some(closed.begins), note)?;
    }
    Ok(())
}

/// Says what was done: `document` and `restored` begin it.
pub(super) fn tell(context: &Context, mut document: Value, restored: &str, found: &Found, closed: &Closed) {
    let ended = &closed.ended;
    if let Some(members) = document.as_object_mut() {
        members.insert("entries".into(), json!(found.verified.size));
        members.insert("entries_lost".into(), json!(found.lost.as_ref().map(|lost| lost.entries)));
        members.insert(
            "ended".into(),
            json!({
                "agents_suspended": ended.agents, "tasks": ended.tasks, "grants": ended.grants,
                "approvals": ended.approvals, "permits": ended.permits, "sessions": ended.sessions,
                "passkeys": ended.passkeys, "trusted_issuers": ended.issuers, "identity_providers": ended.providers,
                "status_lists": ended.status_lists,
            }),
        );
    }
    let sentence = format!(
        "{restored}: {} agents are suspended; {} tasks, {} grants, {} approvals, {} permits, {} sessions and {} passkeys are ended; {} issuers are trusted and {} identity providers used no more.",
        ended.agents,
        ended.tasks,
        ended.grants,
        ended.approvals,
        ended.permits,
        ended.sessions,
        ended.passkeys,
        ended.issuers,
        ended.providers
    );
    context.out.item(&document, &sentence);
    if let Some(lost) = &found.lost {
        let entries = match lost.entries {
            1 => "1 entry of the record, seen before, is".to_owned(),
            n => format!("{n} entries of the record, seen before, are"),
        };
        note(&format!(
            "{entries} not in this backup: whoever kept a checkpoint from then will find the record rolled back, and its entry `server.restored` says why.",
        ));
    }
    note(
        "What happened after the backup is gone: budgets count on from it, and requests with an idempotency key may run again. Look before you resume agents (`placet agent resume`).",
    );
}
