//! Questions besides a single decision, described: several at once, lists, what an agent may do, and AuthZEN's.

use super::op;
use crate::openapi::{
    Caller::{Anybody, Bearer, Proxy},
    Gives, Operation,
    Takes::{Json, OpenJson},
};

/// One question.
macro_rules! question {
    () => {
        "action: text, resource: text, params: object, context: any, facts: object, dry_run: flag, explain: flag, agent: text, task: text, user: {id!: text, roles: [text], claims: object}, token: text, approval: text"
    };
}
pub(super) const QUESTIONS: &str = concat!(question!(), ", decisions: [{", question!(), "}]");

pub(super) const FORWARD_AUTH: Operation = op(
    "GET /v1/forward-auth/{service}",
    "Whether a proxy passes a request on (nginx's `auth_request`, Traefik, Caddy): charged, and anything but 200 is a no",
    Proxy,
    &[(200, Gives::Nothing)],
);
pub(super) const FILTER: Operation = op(
    "POST /v1/decisions/filter",
    "On which of many resources an action is allowed, or where within a pattern; nothing is charged",
    Bearer,
    &[(
        200,
        Gives::Json("id!: text, action!: text, allowed!: [text], held: [text], unknown: flag, reason: object"),
    )],
)
.takes(Json(
    "action!: text, resources: [text], pattern: text, params: object, context: any, token: text, agent: text, task: text, user: {id!: text, roles: [text], claims: object}",
));
pub(super) const CATALOG: Operation = op(
    "GET /v1/catalog",
    "What an agent may do now, and what it would need for more",
    Bearer,
    &[
        (
            200,
            Gives::Json(
                "actions!: [{action!: text, service!: text, description!: text?, effect!: text?, resource!: text, params!: any, connections!: [{id!: text, name!: text}], decision!: 'allowed'|'with_approval'|'conditional'|'not_granted', needs: object, approval: 'sometimes'|'always', conditions!: [{one_of!: [object]}], limits!: [{limit!: text, remaining: number, resets: time}]}], next!: text?",
            ),
        ),
        (304, Gives::Nothing),
    ],
)
.query(&["agent", "task", "after", "limit"]);

const PLACES: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "policy_decision_point!: text, access_evaluation_endpoint!: text, access_evaluations_endpoint!: text, search_subject_endpoint!: text, search_resource_endpoint!: text, search_action_endpoint!: text, signed_metadata!: text",
    ),
)];
pub(super) const CONFIGURATION: Operation = op(
    "GET /.well-known/authzen-configuration",
    "Where AuthZEN's questions are asked (Authorization API 1.0 §9)",
    Anybody,
    PLACES,
);
pub(super) const CONFIGURATION_AT: Operation = op(
    "GET /.well-known/authzen-configuration/{*path}",
    "The same, where the issuer has this path",
    Anybody,
    PLACES,
);

macro_rules! subject {
    () => {
        "subject: {type!: text, id: text, properties: object}"
    };
}
macro_rules! action {
    () => {
        "action: {name!: text, properties: object}"
    };
}
macro_rules! resource {
    () => {
        "resource: {type!: text, id: text, properties: object}, context: object"
    };
}
macro_rules! page {
    () => {
        ", page: {token: text, limit: int}"
    };
}
const FOUND: &[(u16, Gives)] =
    &[(200, Gives::Json("page!: {next_token!: text, count!: int}, results!: [object]"))];

pub(super) const EVALUATION: Operation = op(
    "POST /access/v1/evaluation",
    "Whether somebody may do something (AuthZEN Authorization API 1.0 §6)",
    Bearer,
    &[(200, Gives::Json("decision!: flag, context: object"))],
)
.takes(OpenJson(concat!(subject!(), ", ", action!(), ", ", resource!())));
pub(super) const EVALUATIONS: Operation = op(
    "POST /access/v1/evaluations",
    "The same of several at once (§7)",
    Bearer,
    &[(200, Gives::Json("evaluations: [{decision!: flag, context: object}], decision: flag, context: object"))],
)
.takes(OpenJson(concat!(
    subject!(),
    ", ",
    action!(),
    ", ",
    resource!(),
    ", evaluations: [object], options: {evaluations_semantic: 'execute_all'|'deny_on_first_deny'|'permit_on_first_permit'}"
)));
const TASK: &str = "task!: {id!: text, status!: 'pending'|'approved'|'denied'|'expired'|'cancelled', status_endpoint!: text, expires_at: time}, result: {mode!: 'reevaluate', approval!: {id!: text, approved_until!: time}}";
pub(super) const REQUEST: Operation = op(
    "POST /access/v1/requests",
    "What was held is waited for, as a task (AuthZEN Access Request and Approval Profile, draft 1)",
    Bearer,
    &[(202, Gives::Json(TASK)), (201, Gives::Json(TASK))],
)
.takes(OpenJson(concat!(
    subject!(),
    ", ",
    action!(),
    ", ",
    resource!(),
    ", denial!: {binding_token!: text, expires_at!: time}"
)));
pub(super) const REQUEST_SHOW: Operation = op(
    "GET /access/v1/requests/{id}",
    "What became of it; approved, it is evaluated again with `result.approval` as `context.approval`",
    Bearer,
    &[(200, Gives::Json(TASK))],
);
pub(super) const SEARCH_SUBJECT: Operation =
    op("POST /access/v1/search/subject", "Which agents may do something (§8.4)", Bearer, FOUND)
        .takes(OpenJson(concat!(subject!(), ", ", action!(), ", ", resource!(), page!())));
pub(super) const SEARCH_RESOURCE: Operation = op(
    "POST /access/v1/search/resource",
    "On which resources that rules and grants name somebody may do something (§8.5)",
    Bearer,
    FOUND,
)
.takes(OpenJson(concat!(subject!(), ", ", action!(), ", ", resource!(), page!())));
pub(super) const SEARCH_ACTION: Operation =
    op("POST /access/v1/search/action", "What somebody may do with a resource (§8.6)", Bearer, FOUND)
        .takes(OpenJson(concat!(subject!(), ", ", resource!(), page!())));
