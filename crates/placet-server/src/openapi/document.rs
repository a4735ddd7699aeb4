//! The document itself.

use super::{Caller, Gives, Operation, Takes, operations, shape};
use crate::routes::{Route, Routes};
use placet_core::refusal::Code;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The text that is served.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document(&crate::routes())));
    &TEXT
}

/// The document for these routes. A route that the table doesn't have is there with nothing but its answers.
pub fn document(routes: &Routes) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes.listed() {
        let operation = described(route);
        let item = paths.entry(public_path(route.path)).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.to_ascii_lowercase(), written(route, operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Placet",
            "summary": "Authorization for AI agents, at the moment they act.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "An agent's access token, a person's session token, or the administrator token.",
                },
                "client": {
                    "type": "http", "scheme": "basic",
                    "description": "An agent's client id and client secret (RFC 6749 section 2.3.1).",
                },
                "proxy": {
                    "type": "apiKey", "in": "header", "name": "Placet-Resource-Server",
                    "description": "A resource server's id and secret as `Basic …`, where `Authorization` is the agent's.",
                },
            },
            "schemas": {"Problem": problem(), "OAuthError": oauth_error()},
        },
    })
}

/// What the table says about a route.
pub fn described(route: &Route) -> Option<&'static Operation> {
    operations().find(|operation| operation.route.split_once(' ') == Some((route.method, route.path)))
}

fn written(route: &Route, operation: Option<&Operation>) -> Value {
    let oauth = route.path.starts_with("/oauth/");
    let mut out = json!({
        "operationId": operation_id(route),
        "tags": [tag(route.path)],
        "responses": responses(operation, oauth),
    });
    let (Some(members), Some(operation)) = (out.as_object_mut(), operation) else { return out };
    members.insert("summary".into(), operation.summary.into());
    members.insert("security".into(), security(operation.caller));
    let parameters = parameters(route.path, operation.query);
    if !parameters.is_empty() {
        members.insert("parameters".into(), Value::Array(parameters));
    }
    if let Some(body) = request_body(operation.takes) {
        members.insert("requestBody".into(), body);
    }
    out
}

fn security(caller: Caller) -> Value {
    match caller {
        Caller::Anybody => json!([]),
        Caller::Client => json!([{"client": []}, {"bearer": []}]),
        Caller::Proxy => json!([{"proxy": []}]),
        Caller::MaybeBearer => json!([{"bearer": []}, {}]),
        Caller::Agent | Caller::Person | Caller::Bearer => json!([{"bearer": []}]),
    }
}

fn request_body(takes: Takes) -> Option<Value> {
    let closed = |shape: &str| shape::schema(shape, true).unwrap_or_else(|| json!({}));
    let (required, content) = match takes {
        Takes::Nothing => return None,
        Takes::Json(shape) => (true, json!({"application/json": {"schema": closed(shape)}})),
        Takes::OpenJson(shape) => (true, json!({"application/json": {"schema": open(shape)}})),
        Takes::MaybeJson(shape) => (false, json!({"application/json": {"schema": closed(shape)}})),
        // Unknown parameters are ignored (RFC 6749 §3.2).
        Takes::Form(shape) => (
            true,
            json!({
                "application/x-www-form-urlencoded": {"schema": open(shape)},
                "application/json": {"schema": open(shape)},
            }),
        ),
        Takes::Document => (
            true,
            json!({
                "application/yaml": {"schema": {"type": "string"}},
                "text/yaml": {"schema": {"type": "string"}},
                "application/x-yaml": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "object"}},
            }),
        ),
        Takes::Anything => (false, json!({"*/*": {"schema": {}}})),
    };
    Some(json!({"required": required, "content": content}))
}

fn responses(operation: Option<&Operation>, oauth: bool) -> Value {
    let mut out = Map::new();
    for (status, gives) in operation.map_or(&[][..], |operation| operation.gives) {
        let content = match gives {
            Gives::Nothing => None,
            Gives::Json(shape) => Some(json!({"application/json": {"schema": open(shape)}})),
            Gives::JsonAs(kind, shape) => Some(json!({*kind: {"schema": open(shape)}})),
            Gives::JsonOrEvents(shape) => Some(json!({
                "application/json": {"schema": open(shape)},
                "text/event-stream": {"schema": {"type": "string"}},
            })),
            Gives::Text(kind) => Some(json!({*kind: {"schema": {"type": "string"}}})),
            Gives::Anything => Some(json!({"*/*": {"schema": {}}})),
        };
        let mut response = json!({"description": meaning(*status)});
        if let (Some(content), Some(members)) = (content, response.as_object_mut()) {
            members.insert("content".into(), content);
        }
        out.insert(status.to_string(), response);
    }
    let (kind, schema) =
        if oauth { ("application/json", "OAuthError") } else { ("application/problem+json", "Problem") };
    let refused = json!({kind: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
    out.insert("default".into(), json!({"description": "A refusal.", "content": refused}));
    Value::Object(out)
}

fn open(shape: &str) -> Value {
    shape::schema(shape, false).unwrap_or_else(|| json!({}))
}

fn meaning(status: u16) -> &'static str {
    match status {
        200 => "Done.",
        201 => "Made.",
        202 => "Held for people.",
        204 => "Done, and nothing to say.",
        503 => "Not now.",
        _ => "As the status says.",
    }
}

fn parameters(path: &str, query: &[&str]) -> Vec<Value> {
    let in_path = path_parameters(path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = query.iter().map(|name| {
        let kind = if matches!(*name, "limit") { "integer" } else { "string" };
        json!({"name": name, "in": "query", "schema": {"type": kind}})
    });
    in_path.chain(in_query).collect()
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.strip_prefix('*').unwrap_or(name))
    })
}

/// OpenAPI has no word for "the rest of the path": it is a parameter like the others.
fn public_path(path: &str) -> String {
    path.replace("{*", "{")
}

/// `post_v1_agents_id_activate`.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    std::iter::once(route.method.to_ascii_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("_")
}

fn tag(path: &str) -> &str {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    match segments.next() {
        Some("v1") => segments.next().unwrap_or("v1"),
        Some("oauth" | ".well-known") => "oauth",
        Some("healthz" | "readyz" | "metrics" | "openapi.json") | None => "operations",
        Some(other) => other,
    }
}

fn problem() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let statuses = |code: &Code| json!({"const": code.as_str(), "description": code.title()});
    let known: Vec<Value> = Code::ALL.iter().map(statuses).collect();
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457). `code` is stable; `detail` is for people.",
        "required": ["type", "title", "status", "code", "reasons"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"oneOf": known},
            "reasons": {"type": "array", "items": {
                "type": "object",
                "required": ["code"],
                "properties": {
                    "code": {"type": "string", "enum": codes},
                    "policy": {"type": "string"},
                    "rule": {"type": "string"},
                    "expression": {"type": "string"},
                    "observed": {"type": "object"},
                    "remedy": {"type": "object"},
                    "detail": {"type": "string"},
                },
            }},
        },
    })
}

fn oauth_error() -> Value {
    json!({
        "type": "object",
        "description": "An error of an OAuth endpoint (RFC 6749 section 5.2).",
        "required": ["error"],
        "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes = crate::routes();
        let listed: BTreeSet<String> =
            routes.listed().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(listed.len(), routes.listed().len(), "a route stands twice");
        let table: BTreeSet<String> = operations().map(|operation| operation.route.to_owned()).collect();
        assert_eq!(table.len(), operations().count(), "an operation stands twice");
        let missing: Vec<_> = listed.difference(&table).collect();
        let gone: Vec<_> = table.difference(&listed).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "in `openapi/operations.rs` add {missing:?}; remove {gone:?}"
        );
        let document = document(&routes);
        let described = document["paths"].as_object().unwrap().values();
        let described: usize = described.map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(described, listed.len());
    }

    #[test]
    fn every_shape_can_be_read() {
        for operation in operations() {
            let takes = match operation.takes {
                Takes::Json(shape)
                | Takes::OpenJson(shape)
                | Takes::MaybeJson(shape)
                | Takes::Form(shape) => shape,
                _ => "",
            };
            let gives = operation.gives.iter().filter_map(|(_, gives)| match gives {
                Gives::Json(shape) | Gives::JsonAs(_, shape) | Gives::JsonOrEvents(shape) => Some(*shape),
                _ => None,
            });
            for shape in std::iter::once(takes).chain(gives) {
                assert!(shape::schema(shape, true).is_some(), "{}: {shape}", operation.route);
            }
        }
    }

    #[test]
    fn ids_of_operations_are_unique() {
        let routes = crate::routes();
        let ids: BTreeSet<_> = routes.listed().iter().map(operation_id).collect();
        assert_eq!(ids.len(), routes.listed().len());
    }
}
