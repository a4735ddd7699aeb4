//! What is looked at in a data directory and its database.

use super::Finding;
use crate::data::{self, DATABASE, Installation, VaultPlace, VaultState};
use placet_core::record::{Checkpoint, Head, VerifierKey, chain, merkle::leaf_hash};
use placet_server::clock::Clock;
use placet_store::{Fault, Reader, record};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

/// Less free space than this is told, in bytes.
const LITTLE: u64 = 1 << 30;
/// With less than this the server is about to stop taking actions, in bytes.
const TOO_LITTLE: u64 = 64 << 20;
/// How many of the newest entries are checked.
const TAIL: u64 = 1000;

/// Permissions, and space where the database is here.
pub(super) fn directory(installation: &Installation<'_>) -> Vec<Finding> {
    let directory = installation.directory();
    let shown = directory.display();
    let mut findings = Vec::new();
    let open: Vec<String> = secrets(directory)
        .into_iter()
        .filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0))
        .map(|path| path.display().to_string())
        .collect();
    let mode = fs::metadata(directory).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    findings.push(if !open.is_empty() {
        Finding::fail(
            "permissions",
            format!("others may read {}", open.join(", ")),
            format!("chmod -R go-rwx {shown}; and rotate what may have been read"),
        )
    } else if mode & 0o077 != 0 {
        Finding::warn(
            "permissions",
            format!("the directory has mode {mode:03o}; the files in it are the owner's only"),
            format!("chmod 700 {shown}"),
        )
    } else {
        Finding::ok("permissions", format!("{shown} is its owner's only"))
    });
    if !installation.is_file() {
        return findings;
    }
    findings.push(match fs4::available_space(directory) {
        Err(error) => {
            Finding::warn("space", format!("free space can't be read: {error}"), "look at the file system")
        }
        Ok(free) => {
            let told = format!("{} MiB are free", free >> 20);
            match free {
                free if free < TOO_LITTLE => Finding::fail(
                    "space",
                    told,
                    "make room now: actions are refused where nothing can be recorded",
                ),
                free if free < LITTLE => Finding::warn("space", told, "make room, or shorten --keep-record"),
                _ => Finding::ok("space", told),
            }
        }
    });
    findings
}

/// Whether the files are there that a start needs, and the vault key is the right one.
pub(super) fn keys(installation: &Installation<'_>, vault: &VaultPlace) -> Vec<Finding> {
    let directory = installation.directory();
    let missing: Vec<&str> =
        data::ALWAYS_THERE.iter().copied().filter(|name| !directory.join(name).is_file()).collect();
    let files = if missing.is_empty() {
        Finding::ok("files", "all files are there")
    } else {
        Finding::fail(
            "files",
            format!("missing: {}", missing.join(", ")),
            "put them back from a backup: new ones would not fit what is stored",
        )
    };
    let vault = match installation.vault_state(vault) {
        Err(failure) => Finding::fail(
            "vault key",
            failure.to_string(),
            "make it readable for the server; a key service has to answer this machine too",
        ),
        Ok(VaultState { sealing: None, .. }) => Finding::warn(
            "vault key",
            "there are no keys in a database that would say which it has to be",
            "see `database`",
        ),
        Ok(VaultState { sealing: Some(sealing), at_hand: Some(at_hand) }) => {
            if let Some(key) = at_hand.iter().find(|key| key.id == sealing) {
                match &key.wrapped {
                    Some(by) => Finding::ok("vault key", format!("{sealing} is at hand: {by} unwraps it")),
                    None if vault.services().is_some() => Finding::warn(
                        "vault key",
                        format!("{sealing} is at hand, in the clear, although a key service is described"),
                        "run `placet keys rotate --vault`: the new key is wrapped",
                    ),
                    None => Finding::ok("vault key", format!("{sealing} is at hand")),
                }
            } else {
                let at_hand: Vec<_> = at_hand.into_iter().map(|key| key.id).collect();
                Finding::fail(
                    "vault key",
                    format!("the database is sealed by {sealing}, and at hand is {}", at_hand.join(", ")),
                    "give the right one with --vault-key-file or PLACET_VAULT_KEY",
                )
            }
        }
        Ok(VaultState { sealing: Some(sealing), at_hand: None }) => Finding::warn(
            "vault key",
            format!("it is kept elsewhere, so nothing says whether it is {sealing}"),
            "give it to this command too, with --vault-key-file or PLACET_VAULT_KEY",
        ),
    };
    vec![files, vault]
}

/// The database: that it can be read, its schema, the tail of the record, and whether time went back.
pub(super) fn database(installation: &Installation<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match installation.schema() {
        Err(fault) if installation.is_file() => {
            return vec![Finding::fail(
                "database",
                fault.to_string(),
                "restore a backup if it stays like this",
            )];
        }
        Err(fault) => {
            return vec![Finding::fail(
                "database",
                format!("`{}`: {fault}", installation.place()),
                "is it the URL that the server has, and does this machine reach it?",
            )];
        }
        // Here a server leaves the record's key in the directory in any case.
        Ok(None) if installation.is_file() && installation.directory().join(data::RECORD_KEY).exists() => {
            return vec![Finding::warn(
                "database",
                "a server has run on this directory, and its database is not in it",
                "if it is in PostgreSQL, name it with --database or PLACET_DATABASE; else put it back from a backup",
            )];
        }
        Ok(None) if installation.is_file() => {
            return vec![Finding::warn(
                "database",
                "there is none yet",
                "start the server once, or look for it where --database says",
            )];
        }
        Ok(None) => {
            return vec![Finding::warn(
                "database",
                format!("nothing is in `{}` yet", installation.place()),
                "start the server once; if it has run before, put the database back from a backup",
            )];
        }
        Ok(Some(schema)) if schema.found > schema.known => findings.push(Finding::fail(
            "database",
            format!("schema {}, this version knows {}", schema.found, schema.known),
            "use the newer version of Placet that wrote it",
        )),
        Ok(Some(schema)) if schema.found < schema.known => findings.push(Finding::ok(
            "database",
            format!("schema {}; the next start brings it to {}", schema.found, schema.known),
        )),
        Ok(Some(schema)) if installation.is_file() => {
            findings.push(Finding::ok("database", format!("schema {}", schema.found)));
        }
        Ok(Some(schema)) => findings
            .push(Finding::ok("database", format!("schema {} in `{}`", schema.found, installation.place()))),
    }
    findings.push(match installation.record_key() {
        Err(failure) => Finding::fail("record", failure.to_string(), "put the key back from a backup"),
        Ok(key) => match installation.read(|q| tail(q, &key)) {
            Ok(Ok(found)) => Finding::ok("record", found),
            Ok(Err(wrong)) => {
                Finding::fail("record", wrong, "run `placet record verify`, and keep what is there")
            }
            Err(fault) => Finding::fail("record", fault.to_string(), "run `placet record verify`"),
        },
    });
    findings.extend(installation.read(newest).ok().flatten());
    findings
}

/// Whose the server is.
pub(super) fn user(directory: &Path) -> Finding {
    let sentence = "an agent that runs as this user is outside of what Placet can protect";
    match fs::metadata(directory).map(|metadata| metadata.uid()) {
        Ok(0) => Finding::warn(
            "user",
            "the directory belongs to root",
            "run the server as a user of its own, and agents as others",
        ),
        // systemd takes users of services from the range that is left out (`DynamicUser=`).
        Ok(uid) if uid >= 1000 && !(61_184..=65_519).contains(&uid) => Finding::warn(
            "user",
            format!("the directory belongs to uid {uid}, which looks like a person's: {sentence}"),
            "run the server as a system user of its own (examples/systemd)",
        ),
        Ok(uid) => Finding::ok("user", format!("uid {uid}; {sentence}")),
        Err(error) => {
            Finding::warn("user", format!("the owner can't be read: {error}"), "look at the directory")
        }
    }
}

/// Every file of a data directory that holds something secret.
fn secrets(directory: &Path) -> Vec<std::path::PathBuf> {
    let keys = fs::read_dir(directory.join("keys")).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = [data::ADMIN_TOKEN, data::VAULT_KEY, DATABASE].map(|name| directory.join(name));
    keys.chain(named).filter(|path| path.is_file()).collect()
}

/// The signed heads, the newest entries of each node, and the newest checkpoint.
fn tail(q: &mut Reader<'_>, key: &VerifierKey) -> Result<Result<String, String>, Fault> {
    let mut checked = 0_u64;
    for stored in record::heads(q)? {
        let head = match chain::verify_head(&stored.note, key) {
            Ok(head) => head,
            Err(error) => return Ok(Err(format!("the head of {}: {error}", stored.node))),
        };
        let from = head.seq.saturating_sub(TAIL).max(1);
        let entries = record::chain(q, head.node, from, TAIL + 1)?;
        let mut before =
            entries.first().map(|first| Head { node: head.node, seq: first.seq, hash: first.chain_hash });
        for entry in entries.iter().skip(1) {
            let next = before.map(|before| before.next(&leaf_hash(&entry.leaf)));
            if next.is_none_or(|next| next.seq != entry.seq || next.hash != entry.chain_hash) {
                return Ok(Err(format!("entry {} of {} does not fit its chain", entry.seq, head.node)));
            }
            before = next;
            checked += 1;
        }
        if before != Some(head) && head.seq > 0 {
            return Ok(Err(format!("the entries of {} do not end where its signed head says", head.node)));
        }
    }
    if let Some((size, note)) = record::checkpoint(q)?
        && Checkpoint::parse_and_verify(&note, key).map(|checkpoint| checkpoint.size) != Ok(size)
    {
        return Ok(Err("the newest checkpoint is not signed by the record's key".to_owned()));
    }
    Ok(Ok(format!("the newest {checked} entries fit their chains and signed heads")))
}

/// Whether the newest entry is later than now.
fn newest(q: &mut Reader<'_>) -> Result<Option<Finding>, Fault> {
    let size = record::size(q)?;
    let Some(last) = record::entries(q, size.saturating_sub(1), 1)?.pop() else { return Ok(None) };
    let ahead = Clock::System.now().plus(Duration::from_secs(120));
    let at = placet_core::record::Envelope::decode(&last.leaf).map(|envelope| envelope.at);
    Ok(at.ok().filter(|at| *at > ahead).map(|at| {
        Finding::fail(
            "clock",
            format!("the newest entry of the record is of {at}, which is still to come"),
            "set the clock: limits and lifetimes are counted with it",
        )
    }))
}
