//! `/v1/record`: the log as administrators and auditors read it, and what a verification of it needs (DESIGN §8).
//!
//! Invariant: bodies are opened only here, for those who may audit, and in [`crate::recording`], for what became of an
//! action; nothing beyond the newest checkpoint is shown as part of the log.

use super::query::QueryParams;
use crate::{
    app::App,
    caller::Caller,
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    id::NodeId,
    json,
    record::{Body, proof::Proof},
    refusal::Code,
    user::AUDITOR,
};
use placet_store::{
    Fault,
    record::{self, StoredEntry},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Members that every entry has, `null` where they say nothing.
const ALWAYS: &[&str] = &["agent", "task", "user", "action", "resource", "decision", "params", "reasons"];
/// Members of a body that stand beside those of the envelope.
const OF_BODY: &[&str] = &["resource", "params", "facts", "reasons"];

/// `GET /v1/record`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    must_audit(&caller)?;
    query.only(&["after", "limit"])?;
    let page = page(&app, &query).await?;
    know_sealers(&app, &page.entries).await;
    let entries = page.entries.iter().map(|entry| shown(&app, entry)).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(json!({"entries": entries, "next": page.next, "checkpoint": page.checkpoint})))
}

/// `GET /v1/record/{index}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(index): Path<String>,
) -> Answer<Json<Value>> {
    must_audit(&caller)?;
    let index = parse_index(&index)?;
    let found = app.store.read(move |q| record::entries(q, index, 1)).await.map_err(damaged)?;
    know_sealers(&app, &found).await;
    Ok(Json(shown(&app, found.first().ok_or_else(unknown)?)?))
}

/// `GET /v1/record/{index}/proof`
pub(crate) async fn prove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(index): Path<String>,
) -> Answer<Response> {
    must_audit(&caller)?;
    let index = parse_index(&index)?;
    let found = app
        .store
        .read(move |q| {
            let (leaf, size) =
                (record::entries(q, index, 1)?.pop().map(|entry| entry.leaf), record::size(q)?);
            Ok::<_, Fault>(leaf.zip(record::prove(q, index)?).map(|(leaf, proof)| (leaf, size, proof)))
        })
        .await?;
    let (leaf, size, proof) = found.ok_or_else(unknown)?;
    let proof = Proof { leaf, index, size, hashes: proof.path, checkpoint: proof.checkpoint };
    Ok(([(header::CONTENT_TYPE, "application/json")], proof.to_json()).into_response())
}

/// `GET /v1/record/key`: the public key that heads and checkpoints are signed for, as C2SP signed notes write it.
pub(crate) async fn key(State(app): State<Arc<App>>, caller: Caller) -> Answer<String> {
    must_audit(&caller)?;
    Ok(format!("{}\n", app.secrets.record.public_key()))
}

/// `GET /v1/record/checkpoint`: the newest signed note.
pub(crate) async fn checkpoint(State(app): State<Arc<App>>, caller: Caller) -> Answer<String> {
    must_audit(&caller)?;
    let newest = app.store.read(|q| record::checkpoint(q)).await.map_err(damaged)?;
    newest.map(|(_, note)| note).ok_or_else(|| Problem::of(Code::NotFound, "the log is still empty"))
}

/// `GET /v1/record/heads`: the signed head of every node.
pub(crate) async fn heads(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<Value>> {
    must_audit(&caller)?;
    let heads = app.store.read(|q| record::heads(q)).await.map_err(damaged)?;
    let heads: Vec<_> =
        heads.iter().map(|head| json!({"node": head.node, "seq": head.seq, "note": head.note})).collect();
    Ok(Json(json!({"heads": heads})))
}

/// `GET /v1/record/export`: entries as they are stored, for a verification. With `node`, `after` is a number of that
/// node's chain and entries that are not in the log yet are there too: that is how the tail is read, up to a head
/// that was read before.
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    must_audit(&caller)?;
    query.only(&["after", "limit", "node"])?;
    let page = match query.parsed::<NodeId>("node")? {
        Some(node) => chain_page(&app, node, &query).await?,
        None => page(&app, &query).await?,
    };
    know_sealers(&app, &page.entries).await;
    let entries = page.entries.iter().map(|entry| exported(&app, entry)).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(json!({"entries": entries, "next": page.next, "checkpoint": page.checkpoint})))
}

/// Lets those through who may read the record.
fn must_audit(caller: &Caller) -> Result<(), Problem> {
    let audits =
        caller.configures() || caller.person().is_ok_and(|signed_in| signed_in.user.has_role(AUDITOR));
    if audits {
        Ok(())
    } else {
        Err(Problem::of(Code::NotPermitted, "this needs the role `administrator` or `auditor`"))
    }
}

/// A page of entries with the checkpoint of the same moment.
struct Page {
    entries: Vec<StoredEntry>,
    /// What `after` continues with, where there is more.
    next: Option<u64>,
    checkpoint: Option<String>,
}

/// Entries of the log behind index `after`.
async fn page(app: &App, query: &QueryParams) -> Result<Page, Problem> {
    let from = query.parsed::<u64>("after")?.map_or(0, |after| after.saturating_add(1));
    let limit = query.limit()? as u64;
    let page = app.store.read(move |q| {
        let entries = record::entries(q, from, limit)?;
        let (size, checkpoint) = record::checkpoint(q)?.unzip();
        let last = entries.last().and_then(|entry| entry.index);
        let next = last.filter(|last| size.is_some_and(|size| last + 1 < size));
        Ok::<_, Fault>(Page { entries, next, checkpoint })
    });
    page.await.map_err(damaged)
}

/// Entries of a node's chain behind number `after`.
async fn chain_page(app: &App, node: NodeId, query: &QueryParams) -> Result<Page, Problem> {
    let from = query.parsed::<u64>("after")?.unwrap_or(0).saturating_add(1);
    let limit = query.limit()?;
    let page = app.store.read(move |q| {
        let entries = record::chain(q, node, from, limit as u64)?;
        let checkpoint = record::checkpoint(q)?.map(|(_, note)| note);
        let next = entries.last().filter(|_| entries.len() == limit).map(|entry| entry.seq);
        Ok::<_, Fault>(Page { entries, next, checkpoint })
    });
    page.await.map_err(damaged)
}

/// An entry with its body opened, for people.
fn shown(app: &App, entry: &StoredEntry) -> Result<Value, Problem> {
    let Ok(Value::Object(envelope)) = json::parse(&entry.leaf) else {
        return Err(unreadable(entry, "its leaf"));
    };
    let mut members: Map<String, Value> =
        ALWAYS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    members.insert("chain".into(), json!([]));
    members.insert("index".into(), json!(entry.index));
    members.insert("leaf_hash".into(), STANDARD.encode(entry.leaf_hash).into());
    members.extend(envelope);
    let body = opened(app, entry)?.map(|body| json::parse(body.json()));
    let body = body.transpose().map_err(|_| unreadable(entry, "its body"))?;
    if entry.sealed.is_none() && members.contains_key("commitment") {
        members.insert("erased".into(), true.into());
    }
    let rest = match body {
        Some(Value::Object(mut body)) => {
            members.extend(OF_BODY.iter().filter_map(|name| body.remove_entry(*name)));
            if body.is_empty() { Value::Null } else { Value::Object(body) }
        }
        other => other.unwrap_or_default(),
    };
    members.insert("body".into(), rest);
    Ok(Value::Object(members))
}

/// An entry in the form that its hashes are made of.
fn exported(app: &App, entry: &StoredEntry) -> Result<Value, Problem> {
    let body = opened(app, entry)?
        .map(|body| json!({"salt": STANDARD.encode(body.salt()), "json": STANDARD.encode(body.json())}));
    Ok(json!({
        "index": entry.index, "node": entry.node, "seq": entry.seq, "leaf": STANDARD.encode(&entry.leaf),
        "chain_hash": STANDARD.encode(entry.chain_hash), "body": body,
    }))
}

/// Another node may have sealed these a moment ago by a key that it made then.
async fn know_sealers(app: &App, entries: &[StoredEntry]) {
    for sealed in entries.iter().filter_map(|entry| entry.sealed.as_deref()) {
        app.know_sealer_of(sealed).await;
    }
}

/// The body of an entry; none where there is none, or it was erased.
fn opened(app: &App, entry: &StoredEntry) -> Result<Option<Body>, Problem> {
    let Some(sealed) = entry.sealed.as_deref() else { return Ok(None) };
    let keys = app.secrets.bodies.load();
    let body = keys.sealer_of(sealed).map(|key| Body::open(key, entry.id, sealed));
    body.transpose().ok().flatten().map(Some).ok_or_else(|| unreadable(entry, "its body"))
}

/// What a page of the record can't be made of. A verification is told that the record is damaged, and not that the
/// server had a bad moment.
fn damaged(fault: Fault) -> Problem {
    match fault {
        Fault::Corrupt(what) => damage(what),
        Fault::Unreadable(what) => damage(format!("{what} can't be read")),
        fault => fault.into(),
    }
}

fn damage(what: String) -> Problem {
    tracing::error!(what, "the record is damaged");
    Problem::of(Code::Internal, format!("the record is damaged: {what}")).with("damaged", true)
}

fn unreadable(entry: &StoredEntry, part: &str) -> Problem {
    tracing::error!(entry = %entry.id, part, "an entry of the record can't be read");
    Problem::of(Code::Internal, format!("the entry `{}` can't be read: {part} is damaged", entry.id))
        .with("damaged", true)
}

fn parse_index(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::of(Code::NotFound, "there is no such entry in the log yet")
}
