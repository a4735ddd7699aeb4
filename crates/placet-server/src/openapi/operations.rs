//! What each route takes and answers. One entry a route; the tests say which are missing.

mod access;
mod connections;
mod identity_providers;
mod rules;

use super::{Caller, Gives, Operation, Takes};
use Caller::{Agent, Anybody, Bearer, Client, MaybeBearer, Person};
use Takes::{Form, Json, MaybeJson, Nothing, OpenJson};

/// An operation without query and body.
const fn op(
    route: &'static str,
    summary: &'static str,
    caller: Caller,
    gives: &'static [(u16, Gives)],
) -> Operation {
    Operation { route, summary, caller, query: &[], takes: Nothing, gives }
}

impl Operation {
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn takes(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }
}

/// Whatever the upstream answers, and what it may not be asked.
const PASSED: &[(u16, Gives)] = &[
    (200, Gives::Anything),
    (
        202,
        Gives::Json(
            "status!: 'held', id!: text, approval!: {id!: text, url: text, expires!: time, rule: text?, missing: int}",
        ),
    ),
];
const PAGE: &[&str] = &["after", "limit"];
const TEXT: &[(u16, Gives)] = &[(200, Gives::Text("text/plain"))];
/// What an agent is as a client (RFC 7591 §2), as far as it is said.
macro_rules! client {
    () => {
        "redirect_uris: [text]?, token_endpoint_auth_method: 'client_secret_basic'|'client_secret_post'|'private_key_jwt'|'tls_client_auth'|'self_signed_tls_client_auth'|'none', grant_types: [text]?, response_types: [text]?, jwks: object?, jwks_uri: text?, client_name: text?, client_uri: text?, logo_uri: text?, tos_uri: text?, policy_uri: text?, contacts: [text]?, application_type: text?, dpop_bound_access_tokens: flag, tls_client_auth_subject_dn: text?, tls_client_auth_san_dns: text?, tls_client_auth_san_uri: text?, tls_client_auth_san_ip: text?, tls_client_auth_san_email: text?, tls_client_certificate_bound_access_tokens: flag, software_id: text?, software_version: text?"
    };
}

/// Whose assertions count, and whom they mean.
macro_rules! trusted {
    () => {
        "issuer!: text, jwks: object, jwks_uri: text, algorithms: ['EdDSA'|'ES256'|'RS256'|'PS256'], id_jag: {claim: text, users: object, by_name: flag, claims: object, scope: [text], lifetime: int, purpose: text}, workload: {agents!: [{subject!: text, agent!: text, claims: object}], one_time: flag}"
    };
}
const TRUSTED: &str = concat!("id!: text, kinds!: [text], created!: time, ", trusted!());

/// Who is signed in shows once more who they are.
const FRESH: &str = "password!: text, totp: text?";
const RECOVERY_CODES: &[(u16, Gives)] = &[(200, Gives::Json("recovery_codes!: [text]"))];
const DETAIL_TYPE: &str =
    "name!: text, description!: text, schema!: object, narrows!: object, roles!: [text]";
const SCOPE: &str = "name!: text, description!: text, includes!: [text], roles!: [text]";

const AGENT: &[(u16, Gives)] = &[(
    200,
    Gives::Json(concat!(
        "client_id!: text, agent_name!: text, description: text, owner: text?, labels: object, max_scope_level: text, default_scopes: [text], state!: text, created: time, registration_grant: text, client_secret: text, client_id_url: text, acts_alone: flag, last_used: text, ends_unused: time, authorization_details_types: [text], ",
        client!()
    )),
)];
/// What a client is told that registered itself (RFC 7591 §3.2.1).
macro_rules! registered {
    () => {
        concat!(
            "client_id!: text, client_id_issued_at!: int, registration_client_uri!: text, client_secret: text, client_secret_expires_at: int, client_last_used: text, client_expires_at!: int, registration_access_token: text, ",
            client!()
        )
    };
}
/// What a client seeks of a person.
macro_rules! seeks {
    () => {
        "scope: text, resource: text, authorization_details: text, required_tools: text, required_resources: text, task_id: text, task_description: text"
    };
}
/// A request that waits for a person, as that person is told of it.
const REQUEST: &str = "id!: text, through!: 'device'|'backchannel', client_id!: text, agent_name!: text, client_name: text?, confirmed!: flag, asked_from: text?, message: text?, task_description: text?, created!: time, expires!: time, parts!: [object], lasts!: [text], seen!: text";
const REGISTERED: &[(u16, Gives)] = &[(201, Gives::Json(registered!()))];
const REGISTERED_NOW: &[(u16, Gives)] = &[(200, Gives::Json(registered!()))];
/// What clients may have that nobody registered by hand.
macro_rules! template {
    () => {
        "open: flag, allowed_tools: [text], resource_access: [text]?, max_scope_level: 'restricted'|'standard'|'elevated', default_scopes: [text], authorization_details_types: [text], labels: object, document_hosts: [text]?"
    };
}
const TEMPLATE: &[(u16, Gives)] = &[(200, Gives::Json(template!()))];
const AGENT_STATE: &[(u16, Gives)] =
    &[(200, Gives::Json("client_id!: text, agent_name: text, state!: text"))];
const GRANT: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "id!: text, root!: text, parent!: text?, depth!: int, agent!: text, user!: text?, task!: text?, scope!: [text], tools!: [text], resources!: [text], connections!: [text]?, authorization_details!: [object], limits!: [any], audience!: [text], not_before!: time, expires!: time?, max_depth!: int, key!: text?, origin!: text, created!: time, revoked!: object?, alive!: flag, reason!: text?, left: {scope!: [text], tools!: [text], resources!: [text]}",
    ),
)];
const RESOURCE_SERVER: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "id!: text, client_id!: text, name!: text, audience!: text, auth!: object, status_list!: flag, created!: time, client_secret: text",
    ),
)];
const KEYS: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "keys!: [{id!: text, purpose!: text, state!: text, algorithm!: text?, created!: time, since!: time, until!: time?}], vault!: [{id!: text, state!: text, since!: time, at_hand!: flag}], rotated: object, warnings: [text]",
    ),
)];
const EGRESS: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "url!: text?, authorities!: [{id!: text, state!: text, created!: time, expires!: time, certificate!: text}]",
    ),
)];
const ENDED: &[(u16, Gives)] = &[(
    200,
    Gives::Json("revoked: flag, affected_grants!: [text], affected_tasks!: [text], in_flight!: [text]"),
)];
const TASK: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "id!: text, task_id!: text, label!: text?, description!: text?, agent!: text, user!: text?, parent!: text?, origin!: text, state!: text, created!: time, expires!: time?",
    ),
)];
const ACTION: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "id!: text, status!: text, action!: text?, resource!: text?, params!: any, agent!: text, user!: text?, grant!: text, task!: text?, connection!: text?, service!: text?, by!: text?, at!: time, concluded!: time?, upstream_status!: int?",
    ),
)];
const PERMIT: &[(u16, Gives)] =
    &[(200, Gives::Json("id!: text, state!: text, words!: [text], expires!: time"))];

/// The terms of a permit, all of them left out or stated.
macro_rules! terms {
    () => {
        "for: 'task'|'grant', actions: [text], resources: [text], params: object, count: int, sum: {of!: text, max!: number}, expires: time, lasts: int"
    };
}

const ENTRY: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "index!: int?, id!: text, type!: text, at!: time, agent!: text?, chain!: [text], task!: text?, user!: text?, action!: text?, resource!: text?, decision!: text?, params!: any, reasons!: any, leaf_hash!: text, body!: any",
    ),
)];
const REVOCATION: &str = "reason: text, affected_task_chain: [text]";
const ENTRIES: &[(u16, Gives)] = &[(200, Gives::Json("entries!: [object], next!: int?, checkpoint!: text?"))];

/// Every operation.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(connections::ALL).chain(rules::OPERATIONS)
}

/// Those that stand in no part of their own, in the order of the router.
const OPERATIONS: &[Operation] = &[
    op(
        "GET /.well-known/oauth-authorization-server",
        "Where the OAuth endpoints are (RFC 8414)",
        Anybody,
        &[(200, Gives::Json("issuer!: text, token_endpoint!: text, jwks_uri!: text"))],
    ),
    op(
        "GET /.well-known/oauth-authorization-server/{*path}",
        "The same, where the issuer has this path (RFC 8414 §3.1)",
        Anybody,
        &[(200, Gives::Json("issuer!: text, token_endpoint!: text, jwks_uri!: text"))],
    ),
    op(
        "GET /.well-known/openid-configuration",
        "The same, for clients that look there",
        Anybody,
        &[(200, Gives::Json("issuer!: text, token_endpoint!: text, jwks_uri!: text"))],
    ),
    op(
        "GET /.well-known/openid-configuration/{*path}",
        "The same, where the issuer has this path",
        Anybody,
        &[(200, Gives::Json("issuer!: text, token_endpoint!: text, jwks_uri!: text"))],
    ),
    op(
        "GET /.well-known/oauth-protected-resource",
        "From whom the doors take tokens, and how they are sent (RFC 9728)",
        Anybody,
        &[(200, Gives::Json("resource!: text, authorization_servers!: [text]"))],
    ),
    op(
        "GET /.well-known/oauth-protected-resource/{*path}",
        "The same of one door, by its path",
        Anybody,
        &[(200, Gives::Json("resource!: text, authorization_servers!: [text]"))],
    ),
    op(
        "GET /.well-known/jwks.json",
        "The keys that tokens are signed with (RFC 7517)",
        Anybody,
        &[(200, Gives::JsonAs("application/jwk-set+json", "keys!: [object]"))],
    ),
    op(
        "POST /oauth/token",
        "Get an access token, a refresh token, or a delegation token for a child agent",
        Client,
        &[(
            200,
            Gives::Json(
                "access_token!: text, token_type!: text, expires_in: int, scope: text, issued_token_type: text, task_id: text, task_bound: flag, granted_tools: [text], granted_resources: [text], grant_id: text, parent_task_id: text?, scope_inheritance: 'restricted', authorization_details: [object], refresh_token: text",
            ),
        )],
    )
    .takes(Form(
        "grant_type!: text, client_id: text, client_secret: text, client_assertion: text, client_assertion_type: text, scope: text, task_id: text, task_description: text, required_tools: text, required_resources: text, authorization_details: text, parent_token: text, parent_task_id: text, grant_id: text, refresh_token: text, assertion: text, code: text, code_verifier: text, redirect_uri: text, device_code: text, auth_req_id: text, resource: text, audience: text, subject_token: text, subject_token_type: text, actor_token: text, actor_token_type: text, requested_token_type: text",
    )),
    op(
        "POST /oauth/par",
        "Push an authorization request, and get a name for it (RFC 9126)",
        Client,
        &[(201, Gives::Json("request_uri!: text, expires_in!: int"))],
    )
    .takes(Form(
        "response_type!: text, redirect_uri: text, code_challenge!: text, code_challenge_method!: text, state: text, scope: text, resource: text, authorization_details: text, required_tools: text, required_resources: text, task_id: text, task_description: text, prompt: text, login_hint: text, dpop_jkt: text, client_id: text, client_secret: text, client_assertion: text, client_assertion_type: text",
    )),
    op(
        "POST /oauth/device_authorization",
        "Ask for authority from a device without a browser: the person enters a code elsewhere (RFC 8628)",
        Client,
        &[(
            200,
            Gives::Json(
                "device_code!: text, user_code!: text, verification_uri!: text, verification_uri_complete!: text, expires_in!: int, interval!: int",
            ),
        )],
    )
    .takes(Form(concat!(seeks!(), ", dpop_jkt: text, client_id: text, client_secret: text, client_assertion: text, client_assertion_type: text"))),
    op(
        "POST /oauth/backchannel_authentication",
        "Ask a person for authority by name, where no person is (CIBA, poll mode)",
        Client,
        &[(200, Gives::Json("auth_req_id!: text, expires_in!: int, interval!: int"))],
    )
    .takes(Form(concat!("login_hint!: text, binding_message: text, requested_expiry: text, ", seeks!(), ", dpop_jkt: text, client_id: text, client_secret: text, client_assertion: text, client_assertion_type: text"))),
    op(
        "POST /oauth/introspect",
        "What a token stands for now (RFC 7662)",
        Client,
        &[(200, Gives::Json("active!: flag, scope: text, client_id: text, exp: int, task: object, grant: object"))],
    )
    .takes(Form(
        "token!: text, token_type_hint: text, include_task_history: text, client_id: text, client_secret: text, client_assertion: text, client_assertion_type: text",
    )),
    op(
        "POST /oauth/revoke",
        "End a token's grant and everything below it (RFC 7009)",
        Client,
        &[(
            200,
            Gives::Json(
                "revoked: flag, affected_grants: [text], affected_tasks: [text], affected_tasks_terminated: int, in_flight: [text]",
            ),
        )],
    )
    .takes(Form(
        "token!: text, token_type_hint: text, reason: text, affected_task_chain: text, client_id: text, client_secret: text, client_assertion: text, client_assertion_type: text",
    )),
    op("GET /oauth/status", "Where lists of statuses are found (draft-ietf-oauth-status-list §9)", Anybody, &[(200, Gives::Json("status_lists!: [text]"))]),
    op("GET /oauth/status/{list}", "What became of tokens, as a signed statement (draft-ietf-oauth-status-list §8)", Anybody, &[(200, Gives::Text("application/statuslist+jwt"))]),
    op(
        "POST /oauth/register",
        "A client introduces itself (RFC 7591); it is nobody until a person confirms it",
        Anybody,
        REGISTERED,
    )
    .takes(OpenJson(client!())),
    op(
        "GET /oauth/register/{client_id}",
        "What a client said of itself, to that client (RFC 7592)",
        Bearer,
        REGISTERED_NOW,
    ),
    op(
        "PUT /oauth/register/{client_id}",
        "A client replaces all that it said of itself (RFC 7592)",
        Bearer,
        REGISTERED_NOW,
    )
    .takes(OpenJson(concat!("client_id!: text, client_secret: text, ", client!()))),
    op(
        "DELETE /oauth/register/{client_id}",
        "A client takes its registration back, with all that it holds (RFC 7592)",
        Bearer,
        &[(204, Gives::Nothing)],
    ),
    op(
        "POST /v1/agents",
        "Register an agent",
        Bearer,
        &[(
            201,
            Gives::Json(
                "client_id!: text, client_secret: text, allowed_scopes!: [text], registration_token!: text, agent_name!: text, state!: text, token_endpoint_auth_method!: text",
            ),
        )],
    )
    .takes(Json(concat!(
        "agent_name!: text, description: text, allowed_tools: [text], resource_access: [text], max_scope_level: 'restricted'|'standard'|'elevated', default_scopes: [text], labels: object, owner: text, client_id_url: text, authorization_details_types: [text], ",
        client!()
    ))),
    op("GET /v1/agents", "List agents", Bearer, &[(200, Gives::Json("agents!: [object], next!: text?"))])
        .query(PAGE),
    op("GET /v1/agents/{id}", "Show an agent, by id or handle", Bearer, AGENT),
    op("PATCH /v1/agents/{id}", "Change what an administrator says about an agent", Bearer, AGENT).takes(Json(concat!(
        "description: text, labels: object, owner: text?, max_scope_level: 'restricted'|'standard'|'elevated', default_scopes: [text], acts_alone: flag, authorization_details_types: [text], ",
        client!()
    ))),
    op("DELETE /v1/agents/{id}", "End an agent with all its grants, for ever", Bearer, AGENT_STATE),
    op(
        "POST /v1/agents/{id}/activate",
        "Activate an agent with its registration token, or resume a suspended one as an administrator",
        MaybeBearer,
        AGENT_STATE,
    )
    .takes(MaybeJson("registration_token: text")),
    op("POST /v1/agents/{id}/suspend", "Suspend an agent until it is activated again", Bearer, AGENT_STATE),
    op(
        "GET /v1/registrations",
        "List clients that registered themselves and wait to be confirmed",
        Bearer,
        &[(200, Gives::Json("registrations!: [object], next!: text?"))],
    )
    .query(PAGE),
    op("DELETE /v1/registrations/{id}", "Refuse a client that waits", Bearer, &[(204, Gives::Nothing)]),
    op(
        "POST /v1/registrations/{id}/confirm",
        "Make a client that waits an active agent, with what the template says",
        Bearer,
        &[(201, Gives::Json("client_id!: text, agent_name!: text, state!: text"))],
    ),
    op(
        "GET /v1/registration-template",
        "What clients may have that nobody registered by hand",
        Bearer,
        TEMPLATE,
    ),
    op(
        "PUT /v1/registration-template",
        "Say what clients may have that nobody registered by hand",
        Bearer,
        TEMPLATE,
    )
    .takes(Json(template!())),
    op(
        "POST /v1/grants",
        "Make a root grant for an agent, without a task",
        Bearer,
        &[(201, Gives::Json("grant_id!: text, id!: text, root!: text, parent!: text?, depth!: int, agent!: text, user!: text?, task!: text?, scope!: [text], tools!: [text], resources!: [text], connections!: [text]?, authorization_details!: [object], limits!: [any], audience!: [text], not_before!: time, expires!: time?, max_depth!: int, key!: text?, origin!: text, created!: time, revoked!: object?"))],
    )
    .takes(Json(
        "agent!: text, user: text?, scope: [text], tools: [text], resources: [text], connections: [text], authorization_details: [object], audience: [text], limits: [object], expires: time, max_depth: int",
    )),
    op(
        "GET /v1/grants",
        "List the grants that the caller may see",
        Bearer,
        &[(200, Gives::Json("grants!: [object], next!: text?"))],
    )
    .query(&["agent", "task", "after", "limit"]),
    op("GET /v1/grants/{id}", "Show a grant, and whether it is alive", Bearer, GRANT),
    op(
        "GET /v1/grants/{id}/lineage",
        "Show what is above and below a grant",
        Bearer,
        &[(
            200,
            Gives::Json(
                "id!: text, ancestors!: [object], descendants!: [object], alive!: flag, reason!: text?, truncated: flag",
            ),
        )],
    ),
    op("POST /v1/grants/{id}/narrow", "Take part of a grant back, for everything below it too", Bearer, GRANT)
        .takes(Json("scope: [text], tools: [text], resources: [text], reason: text")),
    op("POST /v1/grants/{id}/revoke", "End a grant and everything below it", Bearer, ENDED)
        .takes(MaybeJson(REVOCATION)),
    op(
        "POST /v1/tasks",
        "Make a task with a grant for an agent",
        Bearer,
        &[(
            201,
            Gives::Json(
                "id!: text, task_id!: text, grant_id!: text, agent!: text, user!: text?, state!: text, expires!: time?",
            ),
        )],
    )
    .takes(Json(
        "task_id: text, description: text, details: object, plan: [object], agent!: text, user: text?, scope: [text], tools: [text], resources: [text], connections: [text], limits: [object], expires: time, authorization_details: [object], audience: [text]",
    )),
    op(
        "GET /v1/tasks",
        "List the tasks that the caller may see",
        Bearer,
        &[(200, Gives::Json("tasks!: [object], next!: text?"))],
    )
    .query(&["agent", "after", "limit"]),
    op("GET /v1/tasks/{id}", "Show a task, by id or label", Bearer, TASK).query(&["agent", "user"]),
    op("POST /v1/tasks/{id}/complete", "End a task that is done, with its grants", Bearer, ENDED)
        .takes(MaybeJson(REVOCATION)),
    op("POST /v1/tasks/{id}/revoke", "End a task and its grants", Bearer, ENDED).takes(MaybeJson(REVOCATION)),
    op(
        "POST /v1/actions",
        "Take an action: the action door",
        Agent,
        &[
            (200, Gives::Json("status!: 'executed', id!: text, result!: {status!: int, headers!: object, body!: any}")),
            (
                202,
                Gives::Json(
                    "status!: 'held', id!: text, approval!: {id!: text, url: text, expires!: time, rule: text?, missing: int}",
                ),
            ),
        ],
    )
    .takes(Json("service: text, action!: text, params: object, connection: text")),
    op("GET /proxy/{*request}", "Take an action: the proxy door, `{connection}/{path}`", Agent, PASSED)
        .takes(Takes::Anything),
    op("POST /proxy/{*request}", "Take an action: the proxy door, `{connection}/{path}`", Agent, PASSED)
        .takes(Takes::Anything),
    op("PUT /proxy/{*request}", "Take an action: the proxy door, `{connection}/{path}`", Agent, PASSED)
        .takes(Takes::Anything),
    op("PATCH /proxy/{*request}", "Take an action: the proxy door, `{connection}/{path}`", Agent, PASSED)
        .takes(Takes::Anything),
    op("DELETE /proxy/{*request}", "Take an action: the proxy door, `{connection}/{path}`", Agent, PASSED)
        .takes(Takes::Anything),
    op(
        "POST /mcp",
        "Take an action, or see what may be taken: the MCP door, a message of the Model Context Protocol",
        Agent,
        &[
            (
                200,
                Gives::JsonOrEvents(
                    "jsonrpc!: '2.0', id: any, result: object, error: {code!: int, message!: text, data: any}",
                ),
            ),
            (202, Gives::Nothing),
        ],
    )
    .takes(OpenJson("jsonrpc!: '2.0', id: any, method: text, params: object")),
    op(
        "GET /v1/actions",
        "List actions, or those in flight, or those of which nobody knows what became",
        Bearer,
        &[(200, Gives::Json("actions!: [object], next!: text?"))],
    )
    .query(&["state", "after", "limit"]),
    op("GET /v1/actions/{id}", "What became of an action", Bearer, ACTION),
    op(
        "POST /v1/actions/{id}/settle",
        "Say whether an unknown action happened, as an administrator who is signed in",
        Person,
        ACTION,
    )
    .takes(Json("happened!: 'yes'|'no', reason!: text")),
    op(
        "POST /v1/decisions",
        "Ask for a decision; a resource server's is charged",
        Bearer,
        &[(
            200,
            Gives::Json(
                "decision: 'allow'|'deny'|'hold', id: text, action: text, resource: text?, reasons: [object], approval: any, policies: [text], rules: [object], limits: [object], shape: [object], trace: object, decisions: [object]",
            ),
        )],
    )
    .takes(Json(access::QUESTIONS)),
    access::FILTER,
    op(
        "POST /v1/decisions/{id}/outcome",
        "Say what became of a charged decision, as the resource server that asked for it",
        Client,
        &[(200, Gives::Json("id!: text, happened!: 'yes'|'no', charged!: flag"))],
    )
    .takes(MaybeJson("happened: 'yes'|'no', status: int")),
    access::FORWARD_AUTH,
    access::CATALOG,
    access::CONFIGURATION,
    access::CONFIGURATION_AT,
    access::EVALUATION,
    access::EVALUATIONS,
    access::REQUEST,
    access::REQUEST_SHOW,
    access::SEARCH_SUBJECT,
    access::SEARCH_RESOURCE,
    access::SEARCH_ACTION,
    op(
        "POST /v1/tokens/verify",
        "Whether a token is good for what is about to be asked of it",
        Bearer,
        &[(
            200,
            Gives::Json(
                "is_valid!: flag, scope!: text?, cnf!: object?, task_context_valid!: flag?, historical_pattern_match!: flag?, reasons!: [{member!: text, code!: text, detail!: text}]",
            ),
        )],
    )
    .takes(Json(
        "token!: text, scope: any, task_id: text, parent_task_id: text, task_description: text, required_tools: any",
    )),
    op(
        "GET /v1/approvals",
        "List the approvals that the caller may see",
        Bearer,
        &[(200, Gives::Json("approvals!: [object], next!: text?"))],
    )
    .query(&["state", "after", "limit"]),
    op(
        "GET /v1/approvals/{id}",
        "Show everything that would run",
        Bearer,
        &[(200, Gives::Json("id!: text, state!: text, expires!: time"))],
    ),
    op(
        "POST /v1/approvals/{id}",
        "Approve or deny, as a person who is signed in",
        Person,
        &[(200, Gives::Json("id!: text, state!: text, expires!: time"))],
    )
    .takes(Json(concat!("verdict!: 'approve'|'deny', words: [text], permit: {", terms!(), "}"))),
    op(
        "POST /v1/approvals/{id}/permit",
        "What a permit on these terms would say; nothing is done",
        Person,
        &[(200, Gives::Json("permit!: object, words!: [text]"))],
    )
    .takes(Json(terms!())),
    op(
        "GET /v1/requests",
        "List the requests for authority that wait for the caller's answer",
        Person,
        &[(200, Gives::Json("requests!: [object]"))],
    ),
    op(
        "POST /v1/requests",
        "Enter the code that a device shows",
        Person,
        &[(200, Gives::Json(REQUEST))],
    )
    .takes(Json("user_code!: text")),
    op(
        "GET /v1/requests/{id}",
        "Show who asks, and all that would be granted",
        Person,
        &[(200, Gives::Json(REQUEST))],
    ),
    op(
        "POST /v1/requests/{id}",
        "Allow or deny, as the person who is asked",
        Person,
        &[(200, Gives::Json("id!: text, state!: 'approved'|'denied'"))],
    )
    .takes(Json("verdict!: 'approve'|'deny', lasts: '1h'|'8h'|'1d'|'7d'|'30d', seen: text")),
    op(
        "GET /v1/permits",
        "List the permits that the caller may see",
        Bearer,
        &[(200, Gives::Json("permits!: [object], next!: text?"))],
    )
    .query(&["agent", "after", "limit"]),
    op("GET /v1/permits/{id}", "What a permit says, and what is left of it", Bearer, PERMIT),
    op("POST /v1/permits/{id}/revoke", "Take a permit back", Bearer, PERMIT),
    op(
        "POST /v1/users",
        "Make a user",
        Bearer,
        &[(201, Gives::Json("id!: text, name!: text, roles!: [text], created!: time"))],
    )
    .takes(Json("name!: text, password!: text, roles: [text]")),
    op("GET /v1/users", "List users", Bearer, &[(200, Gives::Json("users!: [object], next!: text?"))]).query(PAGE),
    op(
        "PUT /v1/users/{id}/roles",
        "Say which roles a user has; what they approved and may approve no more counts no longer (administrators)",
        Person,
        &[(200, Gives::Json("id!: text, name!: text, roles!: [text], created!: time"))],
    )
    .takes(Json("roles!: [text]")),
    op(
        "POST /v1/users/{id}/reset-factors",
        "Take from somebody what they sign in with beside the password, and end their sessions",
        Person,
        &[(204, Gives::Nothing)],
    )
    .takes(Json(FRESH)),
    op(
        "GET /v1/account",
        "What a person has to sign in with",
        Person,
        &[(
            200,
            Gives::Json(
                "id!: text, name!: text, roles!: [text], session!: text, totp!: {since!: time, recovery_codes!: int}?, passkeys!: [{id!: text, name!: text, created!: time, used!: time?}]",
            ),
        )],
    ),
    op("POST /v1/account/password", "Change one's password, and end one's other sessions", Person, &[(204, Gives::Nothing)])
        .takes(Json("password!: text, totp: text?, new_password!: text")),
    op(
        "POST /v1/account/totp",
        "A secret for an authenticator app, answered once; it counts once it is confirmed",
        Person,
        &[(201, Gives::Json("secret!: text, url!: text"))],
    )
    .takes(Json(FRESH)),
    op(
        "POST /v1/account/totp/confirm",
        "Show that the app has the secret: a code is asked for from now on",
        Person,
        RECOVERY_CODES,
    )
    .takes(Json("totp!: text")),
    op("POST /v1/account/totp/remove", "Sign in without a code again", Person, &[(204, Gives::Nothing)])
        .takes(Json(FRESH)),
    op("POST /v1/account/recovery-codes", "New recovery codes in place of the old", Person, RECOVERY_CODES)
        .takes(Json(FRESH)),
    op("POST /v1/account/passkeys/{id}/remove", "Remove one of one's passkeys", Person, &[(204, Gives::Nothing)])
        .takes(Json(FRESH)),
    op(
        "POST /v1/sessions",
        "Sign in",
        Anybody,
        &[(201, Gives::Json("id!: text, token!: text, expires!: time"))],
    )
    .takes(Json("name!: text, password!: text, totp: text?")),
    op(
        "GET /v1/sessions",
        "List sessions: a person's own, or everybody's for an administrator",
        Bearer,
        &[(
            200,
            Gives::Json(
                "sessions!: [{id!: text, user!: text, created!: time, expires!: time, began_with!: text?, provider!: text?, ended!: time?, alive!: flag}], next!: text?",
            ),
        )],
    )
    .query(&["user", "after", "limit"]),
    op("DELETE /v1/sessions/{id}", "Sign out", Bearer, &[(204, Gives::Nothing)]),
    op(
        "POST /v1/resource-servers",
        "Register a resource server",
        Bearer,
        &[(
            201,
            Gives::Json(
                "id!: text, client_id!: text, name!: text, audience!: text, auth!: object, status_list!: flag, created!: time, client_secret!: text",
            ),
        )],
    )
    .takes(Json("name!: text, audience!: text, auth: {type!: 'client_secret'}, status_list: flag")),
    op(
        "GET /v1/resource-servers",
        "List resource servers",
        Bearer,
        &[(200, Gives::Json("resource_servers!: [object], next!: text?"))],
    )
    .query(PAGE),
    op("GET /v1/resource-servers/{id}", "Show a resource server, by id, name or audience", Bearer, RESOURCE_SERVER),
    op("DELETE /v1/resource-servers/{id}", "End a resource server", Bearer, &[(204, Gives::Nothing)]),
    op(
        "POST /v1/resource-servers/{id}/secret",
        "Give a resource server a new secret",
        Bearer,
        RESOURCE_SERVER,
    ),
    identity_providers::CREATE,
    identity_providers::LIST,
    identity_providers::SHOW,
    identity_providers::REMOVE,
    identity_providers::SECRET,
    identity_providers::SUBJECTS,
    identity_providers::LINK,
    op("POST /v1/trusted-issuers", "Trust an issuer of assertions about people or workloads (administrators)", Bearer, &[(201, Gives::Json(TRUSTED))])
        .takes(Json(trusted!())),
    op(
        "GET /v1/trusted-issuers",
        "List trusted issuers",
        Bearer,
        &[(200, Gives::Json("trusted_issuers!: [{id!: text, issuer!: text, kinds!: [text], created!: time}], next!: text?"))],
    )
    .query(PAGE),
    op("GET /v1/trusted-issuers/{id}", "Show a trusted issuer, by id or `iss`", Bearer, &[(200, Gives::Json(TRUSTED))]),
    op("DELETE /v1/trusted-issuers/{id}", "Trust an issuer no more; what was given on its word ends", Bearer, ENDED),
    op(
        "POST /v1/trusted-issuers/{id}/users",
        "Say whom an issuer means by a subject; nobody where `user` is null",
        Bearer,
        &[(200, Gives::Json("id!: text, issuer!: text, subject!: text, user!: text?"))],
    )
    .takes(Json("subject!: text, user: text?")),
    op("GET /v1/scopes", "What scopes mean, what they stand for, who may delegate them", Bearer, &[(200, Gives::Json("scopes!: [object]"))]),
    op("GET /v1/scopes/{name}", "One scope", Bearer, &[(200, Gives::Json(SCOPE))]),
    op("PUT /v1/scopes/{name}", "Say what a scope means (administrators)", Bearer, &[(200, Gives::Json(SCOPE)), (201, Gives::Json(SCOPE))])
        .takes(Json("description!: text, includes: [text], roles: [text]")),
    op("GET /v1/authorization-detail-types", "Types of authorization details that are declared (RFC 9396)", Bearer, &[(200, Gives::Json("types!: [object]"))]),
    op("GET /v1/authorization-detail-types/{name}", "One type of authorization details", Bearer, &[(200, Gives::Json(DETAIL_TYPE))]),
    op("PUT /v1/authorization-detail-types/{name}", "Declare a type of authorization details (administrators)", Bearer, &[(200, Gives::Json(DETAIL_TYPE)), (201, Gives::Json(DETAIL_TYPE))])
        .takes(Json("description!: text, schema!: object, narrows: object, roles: [text]")),
    op("DELETE /v1/authorization-detail-types/{name}", "Declare a type no more; grants keep what they were given", Bearer, &[(204, Gives::Nothing)]),
    op("DELETE /v1/scopes/{name}", "Take a scope out of the registry; grants keep what they were given", Bearer, &[(204, Gives::Nothing)]),
    op("GET /v1/egress", "Where the egress door is, and the authorities that certify hosts there", Anybody, EGRESS),
    op("POST /v1/egress/authority/rotate", "Have the next authority of the egress door certify", Bearer, EGRESS),
    op("GET /v1/keys", "List the keys: names, states and times", Bearer, KEYS),
    op("POST /v1/keys/rotate", "Rotate a key while the server goes on", Bearer, KEYS)
        .takes(MaybeJson("key: text, algorithm: text, at_once: flag")),
    op("GET /v1/record", "Read the record, oldest first", Bearer, ENTRIES).query(PAGE),
    op("GET /v1/record/key", "The key that verifies the record", Bearer, TEXT),
    op("GET /v1/record/checkpoint", "The newest signed size and root of the log", Bearer, TEXT),
    op("GET /v1/record/heads", "The signed head of every node", Bearer, &[(200, Gives::Json("heads!: [object]"))]),
    op("GET /v1/record/export", "Entries in the form that their hashes are made of", Bearer, ENTRIES)
        .query(&["after", "limit", "node"]),
    op("GET /v1/record/{index}", "Show an entry", Bearer, ENTRY),
    op(
        "GET /v1/record/{index}/proof",
        "Show that an entry is in the log",
        Bearer,
        &[(200, Gives::Json(""))],
    ),
    op("GET /healthz", "The process lives", Anybody, TEXT),
    op(
        "GET /readyz",
        "Whether the server can do its work",
        Anybody,
        &[
            (200, Gives::Json("status!: 'ready', at!: time, checks!: object, upstreams_not_answering: int")),
            (503, Gives::Json("status!: 'not_ready', at!: time, checks!: object, failing_jobs: [text], upstreams_not_answering: int")),
        ],
    ),
    op("GET /metrics", "Counters, histograms and gauges for Prometheus", Bearer, TEXT),
    op("GET /openapi.json", "This document", Anybody, &[(200, Gives::Json("openapi!: text, paths!: object"))]),
];
