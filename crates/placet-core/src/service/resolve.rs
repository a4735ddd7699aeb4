//! What an action's service can be asked about the thing acted on before it is decided: lookups, and the facts that each
//! gives (`resolve`, DESIGN §2 "gather", §4 "Provenance in services").
//!
//! A lookup is a GET at the same upstream, through the same connection, of an address that the parameters fill as they
//! fill the action's own. What it gives is what upstream holds, not what an agent says; so nothing that an agent merely
//! claims may say which object is looked up.
//!
//! Invariant: a fact is a value of its declared type, or unknown. It is never absent and never a guess.

use super::{
    MAX_TARGET, ParamsInvalid, Service, ServiceAction, check_target,
    load::template,
    sql,
    template::{PathTemplate, Values},
    value,
};
use crate::{
    call::{Auth, Method, UpstreamCall},
    cel::{FieldType, PARTS},
    decimal::Decimal,
    diagnostic::{Diagnostic, quoted},
    intent::Returned,
    time::Timestamp,
    yaml::{self, MapReading, Reading, Spanned},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// The most lookups that one action may have.
pub(super) const MOST_LOOKUPS: usize = 4;
/// The most facts that one lookup may give.
pub(super) const MOST_FACTS: usize = 16;
/// How many bytes of an answer are read where the definition doesn't say.
const BYTES: usize = 64 * 1024;
/// The most that can be said instead.
const MOST_BYTES: i64 = 1024 * 1024;
/// How long a lookup may take where the definition doesn't say.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest that can be said instead, in seconds.
const LONGEST: u64 = 10;
/// The longest value of a fact, in bytes of JSON: it goes into the record, and a person may be shown it.
const LONGEST_FACT: usize = 4096;
/// The longest name or pointer.
const LONGEST_NAME: usize = 128;
/// What a value that is taken from the action's parameters begins with.
const PARAM: &str = "$params.";

/// The keys of a lookup.
pub(super) const KEYS: &[&str] = &["method", "path", "query", "facts", "binds", "max_bytes", "within"];
/// The keys of a lookup in a database.
pub(super) const SELECT_KEYS: &[&str] = &["select", "facts", "binds", "max_bytes", "within"];
/// The keys of a fact.
pub(super) const FACT_KEYS: &[&str] = &["at", "type"];

/// One question to upstream.
#[derive(Debug, Clone)]
pub struct Lookup {
    name: String,
    path: PathTemplate,
    query: BTreeMap<String, Source>,
    /// What is selected instead, where the upstream is a database.
    select: Option<sql::Statement>,
    facts: Vec<Fact>,
    max_bytes: usize,
    within: Duration,
}

/// Where a member of the query comes from.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    Param(String),
    Literal(String),
}

/// What one place of the answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    name: String,
    at: String,
    kind: FactType,
}

/// The type of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactType {
    /// A text.
    String,
    /// A number that can be held exactly.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A list of texts.
    Strings,
    /// A text that is a point in time (RFC 3339); conditions read it with `timestamp(…)`.
    Timestamp,
}

/// Why a fact is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// A parameter that says what to look up is missing, or would not stay in its place.
    NotAsked,
    /// Too much has been looked up lately that only observed policies read.
    Spared,
    /// Upstream could not be reached or did not answer in time.
    NoAnswer,
    /// Upstream answered with this status.
    Status(u16),
    /// The answer is too long, or is no JSON with one reading.
    Unreadable,
    /// The answer has nothing in its place.
    Missing,
    /// The answer has something else in its place than what is declared.
    WrongType,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("the parameters don't say what to look up"),
            Self::Spared => f.write_str("too much was looked up lately for what is only observed"),
            Self::NoAnswer => f.write_str("upstream did not answer in time"),
            Self::Status(status) => write!(f, "upstream answered with the status {status}"),
            Self::Unreadable => f.write_str("the answer could not be read"),
            Self::Missing => f.write_str("the answer does not have it"),
            Self::WrongType => f.write_str("it is not of its declared type"),
        }
    }
}

/// What was read about the resource of an action. What isn't here is unknown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    known: Map<String, Value>,
    unread: BTreeMap<String, Unread>,
    /// Those of both that only observed policies read.
    observed: BTreeSet<String>,
    /// Which of the action's values a service vouched for in answers of the same task.
    returned: Returned,
}

impl Facts {
    /// These values: of a test, or of an administrator's dry run.
    pub fn given(known: Map<String, Value>) -> Self {
        Self { known, ..Self::default() }
    }

    /// What an entry of the record says was read, as [`Facts::shown`] wrote it. What could not be read is unknown still.
    pub fn recorded(shown: &Value) -> Self {
        Self::given(shown.get("known").and_then(Value::as_object).cloned().unwrap_or_default())
    }

    /// Whether nothing was read, in vain or not.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.unread.is_empty()
    }

    /// The values by name.
    pub fn known(&self) -> &Map<String, Value> {
        &self.known
    }

    /// Notes what was read.
    pub fn note(&mut self, name: &str, read: Result<Value, Unread>) {
        match read {
            Ok(value) => _ = self.known.insert(name.to_owned(), value),
            Err(why) => _ = self.unread.insert(name.to_owned(), why),
        }
    }

    /// Notes what was read for observed policies alone.
    pub fn note_observed(&mut self, name: &str, read: Result<Value, Unread>) {
        self.observed.insert(name.to_owned());
        self.note(name, read);
    }

    /// Notes which of the action's values were returned by earlier actions of its task.
    pub fn note_returned(&mut self, returned: Returned) {
        self.returned = returned;
    }

    /// Those values.
    pub fn returned(&self) -> &Returned {
        &self.returned
    }

    /// Without what only observed policies read: nothing that is decided rests on that, and so no approval does.
    #[must_use]
    pub fn judged(&self) -> Self {
        let mut judged = self.clone();
        for name in std::mem::take(&mut judged.observed) {
            judged.known.remove(&name);
            judged.unread.remove(&name);
        }
        judged
    }

    /// For the record and for people: `{known: {…}, unknown: {name: why}}`.
    pub fn shown(&self) -> Value {
        let mut shown = Map::new();
        if !self.known.is_empty() {
            shown.insert("known".to_owned(), Value::Object(self.known.clone()));
        }
        if !self.unread.is_empty() {
            let why = self.unread.iter().map(|(name, why)| (name.clone(), why.to_string().into()));
            shown.insert("unknown".to_owned(), Value::Object(why.collect()));
        }
        Value::Object(shown)
    }

    /// What an approval is bound to: the values and which of them could not be read, in one order, of what is judged by.
    /// Empty where nothing was read for that.
    pub fn bound(&self) -> Vec<u8> {
        let judged = self.judged();
        if judged.is_empty() {
            return Vec::new();
        }
        let sorted: BTreeMap<&String, &Value> = judged.known.iter().collect();
        let unread: Vec<&String> = judged.unread.keys().collect();
        json!([sorted, unread]).to_string().into_bytes()
    }
}

impl Fact {
    /// Its name: conditions read it as `resource.NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn kind(&self) -> FactType {
        self.kind
    }

    /// Its value in an answer.
    fn read(&self, body: &Value) -> Result<Value, Unread> {
        let found = body.pointer(&self.at).ok_or(Unread::Missing)?;
        let short = found.to_string().len() <= LONGEST_FACT;
        if short && self.kind.admits(found) { Ok(found.clone()) } else { Err(Unread::WrongType) }
    }
}

impl FactType {
    const ALL: [(Self, &'static str); 6] = [
        (Self::String, "string"),
        (Self::Number, "number"),
        (Self::Integer, "integer"),
        (Self::Boolean, "boolean"),
        (Self::Strings, "strings"),
        (Self::Timestamp, "timestamp"),
    ];
    pub(super) const WORDS: [&'static str; 6] =
        ["string", "number", "integer", "boolean", "strings", "timestamp"];

    /// The word in a definition.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("string", |(_, word)| word)
    }

    /// Whether a value is of it.
    pub fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::String, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => true,
            (Self::Number, Value::Number(number)) => Decimal::from_json(number).is_ok(),
            (Self::Integer, Value::Number(number)) => {
                Decimal::from_json(number).is_ok_and(|number| number.to_i64().is_some())
            }
            (Self::Strings, Value::Array(items)) => items.iter().all(Value::is_string),
            (Self::Timestamp, Value::String(text)) => Timestamp::parse(text).is_ok(),
            _ => false,
        }
    }

    /// As conditions see it: JSON has no timestamps.
    pub(crate) fn field(self) -> FieldType {
        match self {
            Self::String | Self::Timestamp => FieldType::String,
            Self::Number => FieldType::Number,
            Self::Integer => FieldType::Integer,
            Self::Boolean => FieldType::Bool,
            Self::Strings => FieldType::List(Box::new(FieldType::String)),
        }
    }
}

impl Lookup {
    /// Its name within the action.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it gives.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The most bytes of an answer that are read.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How long it may take in all.
    pub fn within(&self) -> Duration {
        self.within
    }

    /// What an answer says of each fact. Only a status 200 says anything.
    pub fn read<'l>(
        &'l self,
        status: u16,
        body: &'l Value,
    ) -> impl Iterator<Item = (&'l str, Result<Value, Unread>)> {
        let read = move |fact: &'l Fact| {
            let value = if status == 200 { fact.read(body) } else { Err(Unread::Status(status)) };
            (fact.name.as_str(), value)
        };
        self.facts.iter().map(read)
    }

    /// The members of the query.
    fn members(&self) -> impl Iterator<Item = &str> {
        self.query.keys().map(String::as_str)
    }

    /// The action's parameters that it reads.
    fn params(&self) -> impl Iterator<Item = &str> {
        let query = self.query.values().filter_map(|source| match source {
            Source::Param(name) => Some(name.as_str()),
            Source::Literal(_) => None,
        });
        let selected = self.select.iter().flat_map(sql::Statement::places).map(|(name, ..)| name);
        self.path.variables().chain(query).chain(selected)
    }
}

impl ServiceAction {
    /// What can be looked up before it is decided.
    pub fn lookups(&self) -> &[Lookup] {
        &self.resolve
    }

    /// The fact of this name.
    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.resolve.iter().flat_map(Lookup::facts).find(|fact| fact.name == name)
    }

    /// What is wrong with given facts: a name that is none, or a value of another type.
    pub fn misfit(&self, given: &Map<String, Value>) -> Option<String> {
        given.iter().find_map(|(name, value)| match self.fact(name) {
            None => Some(format!("`{}` has no fact {}", self.name, quoted(name))),
            Some(fact) if !fact.kind.admits(value) => {
                Some(format!("the fact `{name}` of `{}` is of the type `{}`", self.name, fact.kind.as_str()))
            }
            Some(_) => None,
        })
    }
}

impl Service {
    /// The call of a lookup of `action`, for these parameters.
    ///
    /// # Errors
    /// If a parameter that it needs is missing or would not stay in its place, the target gets longer than
    /// [`MAX_TARGET`], or with these values it would be an action of the service with a more literal path.
    pub fn render_lookup(
        &self,
        action: &ServiceAction,
        lookup: &Lookup,
        params: &Map<String, Value>,
    ) -> Result<UpstreamCall, ParamsInvalid> {
        if let Some(select) = &lookup.select {
            return self.statement_call(select, params);
        }
        let missing = |name: &str| ParamsInvalid::of(name, format!("`{name}` is missing"));
        let refused =
            |name: &str, problem: &str| ParamsInvalid::of(name, format!("`{name}` is refused: {problem}"));
        let mut values = Values::new();
        for name in lookup.path.variables() {
            let given = params.get(name).ok_or_else(|| missing(name))?;
            let text =
                value::segment_text(given, action.encoded_slash).map_err(|problem| refused(name, problem))?;
            values.insert(name.to_owned(), text);
        }
        let mut path = String::new();
        lookup
            .path
            .fill(&values, &mut path)
            .map_err(|problem| ParamsInvalid::whole(format!("the path is refused: {problem}")))?;
        if let Some(placed) = self.place(Method::Get, &path)
            && placed.action().path.literalness(&lookup.path).is_gt()
        {
            let other = placed.action().name();
            return Err(ParamsInvalid::whole(format!("with these values the lookup would be `{other}`")));
        }
        let mut target = format!("{}{path}", self.base_path);
        for (index, (member, source)) in lookup.query.iter().enumerate() {
            let text = match source {
                Source::Literal(text) => text.clone(),
                Source::Param(name) => {
                    let given = params.get(name).ok_or_else(|| missing(name))?;
                    value::query_text(given)
                        .ok_or_else(|| refused(name, "it must be a string, number or boolean"))?
                }
            };
            target.push(if index == 0 { '?' } else { '&' });
            value::encode(member, &mut target);
            target.push('=');
            value::encode(&text, &mut target);
        }
        if target.len() > MAX_TARGET {
            return Err(ParamsInvalid::whole(format!("path and query are longer than {MAX_TARGET} bytes")));
        }
        check_target(&target)
            .map_err(|problem| ParamsInvalid::whole(format!("the target is refused: {problem}")))?;
        Ok(UpstreamCall {
            method: Method::Get,
            origin: self.origin.clone(),
            target,
            headers: Vec::new(),
            fixed: self.headers.clone(),
            body: None,
            streamed: false,
        })
    }
}

/// What the rest of an action's definition says about its lookups.
pub(super) struct Around<'a> {
    /// Every parameter there may be.
    pub(super) names: &'a [String],
    /// Parameters that name what the action itself is about: those of its path, and those that it binds. All others an
    /// agent merely claims.
    pub(super) settled: &'a [&'a str],
    /// Parameters of which only commitments are kept.
    pub(super) secret: &'a [Spanned<String>],
    /// The tables of a database, where the upstream is one.
    pub(super) tables: Option<&'a sql::Tables>,
}

/// Reads `resolve`. `None` where something was reported.
pub(super) fn load(it: &Reading<'_>, around: &Around<'_>) -> Option<Vec<Lookup>> {
    let map = it.map()?;
    if map.entries().count() > MOST_LOOKUPS {
        it.error(format!("an action has at most {MOST_LOOKUPS} lookups"));
        return None;
    }
    let read: Vec<Option<Lookup>> = map.entries().map(|(key, it)| lookup(&map, key, &it, around)).collect();
    let found: Vec<Lookup> = read.into_iter().collect::<Option<_>>()?;
    let mut names: Vec<(&str, &str)> = Vec::new();
    for lookup in &found {
        for fact in &lookup.facts {
            if let Some((_, other)) = names.iter().find(|(name, _)| *name == fact.name) {
                it.error(format!(
                    "the fact `{}` is given by `{other}` and by `{}`: which one would it be?",
                    fact.name, lookup.name
                ));
                return None;
            }
            names.push((&fact.name, &lookup.name));
        }
    }
    Some(found)
}

fn lookup(
    map: &MapReading<'_>,
    key: &Spanned<String>,
    it: &Reading<'_>,
    around: &Around<'_>,
) -> Option<Lookup> {
    let report = map.report();
    if !is_name(&key.value) {
        report.error(key.position, not_a_name(&key.value));
        return None;
    }
    let inner = it.map()?;
    inner.finish(if around.tables.is_some() { SELECT_KEYS } else { KEYS });
    if let Some(method) = inner.optional("method")
        && method.string()? != Method::Get.as_str()
    {
        method.error("a lookup is a GET: it is sent before anything is decided, so it may change nothing");
        return None;
    }
    let (path_at, path, select) = match around.tables {
        None => {
            let path_at = inner.required("path");
            let path = path_at.as_ref().and_then(|it| template(it, PathTemplate::parse));
            (path_at, path, None)
        }
        // Nothing of the path is used.
        Some(tables) => {
            let path_at = inner.required("select");
            (path_at, PathTemplate::parse("/").ok(), Some(sql::one_row(&inner, tables)?))
        }
    };
    let query = inner.optional("query").map_or(Some(BTreeMap::new()), |it| query(&it));
    let facts = inner.required("facts").and_then(|it| facts(&it));
    let max_bytes = match inner.optional("max_bytes") {
        None => Some(BYTES),
        Some(it) => it.integer(1, MOST_BYTES).and_then(|bytes| usize::try_from(bytes).ok()),
    };
    let within = inner.optional("within").map_or(Some(WITHIN), |it| seconds(&it, LONGEST));
    let read = Lookup {
        name: key.value.clone(),
        path: path?,
        query: query?,
        select,
        facts: facts?,
        max_bytes: max_bytes?,
        within: within?,
    };
    let at = path_at.map_or(key.position, |it| it.position());
    let binds = inner.optional("binds").map_or(Some(Vec::new()), |it| it.strings())?;
    for name in read.params() {
        let settled = around.settled.contains(&name);
        let claimed = !settled && !binds.iter().any(|bind| bind.value == name);
        let problem = if !around.names.iter().any(|known| known == name) {
            let message = format!("`{name}` is no parameter: it stands neither in `path` nor in `params`");
            Diagnostic::error(message).suggest(name, around.names.iter().map(String::as_str))
        } else if around.secret.iter().any(|secret| secret.value == name) {
            Diagnostic::error(format!("`{name}` is secret, and a target is none"))
        } else if claimed {
            let message = format!("this looks up what an agent merely claims: `{name}`");
            let help = format!(
                "say `binds: [{name}]` in the lookup if upstream refuses the action where it is about another one"
            );
            Diagnostic::error(message).help(&help)
        } else {
            continue;
        };
        report.add(problem.at(at));
        return None;
    }
    if let Some(bind) = binds.iter().find(|bind| !read.params().any(|name| name == bind.value)) {
        report.error(bind.position, format!("`{}` does not fill this lookup", bind.value));
        return None;
    }
    Some(read)
}

fn query(it: &Reading<'_>) -> Option<BTreeMap<String, Source>> {
    let map = it.map()?;
    let mut all = BTreeMap::new();
    for (key, it) in map.entries() {
        if key.value.is_empty() || key.value.len() > LONGEST_NAME {
            map.report().error(key.position, "a member of the query has a name of 1 to 128 bytes");
            return None;
        }
        let stated = yaml::to_json(it.node());
        let Some(text) = value::query_text(&stated) else {
            return it.refuse("`$params.NAME`, or a string, number or boolean", None);
        };
        let source = match text.strip_prefix(PARAM) {
            Some(name) => Source::Param(name.to_owned()),
            None if text.starts_with('$') => {
                it.error(format!("{} is not `$params.NAME`", quoted(&text)));
                return None;
            }
            None => Source::Literal(text),
        };
        all.insert(key.value.clone(), source);
    }
    Some(all)
}

fn facts(it: &Reading<'_>) -> Option<Vec<Fact>> {
    let map = it.map()?;
    let count = map.entries().count();
    if count == 0 || count > MOST_FACTS {
        it.error(format!("a lookup gives 1 to {MOST_FACTS} facts"));
        return None;
    }
    let read: Vec<Option<Fact>> = map.entries().map(|(key, it)| fact(&map, key, &it)).collect();
    read.into_iter().collect()
}

fn fact(map: &MapReading<'_>, key: &Spanned<String>, it: &Reading<'_>) -> Option<Fact> {
    let name = &key.value;
    if !is_name(name) {
        map.report().error(key.position, not_a_name(name));
        return None;
    }
    if PARTS.contains(&name.as_str()) {
        let message = format!("`resource.{name}` is a part of the resource's URI: name the fact otherwise");
        map.report().error(key.position, message);
        return None;
    }
    let inner = it.map()?;
    inner.finish(FACT_KEYS);
    let at = inner.required("at").and_then(|it| pointer(&it));
    let kind = inner.required("type").and_then(|it| it.one_of(&FactType::WORDS));
    let kind = kind.and_then(|word| FactType::ALL.iter().find(|(_, known)| *known == word));
    Some(Fact { name: name.clone(), at: at?, kind: kind?.0 })
}

/// RFC 6901.
fn pointer(it: &Reading<'_>) -> Option<String> {
    let text = it.string()?;
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !text.starts_with('/') || text.len() > LONGEST_NAME || !escapes {
        let message = format!("{} is no JSON pointer", quoted(text));
        it.report()
            .add(Diagnostic::error(message).at(it.position()).help("it begins with `/`: `/customer/id`"));
        return None;
    }
    Some(text.to_owned())
}

/// A time in whole seconds, up to the longest.
pub(super) fn seconds(it: &Reading<'_>, longest: u64) -> Option<Duration> {
    let count = it.string()?.strip_suffix('s').filter(|digits| digits.bytes().all(|it| it.is_ascii_digit()));
    match count.and_then(|count| count.parse::<u64>().ok()).filter(|count| (1..=longest).contains(count)) {
        Some(count) => Some(Duration::from_secs(count)),
        None => it.refuse(&format!("a time from `1s` to `{longest}s`"), None),
    }
}

/// What a condition can read behind a dot.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= LONGEST_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn not_a_name(text: &str) -> String {
    format!("{} is no name: a letter `a-z` or `_`, then `a-z`, `0-9` and `_`", quoted(text))
}

/// The member of a lookup's query that an upstream could take for the credential.
pub(super) fn beside_credential<'a>(action: &'a ServiceAction, auth: &Auth) -> Option<&'a str> {
    let carried = auth.members();
    let is_carried = |member: &str| carried.iter().any(|name| member.eq_ignore_ascii_case(name));
    action.resolve.iter().flat_map(Lookup::members).find(|member| is_carried(member))
}

#[cfg(test)]
mod tests;
