//! Reads the definition of a PostgreSQL service: where the database is, its tables, and its actions.
//!
//! Invariant: a variable of a resource is known only where the statement itself finds or makes the row by it; all others
//! an agent merely claims.

use super::{Source, Statement, Tables, Verb, column::MOST_ITEMS, load as statements};
use crate::{
    call::Auth,
    diagnostic::{Diagnostic, Position, Report, quoted},
    pattern::ActionName,
    service::{
        Effect, Kind, Paging, PathTemplate, ResourceTemplate, Service, ServiceAction, StatusCheck,
        UploadPace,
        body::Body,
        connection_check, load,
        mapping::Mapping,
        members::Response,
        resolve::{self, Around},
        schema::ParamsSchema,
    },
    yaml::{self, MapReading, Reading, Spanned},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, net::IpAddr};

/// The keys of a PostgreSQL service.
pub(in crate::service) const KEYS: &[&str] = &[
    "service",
    "description",
    "base_url",
    "auth",
    "allow_private",
    "timeout",
    "concurrency",
    "tables",
    "actions",
    "check",
];
/// The keys of its actions.
pub(in crate::service) const ACTION_KEYS: &[&str] = &[
    "description",
    "resource",
    "effect",
    "params",
    "secret",
    "status",
    "response",
    "resolve",
    "select",
    "insert",
    "update",
    "delete",
];

/// What a database may answer with that has changed nothing: all but 200. The gateway says which it is.
const NO_EFFECT: &[u16] = &[403, 404, 409, 413, 422, 500, 503, 504];
/// The schemes that lead here.
const SCHEMES: &[&str] = &["postgres://", "postgresql://"];

/// Whether a definition is of a database.
pub(in crate::service) fn is_database(map: &MapReading<'_>) -> bool {
    let base = map.optional("base_url");
    matches!(base.as_ref().map(|it| &it.node().value), Some(yaml::Yaml::String(text))
        if SCHEMES.iter().any(|scheme| text.starts_with(scheme)))
}

pub(in crate::service) fn read(map: &MapReading<'_>, report: &Report) -> Option<Service> {
    map.finish(KEYS);
    // Each part is read before any `?`, so that all mistakes are found.
    let name = map.required("service").and_then(|it| load::name(&it));
    let description = load::description(map);
    let allow_private = load::flag(map, "allow_private");
    let base = map.required("base_url").and_then(|it| base_url(&it, allow_private));
    let auth = map.required("auth").and_then(|it| match load::auth(&it)? {
        auth @ Auth::Basic { .. } => Some(auth),
        _ => {
            it.error("a database takes a user and a password: `{type: basic}`");
            None
        }
    });
    let timeout = map.optional("timeout").map(|it| resolve::seconds(&it, load::LONGEST_TIMEOUT));
    let concurrency = map.optional("concurrency").map(|it| load::concurrency(&it));
    let tables = map.required("tables").and_then(|it| statements::tables(&it));
    let actions = map.required("actions").zip(tables).and_then(|(it, tables)| {
        load::actions(&it, report, &|map, key, name| action(map, key, name, &tables))
    });
    let check = connection_check::load(map, actions.as_ref());
    let (origin, base_path) = base?;
    Some(Service {
        name: name?,
        description,
        kind: Kind::Postgres,
        origin,
        base_path,
        auth: auth?,
        allow_private,
        timeout: timeout.map_or(Some(None), |it| it.map(Some))?,
        concurrency: concurrency.map_or(Some(None), |it| it.map(Some))?,
        upload: UploadPace::default(),
        headers: Vec::new(),
        actions: actions?,
        check: check?,
        settings: BTreeMap::new(),
    })
}

/// Origin and the database's name behind a slash.
fn base_url(it: &Reading<'_>, allow_private: bool) -> Option<(String, String)> {
    let refuse = |problem: &str| {
        it.error(format!("`base_url` is refused: {problem}"));
        None
    };
    let text = it.string()?;
    let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or_default();
    let (rest, mode) =
        rest.split_once('?').map_or((rest, "sslmode=verify-full"), |(rest, mode)| (rest, mode));
    let plain = match mode {
        "sslmode=verify-full" => false,
        "sslmode=disable" => true,
        _ => {
            return refuse(
                "behind `?` it has `sslmode=verify-full`, which holds anyway, or `sslmode=disable`",
            );
        }
    };
    let (authority, path) = match load::split_url(&format!("https://{rest}")) {
        Ok((_, authority, path)) => (authority, path),
        Err(problem) => return refuse(problem),
    };
    let database = path.strip_prefix('/').unwrap_or_default();
    if database.is_empty() || database.contains('/') || database.len() > 63 {
        return refuse("it has the form `postgres://host[:port]/database`");
    }
    if plain && !allow_private && !is_near(&authority) {
        return refuse(
            "`sslmode=disable` is for this machine or a private address that is written as such, or with `allow_private`",
        );
    }
    let scheme = if plain { "postgres+plain" } else { "postgres" };
    Some((format!("{scheme}://{authority}"), path))
}

/// Whether a host is written as this machine or as a private address.
fn is_near(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

fn action(
    map: &MapReading<'_>,
    key: &Spanned<String>,
    name: Option<ActionName>,
    tables: &Tables,
) -> Option<ServiceAction> {
    map.finish(ACTION_KEYS);
    let report = map.report();
    let description = load::description(map);
    let resource_at = map.required("resource");
    let resource = resource_at.as_ref().and_then(|it| load::template(it, ResourceTemplate::parse));
    let statement = statements::action(map, tables);
    let secret = load::names(map, "secret");
    let status = map.optional("status").and_then(|it| StatusCheck::load(&it));
    let response = map.optional("response").map_or(Some(Response::default()), |it| Response::load(&it));
    let (resource, mut statement) = (resource?, statement?);
    let effect = match (statement.verb, map.optional("effect")) {
        // It runs in a transaction that can't write.
        (Verb::Select, None) => Some(Effect::Read),
        _ => load::effect(map, key),
    };
    if let (true, Some(Effect::Read), Some(at)) =
        (statement.verb != Verb::Select, effect, map.key_position("effect"))
    {
        report.error(at, "what changes rows is no `read`");
        return None;
    }
    statement.bound = resource.variables().map(str::to_owned).collect();
    let schema = schema(map, &statement)?;
    let mut all: Vec<String> = schema.properties().map(str::to_owned).collect();
    all.sort_unstable();
    let at = resource_at.map_or(key.position, |it| it.position());
    let path = PathTemplate::parse("/").ok()?;
    load::check_names(report, at, &resource, &path, &all, &[], &secret);
    check_variables(report, at, &resource, &statement);
    let enforced: Vec<&str> = statement.enforced().collect();
    let mut binds: Vec<String> =
        resource.variables().filter(|name| enforced.contains(name)).map(str::to_owned).collect();
    binds.dedup();
    let claimed = resource.claimed(|name| binds.iter().any(|bound| bound == name));
    let resolve = match map.optional("resolve") {
        None => Vec::new(),
        Some(it) => {
            let settled: Vec<&str> = binds.iter().map(String::as_str).collect();
            resolve::load(
                &it,
                &Around { names: &all, settled: &settled, secret: &secret, tables: Some(tables) },
            )?
        }
    };
    let Response { members, row_limit, trusted } = response?;
    let paging = paging(&statement);
    let action = ServiceAction {
        name: name?,
        description,
        method: statement.verb.method(),
        effect,
        path,
        resource,
        binds,
        claimed,
        schema: Some(schema),
        names: all,
        no_effect: NO_EFFECT.to_vec(),
        secret: secret.into_iter().map(|it| it.value).collect(),
        encoded_slash: false,
        status,
        members,
        row_limit: row_limit.as_ref().map(|limit| limit.value.clone()),
        trusted,
        resolve,
        stream: false,
        mapping: Mapping { query: BTreeMap::new(), body: Body::None },
        headers: Vec::new(),
        paging,
        tool: None,
        statement: Some(statement),
        socket: None,
    };
    if let Some(limit) = row_limit {
        load::check_row_limit(report, &action, &limit)?;
    }
    Some(action)
}

/// Refuses variables of a resource that could be left out, or whose column does not name one thing.
fn check_variables(report: &Report, at: Position, resource: &ResourceTemplate, statement: &Statement) {
    for (name, column, list) in
        statement.places().filter(|(name, ..)| resource.variables().any(|it| it == *name))
    {
        if list || !statements::names(column) {
            let message = format!(
                "{} stands in `resource`, and column {} can't name one: it may be NULL, or its values are written in several ways",
                quoted(name),
                quoted(&column.name)
            );
            report.error(at, message);
        }
    }
    let optional = statement.sources().find_map(|source| match source {
        Source::Param { name, optional: true } => resource.variables().find(|it| it == name),
        _ => None,
    });
    if let Some(name) = optional {
        report.error(
            at,
            format!("{} stands in `resource`, so it is always given: leave out the `?`", quoted(name)),
        );
    }
}

/// How pages are asked for, as agents see it.
fn paging(statement: &Statement) -> Option<Paging> {
    let size = statement.limit.as_ref().map(|(name, _)| name.clone());
    let blank = Paging { cursor: None, next: None, last: None, page: None, offset: None, size };
    match (statement.after.as_slice(), statement.order.as_slice(), &statement.offset) {
        ([cursor], [(column, _)], _) => {
            Some(Paging { cursor: Some(cursor.clone()), last: Some(column.name.clone()), ..blank })
        }
        (_, _, Some(offset)) => Some(Paging { offset: Some(offset.clone()), ..blank }),
        _ => None,
    }
}

/// The schema of an action's parameters: what the types of the columns say, and what `params` says besides.
fn schema(map: &MapReading<'_>, statement: &Statement) -> Option<ParamsSchema> {
    let mut properties: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (name, column, list) in statement.places() {
        let mut one = column.kind.schema();
        if list {
            let many = json!({"type": "array", "items": one, "minItems": 1, "maxItems": MOST_ITEMS});
            one = many.as_object().cloned().unwrap_or_default();
        } else if let (true, Some(kind)) = (column.null && statement.is_written(name), one.get("type")) {
            let kinds = match kind {
                Value::Array(kinds) => [kinds.as_slice(), &["null".into()]].concat(),
                kind => vec![kind.clone(), "null".into()],
            };
            one.insert("type".to_owned(), kinds.into());
        }
        properties.entry(name.to_owned()).or_insert(one);
    }
    let mut count = |name: &String, more: Value| {
        let mut one = statements::count().schema();
        if let Value::Object(more) = more {
            one.extend(more);
        }
        properties.insert(name.clone(), one);
    };
    if let Some((name, usual)) = &statement.limit {
        count(name, json!({"minimum": 0, "maximum": statement.rows.max, "default": usual}));
    }
    if let Some(name) = &statement.offset {
        count(name, json!({"minimum": 0}));
    }
    let mut required: Vec<String> = Vec::new();
    for source in statement.sources() {
        if let (Some(name), true) = (source.param(), source.is_certain()) {
            required.push(name.to_owned());
        }
    }
    let mut top = Map::new();
    top.insert("type".to_owned(), "object".into());
    if let Some(it) = map.optional("params") {
        merge(&it, &mut top, &mut properties, &mut required, statement)?;
    }
    required.sort_unstable();
    required.dedup();
    let properties: Map<String, Value> =
        properties.into_iter().map(|(name, schema)| (name, Value::Object(schema))).collect();
    top.insert("properties".to_owned(), Value::Object(properties));
    top.insert("required".to_owned(), required.into());
    top.insert("additionalProperties".to_owned(), false.into());
    match ParamsSchema::compile(Value::Object(top)) {
        Ok(schema) => Some(schema),
        Err(error) => {
            map.report().error(map.key_position("params").unwrap_or_else(|| map.position()), error.message);
            None
        }
    }
}

/// What `params` says besides. It may say more of a parameter, and not another type.
fn merge(
    it: &Reading<'_>,
    top: &mut Map<String, Value>,
    properties: &mut BTreeMap<String, Map<String, Value>>,
    required: &mut Vec<String>,
    statement: &Statement,
) -> Option<()> {
    it.map()?;
    let Value::Object(said) = yaml::to_json(it.node()) else { return None };
    for (key, value) in said {
        match (key.as_str(), value) {
            ("properties", Value::Object(said)) => {
                for (name, value) in said {
                    let Value::Object(value) = value else { return it.refuse("schemas of parameters", None) };
                    if !properties.contains_key(&name) && !statement.bound.contains(&name) {
                        let message =
                            format!("the parameter {} has no place in the statement", quoted(&name));
                        let known = properties.keys().map(String::as_str);
                        it.report().add(Diagnostic::error(message).at(it.position()).suggest(&name, known));
                        return None;
                    }
                    let one = properties.entry(name.clone()).or_default();
                    for (key, value) in value {
                        if key == "type" && one.get("type").is_some_and(|known| *known != value) {
                            it.error(format!("{} has the type of its column, and no other", quoted(&name)));
                            return None;
                        }
                        one.insert(key, value);
                    }
                }
            }
            ("required", Value::Array(more)) => {
                required.extend(more.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            ("type" | "additionalProperties", _) => {}
            (_, value) => _ = top.insert(key, value),
        }
    }
    Some(())
}

impl Statement {
    /// Where all its values come from, but for counts and pages.
    fn sources(&self) -> impl Iterator<Item = &Source> {
        let tested = self.holds.iter().chain(&self.before).filter_map(|predicate| predicate.test.source());
        self.written.iter().map(|(_, source)| source).chain(tested)
    }

    /// Whether a parameter is written into rows.
    fn is_written(&self, name: &str) -> bool {
        self.written.iter().any(|(_, source)| source.param() == Some(name))
    }
}
