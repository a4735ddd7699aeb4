//! Staged rollout: a version of a policy for some agents first, then for all, or for nobody.
//!
//! Invariant: a staged version was checked like any other, and ends with whatever is put in force for all.

use super::{
    change::{Author, entry, load_one, may_change},
    document,
};
use crate::{app::App, problem::Problem};
use placet_core::{diagnostic::Diagnostic, policy::Stage, record::EntryType, refusal::Code};
use placet_store::{
    documents::{self, Kind},
    policy_stages::{self, StagedVersion},
};
use serde_json::json;
use std::sync::Arc;

/// What is staged.
#[derive(Debug, Clone)]
pub enum Which {
    /// A new text.
    Text(String),
    /// A version that is stored.
    Version(u64),
    /// The version that is staged already.
    Same,
}

/// Stages a version of the policy `name` for the agents of `stage`; answers its number, and the warnings about it.
///
/// # Errors
/// `document_invalid`; `not_found` where there is no such version; `conflict` where that version is in force for all
/// already or comes from the directory; `unavailable`.
pub async fn put(
    app: &Arc<App>,
    author: &Author,
    name: &str,
    which: Which,
    stage: &Stage,
) -> Result<(u64, Vec<Diagnostic>), Problem> {
    let _changing = app.rules_change.lock().await;
    let rules = app.newest_rules().await?;
    let of = name.to_owned();
    let known = app.store.read(move |q| {
        let known = documents::versions_of(q, Kind::Policy, &of)?;
        Ok::<_, placet_store::Fault>((known, policy_stages::find(q, &of)?))
    });
    let (known, staged) = known.await?;
    let active = known.iter().find(|version| version.active);
    may_change(app, author, active)?;
    let wanted = match &which {
        Which::Text(_) => None,
        Which::Version(version) => Some(*version),
        Which::Same => {
            let none = || Problem::of(Code::NotFound, format!("no version of the policy `{name}` is staged"));
            Some(staged.as_ref().ok_or_else(none)?.version)
        }
    };
    let found = wanted.map(|wanted| known.iter().find(|version| version.version == wanted));
    let (text, stored) = match (which, found) {
        (Which::Text(text), _) => (text, None),
        (_, Some(Some(found))) => (found.source.clone(), Some(found.version)),
        _ => return Err(document::no_such(Kind::Policy)),
    };
    let (text, warnings) = load_one(app, &rules, name, &text)?;
    if active.is_some_and(|active| active.source == text) {
        let detail = format!("this text of the policy `{name}` is in force for all agents already");
        return Err(Problem::of(Code::Conflict, detail));
    }
    let version = stored.unwrap_or_else(|| known.last().map_or(0, |newest| newest.version) + 1);
    let now = app.clock.now();
    let mut body = document::applied_body(&text);
    if let (Some(members), Ok(stage)) = (body.as_object_mut(), serde_json::to_value(stage)) {
        members.insert("stage".to_owned(), stage);
    }
    let entry = entry(app, author, EntryType::PolicyStaged, (name, version), Some(&body), now)?;
    let staged = StagedVersion {
        name: name.to_owned(),
        version,
        stage: stage.to_json(),
        at: now,
        by: author.by.clone(),
    };
    let done = app.store.write(move |tx| {
        if !rules.are_stored(tx)? {
            return Err(document::overtaken());
        }
        if stored.is_none()
            && documents::add(tx, Kind::Policy, &staged.name, &text, &staged.by, now)? != version
        {
            return Err(document::overtaken());
        }
        policy_stages::put(tx, &staged)?;
        Ok(tx.record(entry.clone())?)
    });
    let done = done.await;
    app.reload_rules().await?;
    done?;
    Ok((version, warnings))
}

/// Puts the staged version of the policy `name` in force for all; answers its number.
///
/// # Errors
/// `not_found` where none is staged; else as [`put`].
pub async fn promote(app: &Arc<App>, author: &Author, name: &str) -> Result<u64, Problem> {
    end(app, author, name, EntryType::PolicyApplied).await
}

/// Ends the stage of the policy `name`: its agents have what all others have. Answers the version that was staged.
///
/// # Errors
/// As [`promote`].
pub async fn remove(app: &Arc<App>, author: &Author, name: &str) -> Result<u64, Problem> {
    end(app, author, name, EntryType::PolicyUnstaged).await
}

async fn end(app: &Arc<App>, author: &Author, name: &str, how: EntryType) -> Result<u64, Problem> {
    let _changing = app.rules_change.lock().await;
    let rules = app.newest_rules().await?;
    let of = name.to_owned();
    let found = app.store.read(move |q| {
        let active = documents::find(q, Kind::Policy, &of)?;
        Ok::<_, placet_store::Fault>((active, policy_stages::find(q, &of)?))
    });
    let (active, staged) = found.await?;
    let none = || Problem::of(Code::NotFound, format!("no version of the policy `{name}` is staged"));
    let staged = staged.ok_or_else(none)?;
    // Taking it back leaves what all others have, which may be the directory's.
    if how == EntryType::PolicyApplied {
        may_change(app, author, active.as_ref())?;
    }
    let version = staged.version;
    let body = json!({"stage": serde_json::from_str::<serde_json::Value>(&staged.stage).unwrap_or_default()});
    let entry = entry(app, author, how, (name, version), Some(&body), app.clock.now())?;
    let (name, by, now) = (name.to_owned(), author.by.clone(), app.clock.now());
    let done = app.store.write(move |tx| {
        if !rules.are_stored(tx)? {
            return Err(document::overtaken());
        }
        if how == EntryType::PolicyApplied {
            policy_stages::promote(tx, &name, &by, now)?;
        } else {
            policy_stages::end(tx, &name)?;
        }
        Ok(tx.record(entry.clone())?)
    });
    let done = done.await;
    app.reload_rules().await?;
    done?;
    Ok(version)
}
