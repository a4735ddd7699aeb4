//! Whether an MCP server takes the credential of a connection: it is asked for its tools with it.

use super::{server::Server, state};
use crate::stage::story;
use placet_testkit::{Answer, Reply, SECRET, Story, fresh};
use serde_json::json;

fn check(story: &Story, connection: &str) -> Answer {
    story.admin().post(&format!("/v1/connections/{connection}/check")).send()
}

#[test]
fn a_server_that_takes_no_credential_parks_its_connection_until_it_does() {
    let story = story();
    for stateless in [true, false] {
        let server = Server::of(story, state(stateless, false));
        let name = format!("{}-main", server.service);
        let told = |result: &str, state: &str| {
            let checked = check(story, &name).expect(200);
            let said = (checked.text("/check/result"), checked.text("/check/action"), checked.text("/state"));
            assert_eq!(
                said,
                (result.to_owned(), "tools/list".to_owned(), state.to_owned()),
                "{:#}",
                checked.body
            );
        };
        told("works", "active");
        let last = server.upstream.seen_at("/mcp").into_iter().last().unwrap();
        assert_eq!(last.json()["method"], "tools/list");
        assert_eq!(last.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
        // One that is down, or that won't say, refuses nobody.
        for answer in [Reply::status(503), Reply::status(403), Reply::hang_up(), Reply::json(200, &json!({}))]
        {
            server.upstream.reply("/mcp", answer);
            told("unclear", "active");
        }
        server.upstream.reply("/mcp", Reply::bytes(401, "text/plain", "who is it"));
        told("refused", "needs_attention");
        let again = std::sync::Arc::clone(&server.state);
        server.upstream.answer("/mcp", move |seen| super::server::answer(&mut again.lock().unwrap(), seen));
        told("works", "active");
        let id = story.admin().get(&format!("/v1/connections/{name}")).send().expect(200).text("/id");
        let mut record = story.record();
        record.retain(|entry| entry["type"] == "connection.checked" && entry["connection"] == id.as_str());
        let said: Vec<_> = record.iter().map(|entry| (&entry["action"], &entry["outcome"])).collect();
        assert_eq!(said.last(), Some(&(&json!("tools/list"), &json!("active"))), "{said:?}");
        assert!(said.contains(&(&json!("tools/list"), &json!("needs_attention"))), "{said:?}");
    }
}

#[test]
fn a_secret_that_does_not_work_makes_no_connection_to_a_server() {
    let story = story();
    let server = Server::of(story, state(true, false));
    server.upstream.reply("/mcp", Reply::status(401));
    let name = fresh("tried");
    let refused =
        story.connection(&name, &server.service, &json!({"check": true})).refused(400, "request_invalid");
    assert!(refused.text("/detail").contains("does not take the credential"), "{:#}", refused.body);
    story.admin().get(&format!("/v1/connections/{name}")).send().refused(404, "not_found");
}
