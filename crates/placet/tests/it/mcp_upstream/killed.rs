//! A server that is killed while a tool is called: nobody knows what became of that, and nobody calls it again.

use super::{ALL, server::Given, server::Server, state};
use crate::stage::PLACET;
use placet_testkit::{Gate, Reply, Story, until};
use serde_json::json;
use std::thread;

#[test]
fn a_call_that_a_kill_interrupted_is_unknown_and_not_made_again() {
    for stateless in [true, false] {
        let mut story = Story::new(PLACET);
        let server = Server::of(&story, state(stateless, false));
        server.accept(&story);
        let token = server.agent(&story, ALL);
        let write = format!("{}.write", server.service);
        let gate = Gate::shut();
        server.give("write", Given::Other(Reply::status(200).after(&gate)));
        let asking = |story: &Story| {
            let body = json!({"action": write, "params": {"text": "once"}});
            let request = story.client().post("/v1/actions").bearer(&token).json(&body);
            request.header("idempotency-key", "k")
        };
        let request = asking(&story);
        thread::scope(|scope| {
            let waiting = scope.spawn(move || request.try_send().is_err());
            until("the call", || (server.came("tools/call").len() == 1).then_some(()));
            story.server.kill();
            assert!(waiting.join().unwrap(), "it was answered");
        });
        gate.open();
        story.server.restart();
        server.set(|state| drop(state.given.remove("write")));
        for _ in 0..2 {
            let again = asking(&story).send();
            assert!(matches!(again.status, 502 | 504), "{:#}", again.body);
            assert_eq!(again.at("/happened"), "unknown");
        }
        assert_eq!(server.came("tools/call").len(), 1);
        let listed = story.admin().get("/v1/actions?state=unknown").send().expect(200);
        assert_eq!(listed.at("/actions/0/action"), &json!(write));
        // What came later is another request.
        let body = json!({"action": write, "params": {"text": "twice"}});
        story.client().post("/v1/actions").bearer(&token).json(&body).send().expect(200);
        assert_eq!(server.came("tools/call").len(), 2);
    }
}
