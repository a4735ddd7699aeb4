//! The definitions that come with Placet, against stand-ins of their upstreams: each action is taken at the action door,
//! and what arrives is compared with what the provider documents; then the same request comes by the proxy door.
//!
//! `services/NAME.txt`: how the credential comes, further headers, then a block for each action: its parameters, the
//! request, its body. `page` has an answer between the parameters of a listing and the request for its next page.

use crate::stage::story;
use placet_core::{pattern::ActionName, service::Service};
use placet_testkit::{Reply, SECRET, Seen, Story, Upstream, fresh};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SITE: &str = "/site";

struct Table {
    name: &'static str,
    auth: (String, String),
    headers: Vec<(String, String)>,
    rows: Vec<Row>,
    page: Option<(Row, Value)>,
}

/// What an action is sent as.
struct Row {
    action: String,
    params: Value,
    method: String,
    target: String,
    body: String,
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once(": ").unwrap();
    (name.to_owned(), value.replace("SECRET", SECRET))
}

fn row(head: &str, request: &str, body: Option<&str>) -> Row {
    let (action, params) = head.split_once(' ').unwrap();
    let (method, target) = request.split_once(' ').unwrap();
    Row {
        action: action.to_owned(),
        params: serde_json::from_str(params).unwrap_or_else(|_| panic!("{head}")),
        method: method.to_owned(),
        target: target.to_owned(),
        body: body.unwrap_or_default().to_owned(),
    }
}

fn table(name: &'static str, text: &str) -> Table {
    let mut table =
        Table { name, auth: Default::default(), headers: Vec::new(), rows: Vec::new(), page: None };
    for block in text.split("\n\n") {
        let lines: Vec<&str> = block.lines().collect();
        match lines.as_slice() {
            [first, rest @ ..] if first.starts_with("auth: ") => {
                table.auth = pair(first.strip_prefix("auth: ").unwrap());
                let headers = rest.iter().map(|line| pair(line.strip_prefix("header: ").unwrap()));
                table.headers = headers.collect();
            }
            [head, answer, request, body @ ..] if head.starts_with("page ") => {
                let asked = row(head.strip_prefix("page ").unwrap(), request, body.first().copied());
                table.page = Some((asked, serde_json::from_str(answer).unwrap()));
            }
            [head, request, body @ ..] => table.rows.push(row(head, request, body.first().copied())),
            _ => panic!("{block}"),
        }
    }
    table
}

/// Puts the definition in force: the service, the token of an agent that may do all that it has, and a connection.
fn begin(story: &Story, table: &Table, upstream: &Upstream) -> (Service, String, String) {
    let base = format!("{}{SITE}", upstream.base());
    let added =
        story.server.cli().args(["service", "add", table.name, "--base-url", &base]).output().unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let service = story.admin().get(&format!("/v1/services/{}", table.name)).send().expect(200);
    let (service, _) = Service::parse(service.text("/source").as_bytes(), None).unwrap();
    let mut auth = json!({"type": service.auth().kind(), "secret": SECRET});
    if service.auth().kind() == "basic" {
        auth["username"] = "ada@example.com".into();
    }
    let connection = fresh(table.name);
    story.connection(&connection, table.name, &json!({"auth": auth})).expect(201);
    let all: BTreeSet<&str> = service.actions().map(|action| action.name().as_str()).collect();
    let told: BTreeSet<&str> = table.rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(all, told, "every action has its row");
    let pattern = format!("{}.**", table.name);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!([pattern]))
        .with("resource_access", json!(["**"]))
        .register();
    story.rules(&agent.handle, &format!("  - {{name: all, allow: [\"{pattern}\"]}}\n")).expect(201);
    let token = agent.token(&story.client(), &pattern);
    (service, token, connection)
}

fn is_as_documented(table: &Table, row: &Row, seen: &Seen, door: &str) {
    let query = if seen.query.is_empty() { String::new() } else { format!("?{}", seen.query) };
    let target = format!("{}{query}", seen.path.strip_prefix(SITE).unwrap());
    let about = format!("{} at the {door} door", row.action);
    assert_eq!((&seen.method, &target), (&row.method, &row.target), "{about}");
    assert_eq!(std::str::from_utf8(&seen.body).unwrap(), row.body, "{about}");
    assert!(seen.authorized, "{about}");
    for (name, value) in &table.headers {
        assert_eq!(seen.header(name), Some(value.as_str()), "{about}");
    }
    assert_eq!(seen.header("content-type"), content_type(row), "{about}");
}

/// What the body's type is: a form where it is no JSON.
fn content_type(row: &Row) -> Option<&'static str> {
    let json = serde_json::from_str::<Value>(&row.body).is_ok();
    (!row.body.is_empty()).then_some(if json {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    })
}

fn is_sent_as_documented(name: &'static str, text: &str) {
    let (story, table) = (story(), table(name, text));
    let upstream = Upstream::with_header(&table.auth.0, &table.auth.1);
    let (service, token, connection) = begin(story, &table, &upstream);
    let act = |action: &str, params: &Value| {
        let body = json!({"action": action, "params": params, "connection": connection});
        story.client().post("/v1/actions").bearer(&token).json(&body).send().expect(200)
    };
    for row in &table.rows {
        let name = ActionName::parse(&row.action).unwrap();
        let members = service.action(&name).unwrap().members();
        let items = members.map(|members| members.items().to_string());
        upstream.reply(SITE, Reply::json(200, &nothing_at(items.as_deref())));
        act(&row.action, &row.params);
        is_as_documented(&table, row, upstream.seen().last().unwrap(), "action");
        let before = upstream.seen().len();
        let path = format!("/proxy/{connection}{}", row.target);
        let request = story.client().request(&row.method, &path).bearer(&token);
        let request = match content_type(row) {
            Some(kind) => request.body(kind, row.body.clone()),
            None => request,
        };
        let answer = request.send().expect(200);
        let id = answer.header("placet-action").unwrap();
        let entry = story.client().get(&format!("/v1/actions/{id}")).bearer(&token).send().expect(200);
        assert_eq!(entry.at("/action"), row.action.as_str());
        assert_eq!(upstream.seen().len(), before + 1);
        is_as_documented(&table, row, upstream.seen().last().unwrap(), "proxy");
    }
    if let Some((next, answer)) = &table.page {
        turns_the_page(story, &table, &upstream, &token, (next, answer), &act);
    }
    assert_eq!(upstream.unauthorized(), 0);
}

/// The answer of a listing that has no members: where they would stand is an empty list.
fn nothing_at(items: Option<&str>) -> Value {
    let Some(items) = items else { return json!({"ok": true}) };
    items
        .split('.')
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .fold(json!([]), |inner, name| json!({name: inner}))
}

/// An agent that knows the catalog alone asks for the next page, and asks as the provider documents it.
fn turns_the_page(
    story: &Story,
    table: &Table,
    upstream: &Upstream,
    token: &str,
    (next, answer): (&Row, &Value),
    act: &dyn Fn(&str, &Value) -> placet_testkit::Answer,
) {
    let catalog = story.client().get("/v1/catalog?limit=500").bearer(token).send().expect(200);
    let listed = catalog.at("/actions").as_array().unwrap();
    let paging = &listed.iter().find(|one| one["action"] == *next.action).unwrap()["paging"];
    upstream.reply(SITE, Reply::json(200, answer));
    let came = act(&next.action, &next.params);
    let body = came.at("/result/body");
    assert_eq!(body, answer);
    let text = |key: &str| paging[key].as_str();
    let mut params = next.params.clone();
    if let Some(param) = text("cursor") {
        params[param] = match (text("next"), text("last")) {
            (Some(pointer), None) => body.pointer(pointer).unwrap().clone(),
            (None, Some(member)) => body["data"].as_array().unwrap().last().unwrap()[member].clone(),
            _ => panic!("{paging}"),
        };
    } else if let Some(param) = text("page") {
        params[param] = json!(2);
    } else {
        params[text("offset").unwrap()] = params[text("size").unwrap()].clone();
    }
    act(&next.action, &params);
    is_as_documented(table, next, upstream.seen().last().unwrap(), "action");
}

macro_rules! shipped {
    ($($test:ident $name:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            is_sent_as_documented($name, include_str!(concat!("services/", $name, ".txt")));
        }
    )*};
}

shipped! {
    github_is_sent_what_it_documents "github",
    gitlab_is_sent_what_it_documents "gitlab",
    gmail_is_sent_what_it_documents "gmail",
    google_calendar_is_sent_what_it_documents "gcal",
    google_drive_is_sent_what_it_documents "gdrive",
    slack_is_sent_what_it_documents "slack",
    notion_is_sent_what_it_documents "notion",
    linear_is_sent_what_it_documents "linear",
    stripe_is_sent_what_it_documents "stripe",
    jira_is_sent_what_it_documents "jira",
    microsoft_graph_is_sent_what_it_documents "outlook",
    an_ordinary_interface_is_sent_what_it_expects "http",
}

fn run(story: &Story, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = story.server.cli().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const DOCUMENT: &str = r##"openapi: 3.1.0
info: {title: Import Test}
servers: [{url: /relative}]
components: {securitySchemes: {token: {type: http, scheme: bearer}}}
paths:
  /people/{person}/notes:
    parameters: [{name: person, in: path, required: true, schema: {type: string}}]
    post:
      tags: [notes]
      operationId: addNote
      parameters:
        - {name: notify, in: query, schema: {type: boolean}}
        - {name: X-Trace, in: header, schema: {type: string}}
      requestBody:
        required: true
        content: {application/json: {schema: {type: object, properties: {text: {type: string, maxLength: 5}}, required: [text]}}}
"##;

#[test]
fn an_openapi_document_becomes_a_service_that_agents_use() {
    let story = story();
    let upstream = Upstream::start(SECRET);
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    let (document, definition) = (file("openapi.yaml"), file("service.yaml"));
    std::fs::write(&document, DOCUMENT).unwrap();
    let refused = run(story, &["service", "import", &document]);
    assert_eq!(refused.0, Some(1));
    assert!(refused.2.contains("--base-url"), "{}", refused.2);
    let import = ["service", "import", &document, "--base-url", upstream.base(), "--out", &definition];
    let made = run(story, &import);
    assert_eq!(made.0, Some(0), "{}", made.2);
    assert!(made.2.contains("POST /people/{person}/notes: `X-Trace` is left out"), "{}", made.2);
    assert!(
        std::fs::read_to_string(&definition).unwrap().contains("# - POST /people/{person}/notes: `X-Trace`")
    );
    assert_eq!(run(story, &import).0, Some(2), "what is there is not replaced");
    let printed = run(story, &["service", "import", &document, "--base-url", upstream.base(), "--json"]);
    let printed: Value = serde_json::from_str(&printed.1).unwrap();
    assert_eq!((&printed["service"], &printed["actions"]), (&json!("import_test"), &json!(1)));
    let checked = run(story, &["service", "check", &definition]);
    assert_eq!(checked.0, Some(0), "{}", checked.1);
    assert_eq!(run(story, &["service", "apply", &definition]).0, Some(0));

    story.connection("import-test", "import_test", &json!({})).expect(201);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!(["import_test.**"]))
        .with("resource_access", json!(["import_test://**"]))
        .register();
    let rules = "  - {name: ada only, allow: [import_test.notes.add_note], on: [\"import_test://api/people/ada/**\"]}\n";
    story.rules(&agent.handle, rules).expect(201);
    let token = agent.token(&story.client(), "import_test.**");
    let act = |params: Value| {
        let body = json!({"action": "import_test.notes.add_note", "params": params});
        story.client().post("/v1/actions").bearer(&token).json(&body).send()
    };
    act(json!({"person": "ada", "text": "hi", "notify": true})).expect(200);
    let seen = upstream.seen();
    assert_eq!((seen[0].path.as_str(), seen[0].query.as_str()), ("/people/ada/notes", "notify=true"));
    assert_eq!(seen[0].body, r#"{"text":"hi"}"#);
    act(json!({"person": "ada", "text": "too long"})).refused(400, "params_invalid");
    act(json!({"person": "bo", "text": "hi"})).refused(403, "no_rule");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_check_says_where_and_how_bad_it_is() {
    let story = story();
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name).display().to_string();
        std::fs::write(&path, text).unwrap();
        path
    };
    let service = |headers: &str| {
        format!(
            "service: s\nbase_url: https://x.example\nauth: {{type: bearer}}\nactions:\n  s.a:\n    method: GET\n    path: /a\n    resource: s://a\n    effect: read\n{headers}"
        )
    };
    let (good, bad) =
        (file("good.yaml", &service("")), file("bad.yaml", &service("    headers: {X-Api-Key: abc}\n")));
    let policy = "policy: p\napplies_to: {agents: [\"*\"]}\nrules:\n  - {name: r, allow: [other.action]}\n";
    let policy = file("policy.yaml", policy);
    let checked = run(story, &["service", "check", &good]);
    assert_eq!(checked.0, Some(0), "{}", checked.1);
    let checked = run(story, &["service", "check", &good, "--policy", &policy]);
    assert_eq!(checked.0, Some(0), "a warning");
    assert!(checked.1.contains("no rule names an action at `x.example`"), "{}", checked.1);
    assert!(checked.1.contains("good.yaml:2:11") && checked.1.contains('^'), "{}", checked.1);
    let checked = run(story, &["service", "check", &bad, "--json"]);
    assert_eq!(checked.0, Some(1));
    let said: Value = serde_json::from_str(&checked.1).unwrap();
    assert_eq!((&said["valid"], &said["diagnostics"][0]["severity"]), (&json!(false), &json!("error")));
    assert_eq!(said["diagnostics"][0]["position"], json!({"line": 10, "column": 15}));
    let twice = run(story, &["service", "check", &good, &file("again.yaml", &service(""))]);
    assert_eq!(twice.0, Some(1), "{}", twice.1);
    assert!(twice.1.contains("names are unique"), "{}", twice.1);
}

#[test]
fn the_catalog_is_listed_and_printed_and_a_placeholder_is_not_put_in_force() {
    let story = story();
    let listed = run(story, &["service", "catalog"]);
    let listed: Value = serde_json::from_str(&listed.1).unwrap();
    assert_eq!(listed["services"].as_array().unwrap().len(), 12);
    let printed = run(story, &["service", "catalog", "stripe"]);
    assert!(printed.1.contains("  stripe.refunds.create:\n"), "{}", printed.1);
    for (arguments, says) in [
        (&["service", "add", "jira"][..], "--base-url"),
        (&["service", "add", "githib"], "did you mean `github`?"),
        (&["service", "add", "github", "slack", "--name", "x"], "one service at a time"),
    ] {
        let refused = run(story, arguments);
        assert_eq!(refused.0, Some(2), "{arguments:?}");
        assert!(refused.2.contains(says), "{}", refused.2);
    }
    let own = ["service", "add", "http", "--name", "crm", "--base-url", "https://crm.example/api"];
    assert_eq!(run(story, &own).0, Some(0));
    let service = story.admin().get("/v1/services/crm").send().expect(200);
    assert!(service.text("/source").contains("  crm.top.read:\n"));
}
