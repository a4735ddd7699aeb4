//! What the routes of policies and services take and answer.

use super::{
    super::{
        Caller::Bearer,
        Gives, Operation,
        Takes::{Document, Json},
    },
    op,
};

const APPLIED: &[(u16, Gives)] = &[
    (200, Gives::Json("policy: text, service: text, version!: int, warnings!: [any]")),
    (201, Gives::Json("policy: text, service: text, version!: int, warnings!: [any]")),
];
const SOURCE: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "policy: text, service: text, version!: int, source!: text, applied!: time, applied_by!: text",
    ),
)];

const TOOLS: &[(u16, Gives)] = &[(
    200,
    Gives::Json(
        "service!: text, version!: int, server!: text, seen!: time?, tools!: [{tool!: text, action!: text?, standing!: 'pinned'|'changed'|'new'|'gone', digest!: text, problem!: text?, definition!: object, accepted: object}]",
    ),
)];

/// Policies and services, in the order of the router.
pub(super) const OPERATIONS: &[Operation] = &[
    op(
        "GET /v1/policies",
        "List policies",
        Bearer,
        &[(
            200,
            Gives::Json("policies!: [object], directory!: {read!: time?, in_force!: flag, detail!: text?}?"),
        )],
    ),
    op(
        "PUT /v1/policies",
        "Apply several policies, all or none",
        Bearer,
        &[(
            200,
            Gives::Json(
                "policies!: [{policy!: text, version!: int, changed!: flag, warnings!: [any]}], removed!: [{policy!: text, version!: int}], unstaged!: [{policy!: text, version!: int}], dry_run!: flag",
            ),
        )],
    )
    .takes(Json(
        "policies!: [{file!: text, source!: text}], others: 'stay'|'leave_if_own'|'leave', dry_run: flag",
    )),
    op("PUT /v1/policies/{name}", "Apply a policy", Bearer, APPLIED).query(&["agents"]).takes(Document),
    op("GET /v1/policies/{name}", "Show a policy", Bearer, SOURCE).query(&["version"]),
    op("DELETE /v1/policies/{name}", "Put a policy out of force", Bearer, &[(204, Gives::Nothing)]),
    op(
        "GET /v1/policies/{name}/rules",
        "Show what a policy became: its rules in full",
        Bearer,
        &[(
            200,
            Gives::Json("policy!: text, version!: int, mode!: 'enforce'|'observe', rules!: [text], document!: text"),
        )],
    )
    .query(&["version"]),
    op(
        "GET /v1/policies/{name}/versions",
        "List the versions of a policy, the newest first",
        Bearer,
        &[(
            200,
            Gives::Json(
                "policy!: text, versions!: [{version!: int, active!: flag, applied!: time, applied_by!: text}]",
            ),
        )],
    ),
    op(
        "POST /v1/policies/{name}/rollback",
        "Apply the text of an older version as a new one",
        Bearer,
        &[
            (200, Gives::Json("policy!: text, version!: int, back_to!: int, warnings!: [any]")),
            (201, Gives::Json("policy!: text, version!: int, back_to!: int, warnings!: [any]")),
        ],
    )
    .takes(Json("to: int")),
    op(
        "POST /v1/policies/{name}/stage",
        "Give a version of a policy to some agents before all others",
        Bearer,
        &[(200, Gives::Json("policy!: text, version!: int, stage!: object, warnings!: [any]"))],
    )
    .takes(Json("source: text, version: int, share: int, labels: object")),
    op(
        "DELETE /v1/policies/{name}/stage",
        "Take the staged version of a policy back",
        Bearer,
        &[(204, Gives::Nothing)],
    ),
    op(
        "POST /v1/policies/{name}/promote",
        "Put the staged version of a policy in force for all agents",
        Bearer,
        &[(200, Gives::Json("policy!: text, version!: int"))],
    ),
    op(
        "GET /v1/policies/{name}/observations",
        "Show what a policy in `mode: observe` would have said, counted",
        Bearer,
        &[(
            200,
            Gives::Json(
                "policy!: text, observations!: [{version!: int, would!: 'allow'|'hold'|'deny', decision!: 'allow'|'deny', rule!: text, action!: text, agent!: text?, handle!: text?, code!: text, count!: int, first!: time, last!: time}]",
            ),
        )],
    )
    .query(&["version"]),
    op("GET /v1/services", "List services", Bearer, &[(200, Gives::Json("services!: [object]"))]),
    op("PUT /v1/services/{name}", "Apply a service", Bearer, APPLIED).takes(Document),
    op("GET /v1/services/{name}", "Show a service", Bearer, SOURCE).query(&["version"]),
    op("GET /v1/services/{name}/tools", "The tools of an MCP server, as it was last seen to say them, and how they stand to what was accepted", Bearer, TOOLS),
    op("POST /v1/services/{name}/tools", "Ask an MCP server for its tools; or accept definitions of tools by their digests, and withdraw others", Bearer, TOOLS)
        .takes(Json("accept: object, withdraw: [text]")),
];
