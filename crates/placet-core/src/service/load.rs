//! Reads the definition of a service and checks everything that can be known before the first request.

use super::{
    Effect, Kind, MAX_ACTIONS, ParamType, PathTemplate, ResourceTemplate, RowLimit, Service, ServiceAction,
    StatusCheck, UploadPace, connection_check,
    mapping::{self, Mapping},
    mcp,
    members::Response,
    paging,
    resolve::{self, Around},
    schema::ParamsSchema,
    signed, socket, sql,
    template::TemplateError,
};
use crate::{
    call::{Auth, Method},
    diagnostic::{Diagnostic, Position, Report, quoted},
    pattern::ActionName,
    yaml::{self, MapReading, Node, Reading, Spanned, Yaml},
};
use std::collections::BTreeMap;

pub(super) const SERVICE_KEYS: &[&str] = &[
    "service",
    "description",
    "base_url",
    "auth",
    "allow_private",
    "timeout",
    "concurrency",
    "upload",
    "encoded_slash",
    "headers",
    "actions",
    "check",
];
pub(super) const ACTION_KEYS: &[&str] = &[
    "description",
    "method",
    "path",
    "resource",
    "binds",
    "effect",
    "params",
    "no_effect",
    "secret",
    "encoded_slash",
    "status",
    "stream",
    "response",
    "resolve",
    "query",
    "headers",
    "body",
    "paging",
    "websocket",
    "message",
];
pub(super) const METHODS: [Method; 6] =
    [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete];

/// The longest `timeout`, in seconds.
pub(super) const LONGEST_TIMEOUT: u64 = 300;
/// The largest `concurrency`.
pub(super) const MOST_CONCURRENT: i64 = 10_000;
/// The longest pause of an upload, in seconds: less than an upstream may be silent.
pub(super) const LONGEST_PAUSE: u64 = 50;
/// The fastest that uploads may have to come, in bytes a second.
pub(super) const FASTEST_UPLOAD: i64 = 100 * 1024 * 1024;

/// Reads a definition.
pub(super) fn service(
    source: &[u8],
    file: Option<&str>,
) -> Result<(Service, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (node, report) = yaml::parse(source, file)?;
    let service =
        node.as_map(&report).and_then(|map| if is_other(&map, &report) { None } else { read(&map, &report) });
    report.finish(service)
}

/// Whether it is a document of another kind, of which nothing but that has to be said.
fn is_other(map: &MapReading<'_>, report: &Report) -> bool {
    if map.key_position("service").is_some() {
        return false;
    }
    let kinds = [
        ("openapi", "this is an OpenAPI document, and no service", "make one of it: `placet service import`"),
        (
            "swagger",
            "this is a Swagger 2.0 document, and no service",
            "convert it to OpenAPI 3, and make one of that: `placet service import`",
        ),
        (
            "policy",
            "this is a policy, and no service",
            "`placet policy check` and `placet policy apply` take it",
        ),
    ];
    for (key, what, help) in kinds {
        if let Some(at) = map.key_position(key) {
            report.add(Diagnostic::error(what).at(at).help(help));
            return true;
        }
    }
    false
}

fn read(map: &MapReading<'_>, report: &Report) -> Option<Service> {
    if let Some(server) = map.optional("mcp") {
        return mcp::read(map, &server);
    }
    if sql::is_database(map) {
        return sql::read(map, report);
    }
    map.finish(SERVICE_KEYS);
    // Each part is read before any `?`, so that all mistakes are found.
    let name = map.required("service").and_then(|it| name(&it));
    let description = description(map);
    let allow_private = flag(map, "allow_private");
    let base = map.required("base_url").and_then(|it| base_url(&it, allow_private));
    let auth = map.required("auth").and_then(|it| auth(&it));
    let timeout = map.optional("timeout").map(|it| resolve::seconds(&it, LONGEST_TIMEOUT));
    let concurrency = map.optional("concurrency").map(|it| concurrency(&it));
    let upload = map.optional("upload").map(|it| upload(&it));
    let slash = flag(map, "encoded_slash");
    let headers = mapping::headers(map);
    let mut actions = map.required("actions").and_then(|it| {
        actions(&it, report, &|map, key, name| match map.key_position("message") {
            Some(_) => socket::load::message(map, key, name, slash, it.node()),
            None => action(map, key, name, slash),
        })
    });
    for action in actions.iter_mut().flat_map(BTreeMap::values_mut) {
        mapping::sent(&mut action.headers, &headers, &action.mapping.body);
    }
    if let (Some(auth), Some(actions), Some(at)) = (&auth, &actions, map.key_position("auth"))
        && (mapping::carries(&headers, auth)
            || actions.values().any(|it| mapping::carries(&it.headers, auth)))
    {
        map.report().error(at, "the header that carries the credential can't be among constant `headers`");
    }
    if let (Some(auth), Some(actions)) = (&auth, &actions) {
        auth.members().into_iter().for_each(|name| check_member(map, name, actions));
        let https = base.as_ref().is_none_or(|(origin, _)| origin.starts_with("https://"));
        signed::check(map, auth, actions, https);
    }
    if let (Some(auth), Some(actions), Some(at)) = (&auth, &actions, map.key_position("auth")) {
        for (action, member) in
            actions.values().filter_map(|it| Some((it, resolve::beside_credential(it, auth)?)))
        {
            let message = format!(
                "the query member `{member}` carries the credential, so no lookup of `{}` can have it",
                action.name
            );
            map.report().error(at, message);
        }
    }
    let check = connection_check::load(map, actions.as_ref());
    let (origin, base_path) = base?;
    Some(Service {
        name: name?,
        description,
        kind: Kind::Http,
        origin,
        base_path,
        auth: auth?,
        allow_private,
        timeout: timeout.map_or(Some(None), |it| it.map(Some))?,
        concurrency: concurrency.map_or(Some(None), |it| it.map(Some))?,
        upload: upload.unwrap_or_else(|| Some(UploadPace::default()))?,
        headers,
        actions: actions?,
        check: check?,
        settings: BTreeMap::new(),
    })
}

pub(super) fn name(it: &Reading<'_>) -> Option<String> {
    let text = it.string()?;
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let good = text.len() <= 64
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && text.bytes().all(allowed);
    if !good {
        it.error(format!(
            "{} is no service name: a letter `a-z`, then `a-z`, `0-9`, `_` and `-`, at most 64",
            quoted(text)
        ));
    }
    good.then(|| text.to_owned())
}

/// How many calls may be under way at once.
pub(super) fn concurrency(it: &Reading<'_>) -> Option<usize> {
    usize::try_from(it.integer(1, MOST_CONCURRENT)?).ok()
}

/// How fast uploads have to come.
fn upload(it: &Reading<'_>) -> Option<UploadPace> {
    let map = it.map()?;
    map.finish(&["rate", "pause"]);
    let usual = UploadPace::default();
    let rate = map.optional("rate").map_or(Some(usual.rate), |it| {
        it.integer(1, FASTEST_UPLOAD).and_then(|rate| u64::try_from(rate).ok())
    });
    let pause = map.optional("pause").map_or(Some(usual.pause), |it| resolve::seconds(&it, LONGEST_PAUSE));
    Some(UploadPace { rate: rate?, pause: pause? })
}

pub(super) fn description(map: &MapReading<'_>) -> Option<String> {
    Some(map.optional("description")?.string()?.to_owned())
}

pub(super) fn flag(map: &MapReading<'_>, key: &str) -> bool {
    map.optional(key).and_then(|it| it.bool()).unwrap_or(false)
}

/// Origin and path.
pub(super) fn base_url(it: &Reading<'_>, allow_private: bool) -> Option<(String, String)> {
    let text = it.string()?;
    match split_url(text) {
        Ok((scheme, authority, path)) => {
            let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
            let local = host == "localhost" || host.starts_with("127.") || authority.starts_with("[::1]");
            if scheme == "http" && !local && !allow_private {
                it.warning(format!(
                    "`{}` is not https: credential and data can be read on the way",
                    it.name()
                ));
            }
            Some((format!("{scheme}://{authority}"), path))
        }
        Err(problem) => {
            it.error(format!("`{}` is refused: {problem}", it.name()));
            None
        }
    }
}

pub(super) fn split_url(text: &str) -> Result<(&str, String, String), &'static str> {
    let form = "it has the form `https://host[:port][/path]`";
    let (scheme, rest) = text.split_once("://").ok_or(form)?;
    if scheme != "http" && scheme != "https" {
        return Err("its scheme is `https` or `http`");
    }
    if rest.contains(['?', '#']) {
        return Err("it has no query and no fragment");
    }
    if rest.contains('@') {
        return Err("it holds no user name or password; the credential belongs to a connection");
    }
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let _: std::net::Ipv6Addr = address.parse().map_err(|_| "`[…]` is no IPv6 address")?;
            (None, port)
        }
        None => match authority.split_once(':') {
            Some((host, _)) => (Some(host), authority.get(host.len()..).unwrap_or_default()),
            None => (Some(authority), ""),
        },
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
    if host.is_some_and(|host| host.is_empty() || host.starts_with('.') || !host.bytes().all(letter)) {
        return Err("its host has only letters, digits, `-`, `.` and `_` (international names as `xn--…`)");
    }
    if !port.is_empty() {
        let digits = port.strip_prefix(':').filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
        if digits.and_then(|it| it.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return Err("its port is a number from 1 to 65535");
        }
    }
    let path = path.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    if !path.bytes().all(plain) || super::value::is_dotted(path) || path.contains("//") {
        return Err("its path has only plain segments: none empty, `.` or `..`, nothing percent-encoded");
    }
    Ok((scheme, authority.to_ascii_lowercase(), path.to_owned()))
}

pub(super) fn auth(it: &Reading<'_>) -> Option<Auth> {
    const SUPPORTED: &[&str] = &["bearer", "basic", "query", "header", "oauth2", "hmac", "aws_sigv4", "mtls"];
    let map = it.map()?;
    match map.required("type")?.one_of(SUPPORTED)? {
        "bearer" => {
            map.finish(&["type"]);
            Some(Auth::Bearer)
        }
        "basic" => {
            map.finish(&["type", "username"]);
            let username = match map.optional("username") {
                Some(it) => Some(username(&it)?),
                None => None,
            };
            Some(Auth::Basic { username })
        }
        "query" => {
            map.finish(&["type", "name"]);
            let it = map.required("name")?;
            Some(Auth::Query { name: member_name(&it, it.string()?)? })
        }
        "oauth2" => super::oauth::load::read(&map),
        "hmac" => signed::scheme(&map),
        "aws_sigv4" => signed::aws(&map),
        "mtls" => signed::mtls(&map),
        _ => {
            map.finish(&["type", "name"]);
            let it = map.required("name")?;
            Some(Auth::Header { name: header_name(&it, it.string()?)? })
        }
    }
}

fn username(it: &Reading<'_>) -> Option<String> {
    let text = it.string()?;
    if !Auth::is_username(text) {
        it.error("a user name has at most 255 visible ASCII characters or spaces, and no colon");
        return None;
    }
    Some(text.to_owned())
}

pub(super) fn member_name(it: &Reading<'_>, text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        it.error(format!(
            "{} can't be the query member: 1 to 64 letters, digits, `-`, `.`, `_` and `~`",
            quoted(text)
        ));
        return None;
    }
    Some(text.to_owned())
}

/// A parameter beside the credential of the same name would be one that an upstream could take for it. Some read
/// names of members without regard to case.
fn check_member(map: &MapReading<'_>, member: &str, actions: &BTreeMap<ActionName, ServiceAction>) {
    let at = map.key_position("auth");
    for action in actions.values() {
        let taken = |name: &&String| {
            !action.in_path(name)
                && (name.eq_ignore_ascii_case(member) || action.mapping.member_of(name) == Some(member))
        };
        if let (Some(name), Some(at)) =
            (action.mapping.query.keys().find(|name| name.eq_ignore_ascii_case(member)), at)
        {
            let message = format!(
                "the query member `{member}` carries the credential, so `query` of `{}` can't have `{name}`",
                action.name
            );
            map.report().error(at, message);
            continue;
        }
        if let (Some(name), Some(at)) = (action.names.iter().find(taken), at) {
            map.report().error(
                at,
                format!(
                    "the query member `{member}` carries the credential, so `{}` can't have the parameter `{name}`",
                    action.name
                ),
            );
        }
    }
}

pub(super) fn header_name(it: &Reading<'_>, text: &str) -> Option<String> {
    /// Headers that frame the message or that the gateway itself sets.
    const RESERVED: &[&str] = &[
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    // RFC 9110 §5.6.2.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(token) {
        it.error(format!("{} is no name of a header", quoted(text)));
        return None;
    }
    let name = text.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) {
        it.error(format!("{} can't carry a credential", quoted(text)));
        return None;
    }
    Some(name)
}

/// Reads one action.
type ReadAction<'a> =
    &'a dyn Fn(&MapReading<'_>, &Spanned<String>, Option<ActionName>) -> Option<ServiceAction>;

pub(super) fn actions(
    it: &Reading<'_>,
    report: &Report,
    read: ReadAction<'_>,
) -> Option<BTreeMap<ActionName, ServiceAction>> {
    let map = it.map()?;
    let mut actions = BTreeMap::new();
    let mut order: Vec<(&Spanned<String>, ActionName)> = Vec::new();
    let count = map.entries().count();
    if count > MAX_ACTIONS {
        it.error(format!("a service has at most {MAX_ACTIONS} actions, not {count}"));
        return None;
    }
    if count == 0 {
        it.warning("the service has no actions");
    }
    for (key, value) in map.entries() {
        let name = match ActionName::parse(&key.value) {
            Ok(name) => Some(name),
            Err(error) => {
                report.error(key.position, error.to_string());
                None
            }
        };
        let read = value.map().and_then(|map| read(&map, key, name.clone()));
        if let Some((name, read)) = name.zip(read) {
            order.push((key, name.clone()));
            actions.insert(name, read);
        }
    }
    for (index, (key, name)) in order.iter().enumerate() {
        let clash = order.iter().take(index).find(|(_, other)| {
            actions.get(name).zip(actions.get(other)).is_some_and(|(one, another)| same_place(one, another))
        });
        if let Some((first, other)) = clash {
            let message = if actions.get(name).is_some_and(|action| action.carried().is_some()) {
                format!(
                    "one message could be `{name}` and `{other}` (at {}): let their `match` differ",
                    first.position
                )
            } else {
                let at = first.position;
                format!(
                    "`{name}` and `{other}` (at {at}) can be the same call, and neither path is more literal"
                )
            };
            report.error(key.position, message);
        }
        socket::load::check(report, key, name, &actions);
    }
    for (key, name) in &order {
        if let Some(problem) = actions.get(name).and_then(|action| status_problem(action, &actions)) {
            report.error(key.position, format!("`status` of `{name}`: {problem}"));
        }
    }
    Some(actions)
}

/// Why the status action of an action could not tell what became of it.
fn status_problem(action: &ServiceAction, actions: &BTreeMap<ActionName, ServiceAction>) -> Option<String> {
    let check = action.status.as_ref()?;
    let asked = check.action();
    let Some(target) = actions.get(asked) else { return Some(format!("there is no action `{asked}`")) };
    if target.effect != Some(Effect::Read) {
        return Some(format!("`{asked}` does not have the effect `read`"));
    }
    if let Some(name) = check.names().find(|name| !target.names.iter().any(|known| known == name)) {
        return Some(format!("`{asked}` has no parameter {}", quoted(name)));
    }
    let needed = target.path.variables().find(|name| !check.names().any(|stated| stated == *name));
    if let Some(name) = needed {
        return Some(format!("`{name}` stands in the path of `{asked}` and is not stated"));
    }
    if target.statement.is_some() {
        let mut required = target.schema.iter().flat_map(ParamsSchema::required);
        if let Some(name) = required.find(|name| !check.names().any(|stated| stated == *name)) {
            return Some(format!("`{asked}` needs `{name}`, which is not stated"));
        }
    }
    if let Some(name) = check.reads().find(|name| !action.names.iter().any(|known| known == name)) {
        return Some(format!("`{}` has no parameter {}", action.name, quoted(name)));
    }
    let secret = check.reads().find(|name| action.secret.iter().any(|secret| secret == name))?;
    Some(format!("`{secret}` is secret: nothing is kept of it"))
}

fn same_place(one: &ServiceAction, another: &ServiceAction) -> bool {
    if let (Some(one), Some(another)) = (&one.statement, &another.statement) {
        return one.is_like(another);
    }
    match (one.carried(), another.carried()) {
        (Some(one), Some(another)) => return one.overlaps(another),
        (None, None) => {}
        _ => return false,
    }
    one.method == another.method
        && one.path.overlaps(&another.path)
        && one.path.literalness(&another.path).is_eq()
        && !one.mapping.body.differs(&another.mapping.body)
}

fn action(
    map: &MapReading<'_>,
    key: &Spanned<String>,
    name: Option<ActionName>,
    slash: bool,
) -> Option<ServiceAction> {
    map.finish(ACTION_KEYS);
    let description = description(map);
    let method = map.required("method").and_then(|it| method(&it));
    let path = map.required("path").and_then(|it| template(&it, PathTemplate::parse));
    let resource_at = map.required("resource");
    let resource = resource_at.as_ref().and_then(|it| template(it, ResourceTemplate::parse));
    let schema_at = map.optional("params");
    let schema = schema_at.as_ref().map(|it| schema(it, map.report()));
    let binds = names(map, "binds");
    let secret = names(map, "secret");
    let effect = effect(map, key);
    let no_effect = map.optional("no_effect").map(|it| statuses(&it)).unwrap_or_default();
    let slash = slash || flag(map, "encoded_slash");
    let status = map.optional("status").and_then(|it| StatusCheck::load(&it));
    let response = match map.optional("response") {
        None => Some(Response::default()),
        Some(it) => Response::load(&it),
    };
    let stream = flag(map, "stream");
    if let (true, Some(method), Some(at)) = (stream, method, map.key_position("stream"))
        && method.parameters_in_query()
    {
        let message = format!("`stream` is for bodies of requests, and {} has none", method.as_str());
        map.report().error(at, message);
    }

    let socket = match map.optional("websocket") {
        None => Some(None),
        Some(it) => socket::load::opening(&it, map, method, effect).map(Some),
    };

    let schema = match schema {
        None => None,
        Some(schema) => Some(schema?),
    };
    let (path, resource) = (path?, resource?);
    let at = resource_at.map_or(key.position, |it| it.position());
    let mut all: Vec<String> = path.variables().map(str::to_owned).collect();
    all.extend(schema.iter().flat_map(ParamsSchema::properties).map(str::to_owned));
    all.sort_unstable();
    all.dedup();
    check_names(map.report(), at, &resource, &path, &all, &binds, &secret);
    if let Some(it) = &schema_at {
        check_writable(it, &all);
    }
    let mapping = method.and_then(|method| {
        let path: Vec<&str> = path.variables().collect();
        let required: Vec<&str> = schema.iter().flat_map(ParamsSchema::required).collect();
        Mapping::load(map, &mapping::Around { method, stream, names: &all, path: &path, required: &required })
    });
    let paging = match map.optional("paging") {
        None => Some(None),
        Some(it) => {
            let kind = |name: &str| schema.as_ref().map_or(super::ParamType::Unknown, |it| it.kind(&[name]));
            paging::load(&it, &all, kind).map(Some)
        }
    };
    let bound: Vec<String> = binds.into_iter().map(|bind| bind.value).collect();
    let claimed = resource
        .claimed(|name| path.variables().any(|other| other == name) || bound.iter().any(|bind| bind == name));
    let resolve = match map.optional("resolve") {
        None => Vec::new(),
        Some(it) => {
            let settled: Vec<&str> = path.variables().chain(bound.iter().map(String::as_str)).collect();
            resolve::load(&it, &Around { names: &all, settled: &settled, secret: &secret, tables: None })?
        }
    };
    let Response { members, row_limit, trusted } = response?;
    let action = ServiceAction {
        name: name?,
        description,
        method: method?,
        effect,
        path,
        resource,
        binds: bound,
        claimed,
        schema,
        names: all,
        no_effect,
        secret: secret.into_iter().map(|it| it.value).collect(),
        encoded_slash: slash,
        status,
        members,
        row_limit: row_limit.as_ref().map(|limit| limit.value.clone()),
        trusted,
        resolve,
        stream,
        mapping: mapping?,
        headers: mapping::headers(map),
        paging: paging?,
        tool: None,
        statement: None,
        socket: socket?,
    };
    if let Some(limit) = row_limit {
        check_row_limit(map.report(), &action, &limit)?;
    }
    Some(action)
}

/// Refuses names of parameters that would be in a query what no door takes, and in a body what no person can be shown.
fn check_writable(schema: &Reading<'_>, names: &[String]) {
    if let Some(name) = names.iter().find(|name| name.is_empty() || name.chars().any(char::is_control)) {
        schema.error(format!(
            "{} can't be a parameter's name: it is empty or has control characters",
            quoted(name)
        ));
    }
}

/// What is narrowed has to be a number that is nothing but the number of rows.
pub(super) fn check_row_limit(
    report: &Report,
    action: &ServiceAction,
    limit: &Spanned<RowLimit>,
) -> Option<()> {
    let name = limit.value.param();
    let quote = quoted(name);
    let problem = match action.params_type(&[name]) {
        ParamType::Absent { .. } => {
            let message = format!("`limit` names {quote}, which is no parameter");
            let known = action.params().iter().map(String::as_str);
            report.add(Diagnostic::error(message).at(limit.position).suggest(name, known));
            return None;
        }
        _ if action.variables().any(|variable| variable == name) => {
            format!("{quote} stands in `path` or `resource`, so it is no number of rows")
        }
        _ if action.secret().iter().any(|secret| secret == name) => {
            format!("{quote} is secret, and how many rows are asked for is told")
        }
        // The second page of fewer is another page.
        _ if action.paging().is_some_and(|paging| paging.page.is_some()) => {
            format!("{quote} is the size of numbered pages: fewer would be other ones")
        }
        ParamType::Integer | ParamType::Number => return Some(()),
        _ => format!("`limit` is a whole number: state `type: integer` for {quote} in `params`"),
    };
    report.error(limit.position, problem);
    None
}

pub(super) fn check_names(
    report: &Report,
    resource_at: Position,
    resource: &ResourceTemplate,
    path: &PathTemplate,
    all: &[String],
    binds: &[Spanned<String>],
    secret: &[Spanned<String>],
) {
    let known = || all.iter().map(String::as_str);
    for variable in resource.variables().filter(|variable| !known().any(|name| name == *variable)) {
        let message = format!("`{variable}` is no parameter: it stands neither in `path` nor in `params`");
        report.add(Diagnostic::error(message).at(resource_at).suggest(variable, known()));
    }
    for bind in binds.iter().filter(|bind| !resource.variables().any(|name| name == bind.value)) {
        let message = format!("`binds` names {}, which is no variable of `resource`", quoted(&bind.value));
        report.add(Diagnostic::error(message).at(bind.position).suggest(&bind.value, resource.variables()));
    }
    for name in secret {
        if !all.contains(&name.value) {
            let message = format!("`secret` names {}, which is no parameter", quoted(&name.value));
            report.add(Diagnostic::error(message).at(name.position).suggest(&name.value, known()));
        } else if path.variables().chain(resource.variables()).any(|other| other == name.value) {
            report.error(
                name.position,
                format!("{} stands in `path` or `resource` and so can't be secret", quoted(&name.value)),
            );
        }
    }
}

fn method(it: &Reading<'_>) -> Option<Method> {
    let word = it.one_of(&METHODS.map(Method::as_str))?;
    METHODS.into_iter().find(|method| method.as_str() == word)
}

pub(super) fn effect(map: &MapReading<'_>, key: &Spanned<String>) -> Option<Effect> {
    let Some(it) = map.optional("effect") else {
        let message = format!("{} has no `effect`; it counts as `money`", quoted(&key.value));
        map.report().add(
            Diagnostic::warning(message).at(key.position).help("state `read`, `write`, `delete` or `money`"),
        );
        return None;
    };
    Effect::from_word(it.one_of(&Effect::ALL.map(Effect::as_str))?)
}

pub(super) fn statuses(it: &Reading<'_>) -> Vec<u16> {
    let mut found: Vec<u16> = it
        .list()
        .unwrap_or_default()
        .iter()
        .filter_map(|item| u16::try_from(item.integer(200, 599)?).ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

pub(super) fn names(map: &MapReading<'_>, key: &str) -> Vec<Spanned<String>> {
    map.optional(key).and_then(|it| it.strings()).unwrap_or_default()
}

pub(super) fn template<T>(it: &Reading<'_>, parse: impl Fn(&str) -> Result<T, TemplateError>) -> Option<T> {
    match parse(it.string()?) {
        Ok(template) => Some(template),
        Err(error) => {
            let at = it.node().position_within(error.offset);
            it.report().error(at, format!("`{}` is refused: {}", it.name(), error.message));
            None
        }
    }
}

pub(super) fn schema(it: &Reading<'_>, report: &Report) -> Option<ParamsSchema> {
    it.map()?;
    match ParamsSchema::compile(yaml::to_json(it.node())) {
        Ok(schema) => Some(schema),
        Err(error) => {
            report.error(place(it.node(), &error.pointer), error.message);
            None
        }
    }
}

/// Where a JSON pointer leads, or the last thing on its way that exists.
fn place(node: &Node, pointer: &str) -> Position {
    let mut at = node;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match &at.value {
            Yaml::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => at.get(&step),
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at.position
}
