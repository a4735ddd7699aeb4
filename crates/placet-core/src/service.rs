//! The definition of an upstream: which actions it has, how each maps to HTTP, what each does to what
//! (DESIGN §7 "Services", §2 "describe", §4 "Provenance in services").
//!
//! A door [describes](ServiceAction::describe) its request, so that it can be judged, and [renders](Service::render)
//! it, so that it can be sent. Both come from the same definition, and a rendered call that does not
//! [describe back](Service::describe_call) to its action is refused.
//!
//! Invariant: a value of a parameter stays in its place: it adds no segment, no query member and no body member
//! that the definition does not name, and a part of a resource that is only claimed is never presented as known.

mod body;
mod call;
mod check;
mod connection_check;
mod editor;
mod effect;
mod form;
mod import;
mod load;
mod mapping;
mod mcp;
mod members;
mod message;
pub mod oauth;
mod paging;
pub mod reference;
pub(crate) mod resolve;
mod schema;
mod seen;
mod signed;
mod socket;
mod sql;
mod status;
mod target;
mod template;
mod trusted;
mod value;

pub use call::{Candidates, Placed};
pub use check::check;
pub use connection_check::{ConnectionCheck, Finding};
pub use editor::schema;
pub use effect::Effect;
pub use import::{Imported, MAX_DOCUMENT, Options, import};
pub use mcp::{MAX_DEFINITION, Observed, Part, Pins, Standing, Tool};
pub use members::{Members, RowLimit};
pub use paging::Paging;
pub use resolve::{Fact, FactType, Facts, Lookup, Unread};
pub use schema::ParamType;
pub use seen::{SeenBody, Unfit};
pub use socket::{Carried, Refusal, WebSocket, load::IDLE};
pub use sql::{Prepared, Rows};
pub use status::StatusCheck;
pub use target::{check_target, normal_path, normal_query};
pub use trusted::Trusted;

use crate::{
    call::{Auth, Method},
    diagnostic::{Diagnostic, nearest, quoted},
    pattern::{ActionName, ResourcePattern, ResourceUri},
};
use mapping::Mapping;
use schema::ParamsSchema;
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};
use template::{PathTemplate, ResourceTemplate, Values};

/// The longest target (path and query, encoded) that is rendered, in bytes.
pub const MAX_TARGET: usize = 32 * 1024;
/// The most actions that one service may have.
pub const MAX_ACTIONS: usize = 1000;

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// HTTP: each action is a request of its own.
    #[default]
    Http,
    /// The Model Context Protocol: each action is a tool of the server.
    Mcp,
    /// PostgreSQL: each action is a typed statement.
    Postgres,
}

/// How fast an agent has to send a body that is passed on as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadPace {
    /// How long nothing may come, and how long all together beyond what the rate allows.
    pub pause: Duration,
    /// Bytes a second.
    pub rate: u64,
}

impl Default for UploadPace {
    fn default() -> Self {
        Self { pause: Duration::from_secs(30), rate: 1024 }
    }
}

/// An upstream.
#[derive(Debug, Clone)]
pub struct Service {
    name: String,
    description: Option<String>,
    kind: Kind,
    origin: String,
    base_path: String,
    auth: Auth,
    allow_private: bool,
    timeout: Option<Duration>,
    concurrency: Option<usize>,
    upload: UploadPace,
    headers: Vec<(String, String)>,
    actions: BTreeMap<ActionName, ServiceAction>,
    /// How to find out whether the credential of a connection works.
    check: Option<ConnectionCheck>,
    /// What is said of the tools of an MCP server, by their names there.
    settings: BTreeMap<String, mcp::Settings>,
}

/// One action of an upstream.
#[derive(Debug, Clone)]
pub struct ServiceAction {
    name: ActionName,
    description: Option<String>,
    method: Method,
    effect: Option<Effect>,
    path: PathTemplate,
    resource: ResourceTemplate,
    binds: Vec<String>,
    claimed: Vec<String>,
    schema: Option<ParamsSchema>,
    /// Every parameter there may be, sorted.
    names: Vec<String>,
    no_effect: Vec<u16>,
    secret: Vec<String>,
    encoded_slash: bool,
    status: Option<StatusCheck>,
    members: Option<Members>,
    row_limit: Option<RowLimit>,
    trusted: Option<Trusted>,
    resolve: Vec<Lookup>,
    stream: bool,
    mapping: Mapping,
    headers: Vec<(String, String)>,
    paging: Option<Paging>,
    /// The tool of an MCP server that it is, where it is one.
    tool: Option<Tool>,
    /// The statement of a database that it is, where it is one.
    statement: Option<sql::Statement>,
    /// What it has to do with a WebSocket, where it does.
    socket: Option<socket::Socket>,
}

/// A request as it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// What is acted on, as the request says.
    pub resource: ResourceUri,
    /// The same with a star for each part that is only claimed.
    pub known: ResourcePattern,
    /// The parameters, checked.
    pub params: Map<String, Value>,
}

/// Why parameters are refused (`params_invalid`). Holds no value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamsInvalid {
    /// JSON pointer of the parameter, where one is to blame.
    pub pointer: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Service {
    /// Reads a definition; `file` is what messages call it. With the service come warnings.
    ///
    /// # Errors
    /// Everything that is wrong with it (and the warnings).
    pub fn parse(source: &[u8], file: Option<&str>) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        load::service(source, file)
    }

    /// Its name: a letter `a-z`, then `a-z`, `0-9`, `_`, `-`; at most 64.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, for people.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// What it speaks.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Scheme, host (lower case) and port as written in `base_url`: `https://api.example.com`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path of `base_url` without a slash at the end; often empty.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// How it takes its credential.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Whether its host may be a private address.
    pub fn allow_private(&self) -> bool {
        self.allow_private
    }

    /// How to find out whether the credential of a connection works, where that is stated.
    pub fn check(&self) -> Option<&ConnectionCheck> {
        self.check.as_ref()
    }

    /// How long it may take over an answer, where that is stated.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How many calls to it may be under way at once, where that is stated.
    pub fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// How fast an agent has to send a body that is passed on as it comes.
    pub fn upload_pace(&self) -> UploadPace {
        self.upload
    }

    /// Its actions in the order of their names.
    pub fn actions(&self) -> impl ExactSizeIterator<Item = &ServiceAction> {
        self.actions.values()
    }

    /// The action of that name.
    pub fn action(&self, name: &ActionName) -> Option<&ServiceAction> {
        self.actions.get(name)
    }
}

impl ServiceAction {
    /// Its name, unique in an installation.
    pub fn name(&self) -> &ActionName {
        &self.name
    }

    /// What it does, for people.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Its HTTP method; of a statement the one that says as much.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The tool of an MCP server that it is, where it is one.
    pub fn tool(&self) -> Option<&Tool> {
        self.tool.as_ref()
    }

    /// Its effect, if stated.
    pub fn effect(&self) -> Option<Effect> {
        self.effect
    }

    /// Statuses of upstream after which nothing has happened.
    pub fn no_effect(&self) -> &[u16] {
        &self.no_effect
    }

    /// How to find out what became of one of which nobody knows.
    pub fn status(&self) -> Option<&StatusCheck> {
        self.status.as_ref()
    }

    /// The values of its answer that the service vouches for, where it has any.
    pub fn trusted(&self) -> Option<&Trusted> {
        self.trusted.as_ref()
    }

    /// The members that it returns, where it returns any.
    pub fn members(&self) -> Option<&Members> {
        self.members.as_ref()
    }

    /// The parameter that says how many rows its answer may have, where one does.
    pub fn row_limit(&self) -> Option<&RowLimit> {
        self.row_limit.as_ref()
    }

    /// Whether the body of a request is passed on as it comes: it is no part of the description, rules can't read
    /// parameters, and nobody can be asked to approve it.
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// The type of the body of its requests; `None` where they have none that is described.
    pub fn content_type(&self) -> Option<&'static str> {
        self.has_body().then(|| match self.mapping.body.media() {
            Some(body::Media::Form) => crate::call::FORM,
            _ => "application/json",
        })
    }

    /// How pages of its answer are asked for, where it has any.
    pub fn paging(&self) -> Option<&Paging> {
        self.paging.as_ref()
    }

    /// Whether an encoded slash in a value of the path is let through, as part of one segment.
    pub fn encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// Parameters of which the record keeps only commitments.
    pub fn secret(&self) -> &[String] {
        &self.secret
    }

    /// The JSON Schema of the parameters, as written.
    pub fn params_schema(&self) -> Option<&Value> {
        self.schema.as_ref().map(ParamsSchema::as_json)
    }

    /// Every parameter there may be, sorted.
    pub fn params(&self) -> &[String] {
        &self.names
    }

    /// The parameters that path and resource are made of, without which there is no call; some of them twice.
    pub fn addressed(&self) -> impl Iterator<Item = &str> {
        self.path.variables().chain(self.resource.variables())
    }

    /// The variables of the resource that are only claimed, sorted.
    pub fn claimed(&self) -> &[String] {
        &self.claimed
    }

    /// The pattern that every resource of it matches: a star for each variable.
    pub(crate) fn resource_pattern(&self) -> Option<ResourcePattern> {
        let variables: Vec<String> = self.resource.variables().map(str::to_owned).collect();
        self.resource.known(&Values::new(), &variables).ok()
    }

    /// The claimed variable that an entry of a rule or grant with this pattern would rely on; `None` if it relies on
    /// none, because it has a whole star there or can't match a resource of this action at all.
    pub(crate) fn reads_claimed(&self, pattern: &ResourcePattern) -> Option<String> {
        self.resource.reads_claimed(pattern, &self.claimed)
    }

    /// What is known about the type of a parameter (`["amount"]`) or of a member of one (`["to", "[]", "email"]`).
    pub(crate) fn params_type(&self, path: &[&str]) -> ParamType {
        let Some(first) = path.first() else { return ParamType::Map };
        if !self.names.iter().any(|name| name == first) {
            let near = nearest(first, self.names.iter().map(String::as_str));
            return ParamType::Absent { nearest: near.map(str::to_owned) };
        }
        self.schema.as_ref().map_or(ParamType::Unknown, |schema| schema.kind(path))
    }

    /// A pattern of every resource that it may act on, whatever its parameters are.
    pub fn range(&self) -> ResourcePattern {
        self.resource.range().unwrap_or_else(|_| ResourcePattern::everything())
    }

    /// Checks the parameters and says what is acted on.
    ///
    /// # Errors
    /// If a member is not one of the action's, a variable of path or resource has no value or one that would not
    /// stay in its segment, or the schema refuses them.
    pub fn describe(&self, params: &Map<String, Value>) -> Result<Described, ParamsInvalid> {
        if let Some(name) = params.keys().find(|name| self.names.binary_search(name).is_err()) {
            return Err(self.unknown(name));
        }
        let values = self.values(params)?;
        let params = Value::Object(params.clone());
        if let Some(schema) = &self.schema {
            schema.check(&params).map_err(|(pointer, message)| ParamsInvalid {
                message: format!("{}: {message}", if pointer.is_empty() { "params" } else { &pointer }),
                pointer: Some(pointer),
            })?;
        }
        let refuse = |problem| ParamsInvalid::whole(format!("the resource is refused: {problem}"));
        let resource = self.resource.fill(&values).map_err(refuse)?;
        let known = self.resource.known(&values, &self.claimed).map_err(refuse)?;
        let params = match params {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        Ok(Described { resource, known, params })
    }

    fn unknown(&self, name: &str) -> ParamsInvalid {
        let near = nearest(name, self.names.iter().map(String::as_str));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        ParamsInvalid::of(name, format!("`{}` has no parameter {}{hint}", self.name, quoted(name)))
    }

    /// The texts of the variables of path and resource.
    fn values(&self, params: &Map<String, Value>) -> Result<Values, ParamsInvalid> {
        let mut values = Values::new();
        for name in self.path.variables().chain(self.resource.variables()) {
            let Some(value) = params.get(name) else {
                return Err(ParamsInvalid::of(name, format!("`{name}` is missing")));
            };
            let is_uri = name == mcp::URI && self.tool.as_ref().is_some_and(|it| it.part() == Part::Resource);
            let text = if is_uri {
                mcp::uri_text(value, self.encoded_slash)
            } else {
                value::segment_text(value, self.encoded_slash).map_err(Cow::from)
            };
            let text =
                text.map_err(|problem| ParamsInvalid::of(name, format!("`{name}` is refused: {problem}")))?;
            values.insert(name.to_owned(), text);
        }
        Ok(values)
    }

    /// The resource, where no parameter makes a difference to it.
    pub(crate) fn whole_resource(&self) -> Option<crate::pattern::ResourceUri> {
        let has_variables = self.resource.variables().next().is_some();
        (!has_variables).then(|| self.resource.fill(&Values::new()).ok()).flatten()
    }

    /// The parameters that make up the path and the resource: none of them is ever left out.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.path.variables().chain(self.resource.variables())
    }

    fn in_path(&self, name: &str) -> bool {
        self.path.variables().any(|variable| variable == name)
    }
}

impl ParamsInvalid {
    fn whole(message: String) -> Self {
        Self { pointer: None, message }
    }

    fn of(name: &str, message: String) -> Self {
        Self { pointer: Some(format!("/{}", name.replace('~', "~0").replace('/', "~1"))), message }
    }
}

#[cfg(test)]
mod tests;
