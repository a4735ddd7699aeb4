//! `placet record verify`: against a running server, whose record grows meanwhile, or where it is stored ([`offline`]).
//!
//! A checkpoint is fixed first, then the signed heads are; every entry up to the checkpoint is part of the tree, and
//! what comes after it, up to the heads, is checked against the heads.

use super::{
    key_of_directory,
    offline::{self, Wrong},
    outside::Outside,
    parse_key, read_key,
};
use crate::{
    cli::Context,
    client::{Body as Request, Client, query},
    data::{self, Installation, VaultPlace, is_held},
    exit::{Exit, Failure},
    output::{note, rows},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    id::NodeId,
    record::{Body, Checkpoint, Entry, Fault, Verified, Verifier, VerifierKey, chain},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::IsTerminal as _, io::Write as _, path::Path};

/// Entries asked for at once.
const PAGE: u64 = 500;

/// Verifies, prints the result, and keeps the checkpoint for the next time.
pub(super) async fn run(
    context: &Context,
    checkpoint: Option<&Path>,
    key: Option<&Path>,
    database: Option<&str>,
) -> Result<Exit, Failure> {
    let state = context.state().ok();
    let key = match key {
        Some(path) => Some(read_key(path)?),
        None => key_of_directory(context)?,
    };
    let kept = |key: &VerifierKey| match &state {
        Some(state) => state.checkpoints(&key.to_string()),
        None => Ok(Vec::new()),
    };
    let outside = |key: &VerifierKey| Outside::read(checkpoint, || kept(key));
    // A directory that no server holds is read where it is; so is a database that is named, whoever uses it.
    let directory = context.global.data.as_deref();
    let stopped = directory.filter(|directory| context.global.url.is_none() && !is_held(directory));
    let named = database.is_some().then(|| directory.unwrap_or(Path::new(data::DEFAULT)));
    let outcome = match named.or(stopped) {
        Some(directory) => {
            let installation = Installation::new(directory, context.database(database)?);
            stored(&installation, key, outside, &context.vault(None, None)?)?
        }
        None => record(&context.client()?, key, outside).await?,
    };
    match outcome.result {
        Ok(verified) => {
            if let (Some(state), Some(note)) = (&state, &outcome.checkpoint) {
                state.keep_checkpoint(&outcome.key.to_string(), verified.lineage, note)?;
            }
            let tail: u64 =
                verified.heads.iter().map(|head| head.seq).sum::<u64>().saturating_sub(verified.size);
            let document = json!({
                "result": "verified",
                "size": verified.size,
                "tail": tail,
                "root": STANDARD.encode(verified.root),
                "checkpoint": outcome.checkpoint,
                "compared_with": verified.compared,
                "restored": verified.lineage,
                "key_pinned": outcome.pinned,
            });
            let compared = match verified.compared {
                0 => "no earlier checkpoint to compare with".to_owned(),
                1 => "compared with 1 checkpoint kept outside".to_owned(),
                n => format!("compared with {n} checkpoints kept outside"),
            };
            let sentence =
                format!("verified: {} entries in the log and {tail} behind it; {compared}", verified.size);
            context.out.item(&document, &sentence);
            if let Some(begins) = verified.lineage {
                note(&format!(
                    "This is what `placet restore` made of a backup (its entry {begins}), and not the record that the backup was made of."
                ));
            }
            if !outcome.pinned {
                note(
                    "The key came from the server itself: keep a copy of `record.pub` elsewhere and give it with --key.",
                );
            }
            Ok(Exit::Done)
        }
        Err(fault) => {
            context.out.item(
                &json!({"result": "refused", "reason": fault.to_string()}),
                &format!("not verified: {fault}"),
            );
            Ok(Exit::Negative)
        }
    }
}

/// Verifies the record where it is stored.
fn stored(
    installation: &Installation<'_>,
    key: Option<VerifierKey>,
    outside: impl FnOnce(&VerifierKey) -> Result<Outside, Failure>,
    vault: &VaultPlace,
) -> Result<Outcome, Failure> {
    let pinned = key.is_some();
    let key = match key {
        Some(key) => key,
        None => installation.record_key()?,
    };
    let outside = outside(&key)?;
    let bodies = installation.bodies(vault)?;
    let found = offline::verify(installation, &key, &outside, &bodies)?;
    let (result, checkpoint) = (found.result, found.checkpoint);
    if result.is_ok() && !bodies.reads() {
        note("No vault key is at hand: the bodies are not compared with what their entries say of them.");
    }
    Ok(Outcome { result, key, pinned, checkpoint })
}

/// What verifying came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether the record is what was signed.
    pub(crate) result: Result<Verified, Wrong>,
    /// The key that it was checked with.
    key: VerifierKey,
    /// Whether the key was given, and not taken from the server.
    pinned: bool,
    /// The checkpoint that was fixed.
    checkpoint: Option<String>,
}

/// Verifies the record of a running server. `outside` looks up what was kept of the record with a key.
///
/// # Errors
/// A sentence, where something could not be read.
pub(crate) async fn record(
    client: &Client,
    key: Option<VerifierKey>,
    outside: impl FnOnce(&VerifierKey) -> Result<Outside, Failure>,
) -> Result<Outcome, Failure> {
    let pinned = key.is_some();
    let key = match key {
        Some(key) => key,
        None => parse_key(
            &note_of(&client.read("/v1/record/key").await?, "key").unwrap_or_default(),
            "the server",
        )?,
    };
    let outside = outside(&key)?;
    // In this order: the heads cover at least what the checkpoint does.
    let newest = client.send(Method::GET, "/v1/record/checkpoint", &[], Request::Empty).await?;
    // A log without entries has none yet.
    let checkpoint = if newest.status == 404 { None } else { note_of(&newest.success()?, "checkpoint") };
    let heads = client.read("/v1/record/heads").await?;
    let heads: Vec<String> = rows(&heads, "heads").iter().filter_map(|head| note_of(head, "note")).collect();
    let result = match walk(client, &key, checkpoint.as_deref(), &outside, &heads).await {
        Ok(result) => result.map_err(Wrong::Record),
        Err(Unread::Damaged(what)) => Err(Wrong::Damaged(what)),
        Err(Unread::Failure(failure)) => return Err(failure),
    };
    Ok(Outcome { result, key, pinned, checkpoint })
}

async fn walk(
    client: &Client,
    key: &VerifierKey,
    checkpoint: Option<&str>,
    outside: &Outside,
    heads: &[String],
) -> Result<Result<Verified, Fault>, Unread> {
    let given: Vec<&str> = outside.given.iter().map(String::as_str).collect();
    let verifier = Verifier::new(key.clone(), checkpoint, &given)
        .and_then(|verifier| verifier.with_kept(&outside.kept, outside.may_be_older));
    let mut verifier = match verifier {
        Ok(verifier) => verifier,
        Err(fault) => return Ok(Err(fault)),
    };
    let size = checkpoint
        .and_then(|note| Checkpoint::parse_and_verify(note, key).ok())
        .map_or(0, |found| found.size);
    let mut signed: BTreeMap<NodeId, u64> = BTreeMap::new();
    for head in heads {
        match chain::verify_head(head, key) {
            Ok(head) => {
                signed.insert(head.node, head.seq);
            }
            Err(error) => return Ok(Err(Fault::Note { what: "a node's head", error })),
        }
    }
    let mut fed: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut progress = Progress::new(size);
    // The log up to the checkpoint, in its order.
    let mut after: Option<u64> = None;
    'log: while after.map_or(0, |after| after + 1) < size {
        let page = Page::read(client, None, after).await?;
        let Some(last) = page.entries.last() else { break };
        after = Some(last.index.ok_or_else(unreadable)?);
        for raw in &page.entries {
            if raw.index.is_none_or(|index| index >= size) {
                break 'log;
            }
            if let Err(fault) = verifier.entry(&raw.entry()) {
                return Ok(Err(fault));
            }
            *fed.entry(raw.node).or_default() += 1;
            progress.step();
        }
    }
    // What each node has written since, up to its signed head; what came after the heads is not theirs to cover.
    for (node, last) in &signed {
        let mut seq = fed.get(node).copied().unwrap_or_default();
        while seq < *last {
            let page = Page::read(client, Some(*node), Some(seq)).await?;
            if page.entries.is_empty() {
                break;
            }
            for raw in page.entries.iter().take_while(|raw| raw.seq <= *last) {
                if let Err(fault) = verifier.tail(&raw.entry()) {
                    return Ok(Err(fault));
                }
                progress.step();
            }
            // Never the same page again, whatever the entries say.
            seq = page.entries.last().map_or(*last, |raw| raw.seq).max(seq.saturating_add(1));
        }
    }
    progress.end();
    Ok(verifier.finish(heads.iter().map(String::as_str)))
}

/// Why a page was not read.
enum Unread {
    /// The server says that it can't make one of what is stored.
    Damaged(String),
    /// The server, or its answer, could not be read.
    Failure(Failure),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

fn unreadable() -> Failure {
    Failure::unreadable("the server's export can't be read")
}

/// Some entries of the log, or of one node's chain.
struct Page {
    entries: Vec<Raw>,
}

impl Page {
    async fn read(client: &Client, node: Option<NodeId>, after: Option<u64>) -> Result<Self, Unread> {
        let members = [
            ("node", node.map(|node| node.to_string())),
            ("after", after.map(|n| n.to_string())),
            ("limit", Some(PAGE.to_string())),
        ];
        let path = format!("/v1/record/export{}", query(&members));
        let page = client.send(Method::GET, &path, &[], Request::Empty).await?;
        if page.body.get("damaged").is_some_and(|damaged| damaged == true) {
            return Err(Unread::Damaged(page.refusal()));
        }
        let page = page.success()?;
        let entries = rows(&page, "entries").iter().map(Raw::read).collect::<Option<Vec<_>>>();
        Ok(Self { entries: entries.ok_or_else(unreadable)? })
    }
}

/// An entry as the server exports it.
struct Raw {
    index: Option<u64>,
    node: NodeId,
    seq: u64,
    leaf: Vec<u8>,
    chain_hash: [u8; 32],
    body: Option<Body>,
}

impl Raw {
    fn read(value: &Value) -> Option<Self> {
        let bytes = |name: &str| STANDARD.decode(value.pointer(name)?.as_str()?).ok();
        let body = match value.get("body") {
            None | Some(Value::Null) => None,
            Some(_) => Some(Body::new(bytes("/body/salt")?.try_into().ok()?, bytes("/body/json")?)),
        };
        Some(Self {
            index: value.get("index").and_then(Value::as_u64),
            node: value.get("node")?.as_str()?.parse().ok()?,
            seq: value.get("seq")?.as_u64()?,
            leaf: bytes("/leaf")?,
            chain_hash: bytes("/chain_hash")?.try_into().ok()?,
            body,
        })
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            node: self.node,
            seq: self.seq,
            leaf: &self.leaf,
            chain_hash: self.chain_hash,
            body: self.body.as_ref(),
        }
    }
}

/// A text that the server answers bare or as a member.
fn note_of(value: &Value, member: &str) -> Option<String> {
    value.as_str().or_else(|| value.get(member)?.as_str()).map(str::to_owned)
}

/// How far it is, on standard error where that is a terminal.
struct Progress {
    done: u64,
    of: u64,
    shown: bool,
}

impl Progress {
    fn new(of: u64) -> Self {
        Self { done: 0, of, shown: std::io::stderr().is_terminal() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.shown && self.done.is_multiple_of(PAGE) {
            let _ = write!(std::io::stderr(), "\r{} of {} entries", self.done, self.of);
        }
    }

    fn end(&self) {
        if self.shown && self.done >= PAGE {
            let _ = writeln!(std::io::stderr());
        }
    }
}
