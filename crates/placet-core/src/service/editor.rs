//! The JSON Schema (draft 2020-12) of services, for editors: which keys there are, what each is for, an example.
//!
//! Invariant: it has every key that the reader knows and no other; whatever loads satisfies it.

use super::{
    Effect, MAX_ACTIONS, load, mcp,
    resolve::{self, FactType},
    socket, sql,
};
use serde_json::{Map, Value, json};

/// The schema of a service.
pub fn schema() -> Value {
    let mut service = object(&["service"], service());
    if let Some(service) = service.as_object_mut() {
        let http = json!({"required": ["auth", "base_url", "actions"], "not": {"anyOf": [
            {"required": ["mcp"]}, {"required": ["tools"]}, {"required": ["pins"]}, {"required": ["prompts"]}, {"required": ["resources"]},
        ]}});
        let mcp = json!({"required": ["mcp"], "not": {"anyOf": [
            {"required": ["base_url"]}, {"required": ["actions"]}, {"required": ["encoded_slash"]}, {"required": ["check"]},
        ]}});
        service.insert("oneOf".to_owned(), json!([http, mcp]));
        service.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        service.insert("title".to_owned(), "Placet service".into());
        service.insert(
            "description".to_owned(),
            "An upstream: its actions, how each maps to HTTP, and what each does.".into(),
        );
        service.insert("$defs".to_owned(), json!({"action": of_http(), "statement": statement()}));
        let of =
            |kind: &str| json!({"actions": {"additionalProperties": {"$ref": format!("#/$defs/{kind}")}}});
        service.insert(
            "if".to_owned(),
            json!({"required": ["base_url"], "properties": {"base_url": {"pattern": "^postgres(ql)?://"}}}),
        );
        let only_http = json!({"anyOf": [{"required": ["headers"]}, {"required": ["encoded_slash"]}]});
        service.insert(
            "then".to_owned(),
            json!({"required": ["tables"], "properties": of("statement"), "not": only_http}),
        );
        service
            .insert("else".to_owned(), json!({"properties": of("action"), "not": {"required": ["tables"]}}));
    }
    service
}

/// An action over HTTP: a request, or a message on a WebSocket.
fn of_http() -> Value {
    let mut all = object(&["resource"], action());
    let alone = |key: &&&str| !socket::load::KEYS.contains(*key);
    let others: Vec<Value> =
        load::ACTION_KEYS.iter().filter(alone).map(|key| json!({"required": [key]})).collect();
    if let Some(all) = all.as_object_mut() {
        all.insert("if".to_owned(), json!({"required": ["message"]}));
        all.insert("then".to_owned(), json!({"not": {"anyOf": others}}));
        all.insert("else".to_owned(), json!({"required": ["method", "path"]}));
    }
    all
}

/// A key: what it is for, an example, what it can be.
pub(super) fn key(about: &str, example: Value, kind: Value) -> Value {
    let mut all = Map::new();
    all.insert("description".to_owned(), about.into());
    all.insert("examples".to_owned(), Value::Array(vec![example]));
    if let Value::Object(kind) = kind {
        all.extend(kind);
    }
    Value::Object(all)
}

pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn service() -> Value {
    json!({
        "service": key("Its name.", json!("shop"), json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"})),
        "description": key("What it is, for people.", json!("Orders and refunds"), json!({"type": "string"})),
        "base_url": key("Where it is; paths of actions come behind it.", json!("https://api.example.com/v1"),
            json!({"type": "string", "pattern": "^(https?|postgres(ql)?)://"})),
        "auth": key("How it takes the credential of a connection.", json!({"type": "bearer"}), auth()),
        "allow_private": key("Whether its host may be a private address.", json!(true), json!({"type": "boolean"})),
        "timeout": key("How long it may take over an answer; 30 seconds where it isn't said.", json!("10s"),
            json!({"type": "string", "pattern": "^([1-9]|[1-9][0-9]|[12][0-9][0-9]|300)s$"})),
        "concurrency": key("How many calls to it may be under way at once on a node; 256 where it isn't said.", json!(32),
            json!({"type": "integer", "minimum": 1, "maximum": load::MOST_CONCURRENT})),
        "upload": key("How fast an agent has to send a body that is passed on as it comes.", json!({"rate": 1024, "pause": "30s"}),
            object(&[], json!({
                "rate": key("Bytes a second; 1024 where it isn't said.", json!(1024),
                    json!({"type": "integer", "minimum": 1, "maximum": load::FASTEST_UPLOAD})),
                "pause": key("How long nothing may come; 30 seconds where it isn't said.", json!("30s"),
                    json!({"type": "string", "pattern": "^([1-9]|[1-4][0-9]|50)s$"})),
            }))),
        "encoded_slash": key("Whether an encoded slash in a value of a path is let through.", json!(true), json!({"type": "boolean"})),
        "headers": key("Constant headers of every request; no credentials.", json!({"X-Api-Version": "2024-06-01"}), headers()),
        "actions": key("Its actions by name; names are unique in an installation.",
            json!({"orders.read": {"method": "GET", "path": "/orders/{id}", "resource": "order://all/{id}", "effect": "read"}}),
            json!({"type": "object", "maxProperties": MAX_ACTIONS})),
        "check": key("How to find out whether the credential of a connection works.", json!({"action": "user.read"}), check()),
        "tables": sql::tables(),
        "mcp": key("The MCP server that it is: its actions are the tools that are pinned.", json!({"url": "https://mcp.example.com/mcp"}),
            object(&[], json!({
                "command": key("The program that it is, as the operator lists it.", json!("files"), json!({"type": "string", "pattern": "^[a-z][a-z0-9-]*$"})),
                "url": key("Its endpoint.", json!("https://mcp.example.com/mcp"), json!({"type": "string", "pattern": "^https?://"})),
            }))),
        "tools": key("What each tool of the MCP server does, by its name there.", json!({"read_file": {"effect": "read"}}),
            json!({"type": "object", "additionalProperties": object(&[], tool())})),
        "prompts": key("What is said of each prompt of the MCP server, by its name there.", json!({"summary": {"name": "summary"}}),
            json!({"type": "object", "additionalProperties": object(&[], tool())})),
        "resources": key("Its resources can be listed and read; what reading one does, where it is more than reading.", json!({"effect": "read"}),
            object(&[], json!({
                "effect": key("What reading one does.", json!("read"), json!({"enum": Effect::ALL.map(Effect::as_str)})),
                "encoded_slash": key("Its server keeps an encoded slash in a URI apart from a slash, so that one may be there.", json!(true), json!({"type": "boolean"})),
            }))),
        "pins": key("What was accepted of what the MCP server says of its tools: written by `placet service accept`.",
            json!({"read_file": {"inputSchema": {"type": "object"}}}),
            json!({"type": "object", "maxProperties": MAX_ACTIONS, "additionalProperties": {"type": "object"}})),
    })
}

/// What can be said of a tool: keys of actions, and its name.
fn tool() -> Value {
    let mut known = action();
    let mut tool = Map::new();
    for name in mcp::TOOL_KEYS {
        if let Some(said) = known.as_object_mut().and_then(|known| known.remove(*name)) {
            tool.insert((*name).to_owned(), said);
        }
    }
    let about = "What its action is called behind the service's name, where its own name can't be that.";
    tool.insert("name".to_owned(), key(about, json!("read_file"), json!({"type": "string"})));
    Value::Object(tool)
}

fn auth() -> Value {
    let kind = |name: &str, about: &str| key(about, name.into(), json!({"const": name}));
    let with = |name: &str, about: &str, required: &[&str], more: Value| {
        let mut properties = json!({"type": kind(name, about)});
        if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
            properties.extend(more);
        }
        object(required, properties)
    };
    let text = || json!({"type": "string"});
    let pointer = || json!({"type": "string", "pattern": "^/"});
    json!({"oneOf": [
        with("bearer", "As a bearer token.", &["type"], json!({})),
        with("basic", "As HTTP Basic.", &["type"], json!({
            "username": key("The user name, where the secret is only the password.", json!("api"), text()),
        })),
        with("query", "As a member of the query.", &["type", "name"], json!({
            "name": key("The member's name.", json!("api_key"), text()),
        })),
        with("header", "In a header.", &["type", "name"], json!({
            "name": key("The header's name.", json!("X-Api-Key"), text()),
        })),
        with("oauth2", "As a bearer token of an authorization server, which is renewed.", &["type", "token_url"], json!({
            "token_url": key("Its token endpoint.", json!("https://sso.example/token"), json!({"type": "string", "pattern": "^https?://"})),
            "client_auth": key("How the client's secret is shown there.", json!("client_secret_post"),
                json!({"enum": ["client_secret_basic", "client_secret_post"]})),
            "scope": key("What is asked for.", json!(["orders.read"]), json!({"type": "array", "items": {"type": "string"}})),
            "resource": key("Whom the token is for (RFC 8707).", json!("https://api.example"), text()),
            "audience": key("Whom the token is for, where the server calls that so.", json!("https://api.example"), text()),
            "authorization_url": key("Where people agree that this server uses their account.", json!("https://sso.example/authorize"),
                json!({"type": "string", "pattern": "^https?://"})),
            "device_authorization_url": key("Where a code is asked for that a person enters elsewhere (RFC 8628).",
                json!("https://sso.example/device"), json!({"type": "string", "pattern": "^https?://"})),
            "issuer": key("What it calls itself, letter by letter.", json!("https://sso.example"),
                json!({"type": "string", "pattern": "^https?://"})),
            "iss_in_response": key("Whether its answers always say whose they are (RFC 9207).", json!(true), json!({"type": "boolean"})),
            "authorization_params": key("What else it wants to be told where people are asked.", json!({"access_type": "offline"}),
                json!({"type": "object", "additionalProperties": {"type": "string"}})),
            "token_type": key("What it calls a bearer token, where that is another word.", json!("bot"), text()),
            "subject_token_type": key("Of which kind the token is that a connection has got and that is exchanged (RFC 8693).",
                json!("urn:ietf:params:oauth:token-type:jwt"), text()),
            "assertion_audience": key("Whom the assertions are for that a connection's key signs (RFC 7523).",
                json!("https://oauth2.example/token"), text()),
            "exchange": key("How it gives tokens for such assertions, where not as an authorization server does: the assertion is shown as a bearer token, and `{subject}` in `token_url` is that of the connection.",
                json!({"token": "/token", "expires_at": "/expires_at"}), object(&["token"], json!({
                    "headers": key("Constant headers.", json!({"Accept": "application/json"}), headers()),
                    "body": key("What is sent, as JSON.", json!({"permissions": {"issues": "write"}}), json!({"type": "object"})),
                    "token": key("Where in the answer the token is.", json!("/token"), pointer()),
                    "expires_at": key("Where the time is at which it ends.", json!("/expires_at"), pointer()),
                    "expires_in": key("Where it says in how many seconds it ends.", json!("/expires_in"), pointer()),
                }))),
        })),
        with("hmac", "As a signature of every request by the secret, which is not sent.", &["type", "sign"], json!({
            "digest": key("With which digest it is signed.", json!("sha512"), json!({"enum": ["sha256", "sha512"]})),
            "key": key("How the key is written where people get it.", json!("base64"), json!({"enum": ["text", "base64", "hex"]})),
            "sign": key("What is signed; `{path}`, `{query}`, `{body}`, `{timestamp}` and so on are parts of the request.",
                json!("{timestamp}{method}{target}{body}"), text()),
            "encoding": key("How the signature is written.", json!("base64"), json!({"enum": ["hex", "base64", "base64url"]})),
            "timestamp": key("How the time is written.", json!("milliseconds"), json!({"enum": ["seconds", "milliseconds", "iso8601"]})),
            "headers": key("Headers that are added.", json!({"X-Signature": "{signature}"}), headers()),
            "query": key("Members that are added to the query, in this order.", json!({"signature": "{signature}"}), headers()),
        })),
        with("aws_sigv4", "As a signature of every request by AWS Signature Version 4.", &["type", "region", "service"], json!({
            "region": key("The region.", json!("eu-central-1"), text()),
            "service": key("The service, as the vendor calls it.", json!("s3"), text()),
        })),
        with("mtls", "As a client certificate.", &["type"], json!({
            "ca": key("The authorities (PEM) that the service is certified by, and no others.",
                json!("-----BEGIN CERTIFICATE-----\n…"), text()),
            "beside": key("What else is shown in each request.", json!({"type": "bearer"}), json!({"$ref": "#/properties/auth"})),
        })),
    ]})
}

fn action() -> Value {
    let names = || json!({"type": "array", "items": {"type": "string"}});
    let methods: Vec<&str> = load::METHODS.iter().map(|method| method.as_str()).collect();
    json!({
        "description": key("What it does, for people.", json!("Pay back a part of an order"), json!({"type": "string"})),
        "method": key("Its HTTP method.", json!("POST"), json!({"enum": methods})),
        "path": key("The path behind `base_url`; `{name}` is a parameter.", json!("/orders/{order_id}/refunds"),
            json!({"type": "string", "pattern": "^/"})),
        "resource": key("What it acts on; `{name}` is a parameter.", json!("order://all/{order_id}"),
            json!({"type": "string", "pattern": "://"})),
        "binds": key("Parameters of the resource, not in the path, of which upstream itself rejects a mismatch.",
            json!(["customer_id"]), names()),
        "effect": key("What it does; where nothing is stated, as bad as `money`.", json!("read"),
            json!({"enum": ["read", "write", "delete", "money"]})),
        "params": key("The JSON Schema of its parameters; `unit: percent` or `fraction` says what a percentage is.",
            json!({"type": "object", "properties": {"amount": {"type": "number"}}}),
            json!({"type": "object", "properties": {"type": {"const": "object"}}})),
        "no_effect": key("Statuses of upstream after which nothing has happened.", json!([404, 422]),
            json!({"type": "array", "items": {"type": "integer", "minimum": 200, "maximum": 599}})),
        "secret": key("Parameters of which the record keeps only commitments.", json!(["password"]), names()),
        "encoded_slash": key("Whether an encoded slash in a value of the path is let through.", json!(true), json!({"type": "boolean"})),
        "status": key("How to find out what became of one of which nobody knows.",
            json!({"action": "refunds.find", "params": {"reference": "$id"}, "happened": {"status": 200}, "not_happened": {"status": 404}}),
            status()),
        "response": key("The list of the answer that has its members, and which resource each is, or which parameter says how many; values that are vouched for.",
            json!({"items": "$.orders", "resource": "order://all/{id}"}),
            object(&[], json!({
                "trusted": key("Values that upstream itself assigns, by the parameter that later actions of the task may send them as.",
                    json!({"to": "$.contacts[*].email"}),
                    json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string", "pattern": "^\\$"}})),
                "items": key("The path of the list.", json!("$.orders"), json!({"type": "string", "pattern": "^\\$"})),
                "resource": key("The resource of one; `{name}` is its member.", json!("order://all/{id}"),
                    json!({"type": "string", "pattern": "://"})),
                "limit": key("The parameter that says how many rows there may be; rules narrow it.", json!("page_size"),
                    json!({"type": "string"})),
            }))),
        "resolve": key("What can be looked up at upstream before it is decided; conditions read it as `resource.NAME`.",
            json!({"order": {"path": "/orders/{order_id}", "facts": {"owner": {"at": "/customer/id", "type": "string"}}}}),
            json!({"type": "object", "maxProperties": resolve::MOST_LOOKUPS, "propertyNames": {"pattern": "^[a-z_][a-z0-9_]*$"},
                "additionalProperties": lookup()})),
        "query": key("Members of the query: `$params.NAME` or values; a list of names where each is called as its parameter.",
            json!({"maxResults": "$params.limit", "singleEvents": true}), json!({"oneOf": [
                names(), {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}]})),
        "headers": key("Constant headers of its requests, beside those of the service.", json!({"Accept": "application/json"}), headers()),
        "body": key("How the body is written, and where in it each parameter goes; else all are members of a JSON object.",
            json!({"json": {"message": {"subject": "$params.subject"}}}), json!({"oneOf": [
                {"enum": ["json", "form"]},
                {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": {"json": true, "form": {"type": "object"}},
                    "additionalProperties": false}]})),
        "paging": key("Which parameter names the next page of a listing, and where an answer says what it is.",
            json!({"cursor": "page_token", "next": "/nextPageToken", "size": "page_size"}), paging()),
        "stream": key("Whether the body of a request is passed on as it comes; rules then can't read parameters.",
            json!(true), json!({"type": "boolean"})),
        "websocket": key("It opens a WebSocket, on which other actions are messages.", json!({"protocols": ["v2.feed"]}), websocket()),
        "message": key("It is a message on a WebSocket: of which action's, and what stands in it.",
            json!({"of": "feed.open", "match": {"/type": "subscribe"}}),
            object(&["of", "match"], json!({
                "of": key("The action that opens the WebSocket.", json!("feed.open"), json!({"type": "string"})),
                "match": key("Values by which the message is known, by JSON pointer.", json!({"/type": "subscribe"}),
                    json!({"type": "object", "minProperties": 1, "propertyNames": {"pattern": "^/"},
                        "additionalProperties": {"type": ["string", "number", "boolean"]}})),
            }))),
    })
}

/// An action of a database: what it shares with other actions, and one statement.
fn statement() -> Value {
    const SHARED: [&str; 8] =
        ["description", "resource", "effect", "params", "secret", "status", "response", "resolve"];
    let known = action();
    let shared = SHARED.iter().filter_map(|name| Some(((*name).to_owned(), known.get(name)?.clone())));
    let mut all: Map<String, Value> = shared.collect();
    let statements = sql::statements();
    let one: Vec<Value> = statements.iter().map(|(name, _)| json!({"required": [name]})).collect();
    all.extend(statements.map(|(name, kind)| (name.to_owned(), kind)));
    let select = all.get("select").cloned().unwrap_or_default();
    let mut lookup = lookup();
    if let Some(properties) = lookup.pointer_mut("/properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !["method", "path", "query"].contains(&name.as_str()));
        properties.insert("select".to_owned(), select);
    }
    if let (Some(required), Some(place)) = (lookup.get_mut("required"), all.get_mut("resolve")) {
        *required = json!(["select", "facts"]);
        if let Some(each) = place.get_mut("additionalProperties") {
            *each = lookup;
        }
    }
    let mut statement = object(&["resource"], Value::Object(all));
    if let Some(statement) = statement.as_object_mut() {
        statement.insert("oneOf".to_owned(), one.into());
    }
    statement
}

fn headers() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 1024}})
}

fn paging() -> Value {
    let text = || json!({"type": "string"});
    object(
        &[],
        json!({
            "cursor": key("The parameter that takes what an answer says the next page is.", json!("page_token"), text()),
            "next": key("Where the answer says it, a JSON pointer.", json!("/nextPageToken"),
                json!({"type": "string", "pattern": "^/"})),
            "last": key("The member of the last item that the cursor is.", json!("id"), text()),
            "page": key("The parameter that is the number of the page.", json!("page"), text()),
            "offset": key("The parameter that is the number of items to leave out.", json!("offset"), text()),
            "size": key("The parameter that is the most items of a page.", json!("per_page"), text()),
        }),
    )
}

fn websocket() -> Value {
    object(
        &[],
        json!({
            "protocols": key("Subprotocols that may be spoken; no others are offered to upstream.", json!(["v2.feed"]),
                json!({"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"}})),
            "refused": key("What the agent gets in the place of a refused message; else the problem document.",
                json!({"type": "error", "id": "$message/id", "code": "$code", "text": "$detail"}), json!({"type": "object"})),
            "binary": key("Whether upstream may send bytes; an agent never may.", json!(true), json!({"type": "boolean"})),
            "idle": key("For how long nothing may come from either side; 60 seconds where it isn't said.", json!("300s"),
                json!({"type": "string", "pattern": "^([1-9]|[1-9][0-9]|[1-7][0-9][0-9]|8[0-3][0-9]|840)s$"})),
        }),
    )
}

fn lookup() -> Value {
    let fact = object(
        &["at", "type"],
        json!({
            "at": key("Where it stands in the answer, a JSON pointer.", json!("/customer/id"),
                json!({"type": "string", "pattern": "^/"})),
            "type": key("Its type; anything else is unknown.", json!("string"), json!({"enum": FactType::WORDS})),
        }),
    );
    object(
        &["path", "facts"],
        json!({
            "method": key("It is a GET.", json!("GET"), json!({"const": "GET"})),
            "path": key("The path behind `base_url`; `{name}` is a parameter of the action.", json!("/orders/{order_id}"),
                json!({"type": "string", "pattern": "^/"})),
            "query": key("Members of the query: `$params.NAME` of the action, or values.", json!({"expand": "customer"}),
                json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})),
            "facts": key("What the answer says, by name.", json!({"owner": {"at": "/customer/id", "type": "string"}}),
                json!({"type": "object", "minProperties": 1, "maxProperties": resolve::MOST_FACTS,
                    "propertyNames": {"pattern": "^[a-z_][a-z0-9_]*$"}, "additionalProperties": fact})),
            "binds": key("Parameters by which upstream refuses the action where it is about another thing.", json!(["case_id"]),
                json!({"type": "array", "items": {"type": "string"}})),
            "max_bytes": key("The most bytes of the answer that are read.", json!(65536),
                json!({"type": "integer", "minimum": 1, "maximum": 1_048_576})),
            "within": key("How long it may take.", json!("2s"), json!({"type": "string", "pattern": "^([1-9]|10)s$"})),
        }),
    )
}

/// What an answer has to be.
fn answer() -> Value {
    let code = json!({"type": "integer", "minimum": 200, "maximum": 599});
    let place = json!({"type": "string", "pattern": "^/"});
    object(
        &["status"],
        json!({
            "status": key("The status, or any of several.", json!(200),
                json!({"anyOf": [code, {"type": "array", "items": code, "minItems": 1}]})),
            "body": key("Members of the body, by JSON pointer.", json!({"/state": "done"}),
                json!({"type": "object", "propertyNames": {"pattern": "^/"}})),
            "has": key("Places where something stands, whatever it is.", json!("/user/id"),
                json!({"anyOf": [place, {"type": "array", "items": place}]})),
        }),
    )
}

/// How to find out whether the credential of a connection works.
fn check() -> Value {
    let answers = || json!({"anyOf": [answer(), {"type": "array", "items": answer(), "minItems": 1}]});
    object(
        &["action"],
        json!({
            "action": key("The action that is taken; it only reads.", json!("user.read"), json!({"type": "string"})),
            "params": key("Its parameters, as they are sent.", json!({"limit": 1}), json!({"type": "object"})),
            "works": key("After which answers it works; any 2xx where it isn't said.",
                json!({"status": 200, "body": {"/ok": true}}), answers()),
            "refused": key("After which it does not; 401 where it isn't said.", json!({"status": [401, 403]}), answers()),
        }),
    )
}

fn status() -> Value {
    object(
        &["action", "happened", "not_happened"],
        json!({
            "action": key("The action that is asked; it only reads.", json!("refunds.find"), json!({"type": "string"})),
            "params": key("Its parameters: `$params.NAME` of the original, `$id`, or values.", json!({"reference": "$id"}), json!({"type": "object"})),
            "happened": key("The answer after which it has happened.", json!({"status": 200}), answer()),
            "not_happened": key("The answer after which it has not.", json!({"status": 404}), answer()),
            "after": key("How long to wait before asking.", json!("60s"), json!({"type": "string"})),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Service, connection_check, members, oauth, resolve, status};
    use std::collections::BTreeSet;

    fn validator() -> jsonschema::Validator {
        jsonschema::options().offline().build(&schema()).unwrap()
    }

    fn json_of(text: &str) -> Value {
        crate::yaml::to_json(&crate::yaml::parse(text.as_bytes(), None).unwrap().0)
    }

    #[test]
    fn it_has_every_key_of_the_reader_and_no_other() {
        let schema = schema();
        let all = [load::SERVICE_KEYS, mcp::KEYS, sql::KEYS].concat();
        for (at, known) in [
            ("/properties", &*all),
            ("/properties/mcp/properties", mcp::SERVER_KEYS),
            ("/properties/tools/additionalProperties/properties", mcp::TOOL_KEYS),
            ("/properties/prompts/additionalProperties/properties", mcp::TOOL_KEYS),
            ("/properties/resources/properties", mcp::RESOURCES_KEYS),
            ("/$defs/statement/properties", sql::ACTION_KEYS),
            ("/$defs/statement/properties/select/properties", sql::SELECT_KEYS),
            ("/$defs/statement/properties/insert/properties", sql::INSERT_KEYS),
            ("/$defs/statement/properties/update/properties", sql::UPDATE_KEYS),
            ("/$defs/statement/properties/delete/properties", sql::DELETE_KEYS),
            ("/$defs/statement/properties/select/properties/limit/oneOf/1/properties", sql::LIMIT_KEYS),
            ("/$defs/statement/properties/delete/properties/expect_rows/oneOf/1/properties", sql::ROWS_KEYS),
            (
                "/$defs/statement/properties/delete/properties/where/additionalProperties/oneOf/1/properties",
                sql::OPERATORS,
            ),
            ("/$defs/statement/properties/resolve/additionalProperties/properties", resolve::SELECT_KEYS),
            ("/$defs/action/properties", load::ACTION_KEYS),
            ("/$defs/action/properties/websocket/properties", socket::load::OPENING_KEYS),
            ("/$defs/action/properties/message/properties", socket::load::MESSAGE_KEYS),
            ("/$defs/action/properties/status/properties", status::KEYS),
            ("/$defs/action/properties/paging/properties", crate::service::paging::KEYS),
            ("/$defs/action/properties/response/properties", members::KEYS),
            ("/$defs/action/properties/resolve/additionalProperties/properties", resolve::KEYS),
            (
                "/$defs/action/properties/resolve/additionalProperties/properties/facts/additionalProperties/properties",
                resolve::FACT_KEYS,
            ),
            ("/$defs/action/properties/status/properties/happened/properties", status::ANSWER_KEYS),
            ("/properties/check/properties", connection_check::KEYS),
            ("/properties/auth/oneOf/4/properties/exchange/properties", oauth::exchange::KEYS),
        ] {
            let found: BTreeSet<&str> =
                schema.pointer(at).unwrap().as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(found, known.iter().copied().collect(), "{at}");
        }
    }

    #[test]
    fn what_loads_satisfies_it_and_what_has_another_form_does_not() {
        let validator = validator();
        let shop = include_str!("../../../../examples/services/shop.yaml");
        assert!(Service::parse(shop.as_bytes(), None).is_ok() && validator.is_valid(&json_of(shop)));
        let (name, base, auth) = ("service: s", "base_url: https://a.b", "auth: {type: bearer}");
        let action = |more: &str| {
            format!("actions: {{a.b: {{method: GET, path: /x, resource: 'a://b', effect: read, {more}}}}}")
        };
        let good = [name, base, auth, &action("no_effect: [404]")].join("\n");
        assert!(
            Service::parse(good.as_bytes(), None).is_ok() && validator.is_valid(&json_of(&good)),
            "{good}"
        );
        for auth in [
            "auth: {type: hmac, sign: '{path}{timestamp}', digest: sha512, key: hex, encoding: base64, timestamp: iso8601, headers: {X-T: '{timestamp}'}, query: {s: '{signature}'}}",
            "auth: {type: aws_sigv4, region: eu-central-1, service: sqs}",
            "auth: {type: mtls, beside: {type: header, name: X-Key}}",
        ] {
            let good = [name, base, auth, &action("no_effect: [404]")].join("\n");
            assert!(Service::parse(good.as_bytes(), None).is_ok(), "{good}");
            assert!(validator.is_valid(&json_of(&good)), "{good}");
        }
        let open = "a.b: {method: GET, path: /x, resource: 'a://b', effect: read, websocket: {idle: 90s, binary: true}}";
        let said =
            "a.c: {message: {of: a.b, match: {/t: x}}, resource: 'a://b', effect: write, body: {json: {}}}";
        let good = [name, base, auth, &format!("actions: {{{open}, {said}}}")].join("\n");
        assert!(Service::parse(good.as_bytes(), None).is_ok(), "{:?}", Service::parse(good.as_bytes(), None));
        assert!(validator.is_valid(&json_of(&good)), "{good}");
        for lines in [
            ["", base, auth, &action("")],
            [
                name,
                base,
                "auth: {type: hmac, sign: '{path}', headers: {X-S: '{signature}'}, digest: md5}",
                &action(""),
            ],
            [name, base, "auth: {type: aws_sigv4, region: eu-central-1}", &action("")],
            [name, base, "auth: {type: mtls, beside: {type: magic}}", &action("")],
            ["service: S", base, auth, &action("")],
            [name, "base_url: ftp://a.b", auth, &action("")],
            [name, base, "auth: {type: magic}", &action("")],
            [name, base, "auth: {type: header}", &action("")],
            [name, base, "auth: {type: bearer, name: x}", &action("")],
            [name, base, auth, "actions: {a.b: {method: GET}}"],
            [name, base, auth, &action("efect: read")],
            [name, base, auth, &action("no_effect: [1]")],
            [name, base, auth, &action("params: {type: array}")],
            [name, base, auth, &action("status: {action: a.b}")],
            [name, base, auth, &action("stream: 1")],
            [name, base, auth, &action("message: {of: a.b, match: {/t: x}}")],
            [name, base, auth, &action("websocket: {protocol: x}")],
            [name, base, auth, "actions: {a.b: {resource: 'a://b', effect: read, message: {of: a.c}}}"],
            [
                name,
                base,
                auth,
                &action("resolve: {o: {method: POST, path: /o, facts: {a: {at: /a, type: string}}}}"),
            ],
            [name, base, auth, &action("resolve: {o: {path: /o, facts: {}}}")],
            [name, base, auth, &action("resolve: {o: {path: /o, facts: {a: {at: a, type: string}}}}")],
            [name, base, auth, &action("resolve: {o: {path: /o, facts: {a: {at: /a, type: text}}}}")],
            [
                name,
                base,
                auth,
                &action("resolve: {o: {path: /o, within: 11s, facts: {a: {at: /a, type: string}}}}"),
            ],
        ] {
            let text = lines.join("\n");
            assert!(Service::parse(text.as_bytes(), None).is_err(), "the reader takes {text}");
            assert!(!validator.is_valid(&json_of(&text)), "the schema takes {text}");
        }
    }
}
