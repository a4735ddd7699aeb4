//! Policies put in force and out of it: one, or several at once.
//!
//! Invariant: of several all or none. Each is checked against the services in force, and nothing else changes between
//! the check and the store, here nor on another node.

use crate::{
    app::App,
    problem::Problem,
    recording,
    rules::{Rules, directory::DIRECTORY, document},
};
use placet_core::{
    diagnostic::Diagnostic,
    policy::{Named, Policy},
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
};
use placet_store::{
    PreparedEntry, Tx,
    documents::{self, Applied, Kind},
    policy_stages::{self, StagedVersion},
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

/// The most policies that are put in force at once.
pub const MOST: usize = 1000;

/// Who changes policies.
#[derive(Debug, Clone)]
pub struct Author {
    /// As the record names it: a user's id, `admin-token`, or [`DIRECTORY`].
    pub by: String,
    /// Where the request came from.
    pub source: Option<SocketAddr>,
}

/// A text that is to be in force.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What messages call it: a file, or the name in a path.
    pub file: String,
    /// The text.
    pub text: String,
    /// The name that it has to state, where something else than itself says it.
    pub name: Option<String>,
    /// Whom a document in the compact form without `agent` is for.
    pub agents: Vec<String>,
    /// The version that it is the text of, where it is an old one.
    pub back_to: Option<u64>,
}

impl Wanted {
    /// A text that has to be the policy `name`.
    pub fn named(name: String, text: String) -> Self {
        Self { name: Some(name.clone()), ..Self::of_file(name, text) }
    }

    /// The text of a file, which says its name itself.
    pub(crate) fn of_file(file: String, text: String) -> Self {
        Self { file, text, name: None, agents: Vec::new(), back_to: None }
    }
}

/// What happens to the policies in force that are not among the wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// They stay.
    #[default]
    Stay,
    /// Those that the same author put in force go out of it.
    LeaveIfOwn,
    /// They go out of force.
    Leave,
}

/// What one text became.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The policy's name.
    pub name: String,
    /// The version that is in force.
    pub version: u64,
    /// Whether no version of it was in force before.
    pub is_new: bool,
    /// Whether this text was not in force before.
    pub changed: bool,
    /// What is questionable about it.
    pub warnings: Vec<Diagnostic>,
}

/// What a change did.
#[derive(Debug, Clone, Default)]
pub struct Changed {
    /// In the order of the wanted.
    pub placed: Vec<Placed>,
    /// What went out of force, as (name, version).
    pub removed: Vec<(String, u64)>,
    /// Stages that ended though the version in force for all is as it was, as (name, staged version).
    pub unstaged: Vec<(String, u64)>,
}

impl Changed {
    /// Whether anything was done.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.unstaged.is_empty()
            && self.placed.iter().all(|placed| !placed.changed)
    }
}

/// Puts the wanted in force. With `dry_run` it says what that would do, and does nothing.
///
/// # Errors
/// `document_invalid` with all that is wrong with any of them; `conflict` where one comes from the directory that
/// this server follows and somebody else wants it otherwise; `unavailable`.
pub async fn put(
    app: &Arc<App>,
    author: &Author,
    wanted: Vec<Wanted>,
    others: Others,
    dry_run: bool,
) -> Result<Changed, Problem> {
    let _changing = app.rules_change.lock().await;
    let rules = app.newest_rules().await?;
    let (loaded, warnings) = load(app, &rules, &wanted)?;
    let names: Vec<String> = loaded.iter().map(|policy| policy.name().to_owned()).collect();
    let Stored { current, staged, newest } = stored(app, &names).await?;
    let mut plan = Plan { rules, apply: Vec::new(), remove: Vec::new(), unstage: Vec::new() };
    let mut changed = Changed::default();
    for (((wanted, warnings), name), policy) in wanted.into_iter().zip(warnings).zip(&names).zip(&loaded) {
        // Of the compact form what it becomes today is kept, so that a version means the same for ever.
        let text = policy.kept(&wanted.text);
        let active = current.get(name);
        let placed = |version, changed| Placed {
            name: name.clone(),
            version,
            is_new: active.is_none(),
            changed,
            warnings,
        };
        // The same text by another author is another version: whose it is has changed.
        let same = active.filter(|active| active.source == text && !changes_hands(active, author));
        if let Some(same) = same {
            changed.placed.push(placed(same.version, false));
            // Whatever is put in force for all ends a stage, also where all others have it already.
            plan.unstage.extend(staged.get(name).map(|staged| (name.clone(), staged.version)));
            continue;
        }
        may_change(app, author, active)?;
        let version = newest.get(name).copied().unwrap_or(0) + 1;
        changed.placed.push(placed(version, true));
        plan.apply.push(Next { name: name.clone(), version, text, back_to: wanted.back_to });
    }
    for active in current.values().filter(|active| !names.contains(&active.name)) {
        let leaves = match others {
            Others::Stay => false,
            Others::LeaveIfOwn => active.by == author.by,
            Others::Leave => true,
        };
        if leaves {
            may_change(app, author, Some(active))?;
            plan.remove.push((active.name.clone(), active.version));
        }
    }
    // Those that only some agents have go like those that all have.
    let only_staged = |one: &&StagedVersion| !names.contains(&one.name) && !current.contains_key(&one.name);
    for one in staged.values().filter(only_staged) {
        if others == Others::Leave || (others == Others::LeaveIfOwn && one.by == author.by) {
            plan.unstage.push((one.name.clone(), one.version));
        }
    }
    changed.removed.clone_from(&plan.remove);
    changed.unstaged.clone_from(&plan.unstage);
    if !dry_run && !changed.is_empty() {
        let stored = plan.store(app, author).await;
        app.reload_rules().await?;
        stored?;
    }
    Ok(changed)
}

/// Puts the policy `name` out of force; its versions stay.
///
/// # Errors
/// `not_found` where it is not in force; else as [`put`].
pub async fn remove(app: &Arc<App>, author: &Author, name: &str) -> Result<(), Problem> {
    let _changing = app.rules_change.lock().await;
    let rules = app.newest_rules().await?;
    let of = name.to_owned();
    let active = app.store.read(move |q| documents::find(q, Kind::Policy, &of)).await?;
    let Some(active) = active else { return Err(document::no_such(Kind::Policy)) };
    may_change(app, author, Some(&active))?;
    let stored =
        Plan { rules, apply: Vec::new(), remove: vec![(active.name, active.version)], unstage: Vec::new() };
    let stored = stored.store(app, author).await;
    app.reload_rules().await?;
    stored
}

/// The directory takes over what others put in force, once; others don't take over from it.
fn changes_hands(active: &Applied, author: &Author) -> bool {
    author.by == DIRECTORY && active.by != DIRECTORY
}

/// While this server follows a directory, what comes from there is changed there.
///
/// # Errors
/// `conflict`.
pub(super) fn may_change(app: &App, author: &Author, active: Option<&Applied>) -> Result<(), Problem> {
    let Some(active) = active else { return Ok(()) };
    if author.by == DIRECTORY || active.by != DIRECTORY || !app.operations.directory.is_followed() {
        return Ok(());
    }
    let detail = format!(
        "the policy `{}` comes from the directory that this server follows (`--policies`); change it there",
        active.name
    );
    Err(Problem::of(Code::Conflict, detail))
}

/// Loads all of them, and answers the warnings about each.
fn load(app: &App, rules: &Rules, wanted: &[Wanted]) -> Result<(Vec<Policy>, Vec<Vec<Diagnostic>>), Problem> {
    if wanted.len() > MOST {
        let detail = format!("{} policies at once are too many; at most {MOST} are taken", wanted.len());
        return Err(Problem::document(&[Diagnostic::error(detail)]));
    }
    let definitions = rules.definitions();
    let (mut policies, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut files: BTreeMap<String, &str> = BTreeMap::new();
    for one in wanted {
        let named = Named { file: Some(&one.file), name: one.name.as_deref(), agents: &one.agents };
        match Policy::load_as(one.text.as_bytes(), &named, 0, &definitions) {
            Ok((policy, mut questionable)) => {
                if app.judge.is_none() {
                    questionable.extend(policy.without_judge());
                }
                if policy.is_compact() {
                    // What is kept is read again and again; that it can be is not left to a proof.
                    let kept = policy.kept(&one.text);
                    let again = Policy::load(kept.as_bytes(), Some(&one.file), 0, &definitions);
                    again.map_err(|errors| Problem::document(&errors))?;
                }
                if let Some(name) = &one.name {
                    document::expect_name(Kind::Policy, policy.name(), name)?;
                }
                if let Some(other) = files.insert(policy.name().to_owned(), &one.file) {
                    let (name, file) = (policy.name(), &one.file);
                    errors.push(Diagnostic::error(format!(
                        "`{other}` and `{file}` are both the policy `{name}`"
                    )));
                }
                policies.push(policy);
                warnings.push(questionable);
            }
            Err(found) => errors.extend(found.into_iter().filter(Diagnostic::is_error)),
        }
    }
    if errors.is_empty() { Ok((policies, warnings)) } else { Err(Problem::document(&errors)) }
}

/// Checks one text that has to be the policy `name`, and answers what is kept of it, with the warnings about it.
///
/// # Errors
/// `document_invalid`.
pub(super) fn load_one(
    app: &App,
    rules: &Rules,
    name: &str,
    text: &str,
) -> Result<(String, Vec<Diagnostic>), Problem> {
    let (policies, warnings) = load(app, rules, &[Wanted::named(name.to_owned(), text.to_owned())])?;
    let kept = policies.first().map_or_else(|| text.to_owned(), |policy| policy.kept(text));
    Ok((kept, warnings.into_iter().flatten().collect()))
}

/// What is stored of policies.
struct Stored {
    /// In force for all who are in no stage, by name.
    current: BTreeMap<String, Applied>,
    /// Staged, by name.
    staged: BTreeMap<String, StagedVersion>,
    /// The newest version of each that is wanted.
    newest: HashMap<String, u64>,
}

async fn stored(app: &App, names: &[String]) -> Result<Stored, Problem> {
    let names = names.to_vec();
    let found = app.store.read(move |q| {
        let current = documents::current(q, Kind::Policy)?;
        let mut newest = HashMap::new();
        for name in names {
            let version = documents::newest(q, Kind::Policy, &name)?;
            newest.insert(name, version);
        }
        Ok::<_, placet_store::Fault>((current, policy_stages::all(q)?, newest))
    });
    let (current, staged, newest) = found.await?;
    let current = current.into_iter().map(|active| (active.name.clone(), active)).collect();
    let staged = staged.into_iter().map(|staged| (staged.name.clone(), staged)).collect();
    Ok(Stored { current, staged, newest })
}

/// What is done in one transaction.
struct Plan {
    /// What it was checked against.
    rules: Arc<Rules>,
    apply: Vec<Next>,
    /// As (name, version).
    remove: Vec<(String, u64)>,
    /// As (name, staged version).
    unstage: Vec<(String, u64)>,
}

/// A text that becomes a version.
struct Next {
    name: String,
    version: u64,
    text: String,
    back_to: Option<u64>,
}

impl Plan {
    async fn store(self, app: &Arc<App>, author: &Author) -> Result<(), Problem> {
        let now = app.clock.now();
        let mut entries = Vec::new();
        for next in &self.apply {
            let mut body = document::applied_body(&next.text);
            if let (Some(back_to), Some(members)) = (next.back_to, body.as_object_mut()) {
                members.insert("back_to".to_owned(), back_to.into());
            }
            entries.push(entry(
                app,
                author,
                EntryType::PolicyApplied,
                (&next.name, next.version),
                Some(&body),
                now,
            )?);
        }
        for (name, version) in &self.remove {
            entries.push(entry(app, author, EntryType::PolicyRemoved, (name, *version), None, now)?);
        }
        for (name, version) in &self.unstage {
            entries.push(entry(app, author, EntryType::PolicyUnstaged, (name, *version), None, now)?);
        }
        let by = author.by.clone();
        app.store
            .write(move |tx: &mut Tx<'_>| {
                // Only on what it was checked against, and only as the versions that the entries name.
                if !self.rules.are_stored(tx)? {
                    return Err(document::overtaken());
                }
                for Next { name, version, text, .. } in &self.apply {
                    if documents::apply(tx, Kind::Policy, name, text, &by, now)? != *version {
                        return Err(document::overtaken());
                    }
                }
                for (name, version) in &self.remove {
                    if documents::find(tx, Kind::Policy, name)?
                        .is_none_or(|active| active.version != *version)
                    {
                        return Err(document::overtaken());
                    }
                    documents::remove(tx, Kind::Policy, name)?;
                }
                for (name, _) in &self.unstage {
                    policy_stages::end(tx, name)?;
                }
                for entry in &entries {
                    tx.record(entry.clone())?;
                }
                Ok(())
            })
            .await
    }
}

/// An entry about one version of a policy.
pub(super) fn entry(
    app: &App,
    author: &Author,
    entry_type: EntryType,
    (name, version): (&str, u64),
    body: Option<&Value>,
    now: Timestamp,
) -> Result<PreparedEntry, Problem> {
    let envelope = Envelope {
        policies: vec![format!("{name}@{version}")],
        source: recording::source(author.source),
        ..recording::by(entry_type, now, author.by.clone())
    };
    app.prepare(envelope, body)
}
