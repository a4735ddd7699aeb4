//! What hangs below a bound token is bound too: exchanging, delegating, asking again.

use crate::{
    dpop::{Key, bound, nonce, with},
    parties::{ACCESS_TOKEN, DELEGATION, TOKEN_EXCHANGE, exchange, read, stage, why},
    refresh::REFRESH_TOKEN,
};
use placet_testkit::{Agent, Answer, Asking, Client};

/// Asks the token endpoint with a proof of `key`, if any.
fn ask(client: &Client, asking: Asking<'_>, key: Option<&Key>, nonce: &str) -> Answer {
    let url = format!("{}/oauth/token", client.base());
    let request = asking.request(client);
    match key {
        Some(key) => request.header("dpop", key.proof("POST", &url, None, Some(nonce))).send(),
        None => request.send(),
    }
}

fn subject<'a>(agent: &'a Agent, token: &str, kind: &str) -> Asking<'a> {
    agent
        .ask()
        .with("grant_type", TOKEN_EXCHANGE)
        .with("subject_token", token)
        .with("subject_token_type", kind)
}

#[test]
fn a_bound_parent_token_needs_its_proof_and_the_child_stays_bound_to_it() {
    let stage = stage();
    let (parent, child, client) = (stage.agent(), stage.agent(), stage.client());
    let (key, own) = (Key::ed25519(), Key::ed25519());
    let nonce = nonce(&client, &parent);
    let token = bound(&client, &parent, &key, &nonce, "orders.*").text("/access_token");
    let asking =
        || child.ask().with("parent_token", &token).with("task_id", "below").with("scope", "orders.read");
    let refused = ask(&client, asking(), None, &nonce).refused(400, "invalid_grant");
    assert!(why(&refused).contains("proof"));
    ask(&client, asking(), Some(&own), &nonce).refused(400, "invalid_dpop_proof");
    let in_other_words = subject(&child, &token, ACCESS_TOKEN).with("scope", "orders.read");
    ask(&client, in_other_words, None, &nonce).refused(400, "invalid_request");
    let given = ask(&client, asking(), Some(&key), &nonce).expect(200);
    assert_eq!(given.at("/token_type"), "DPoP");
    assert_eq!(read(&given.text("/access_token")).1["cnf"]["jkt"], key.thumbprint());
    // Asking again by the task's label is no way out of it.
    let again = || child.ask().with("task_id", "below");
    ask(&client, again(), None, &nonce).refused(400, "invalid_grant");
    ask(&client, again(), Some(&own), &nonce).refused(400, "invalid_grant");
    assert_eq!(ask(&client, again(), Some(&key), &nonce).expect(200).at("/grant_id"), given.at("/grant_id"));
    // Nor is a refresh token for the grant.
    let below = given.text("/access_token");
    let refresh = subject(&child, &below, ACCESS_TOKEN).with("requested_token_type", REFRESH_TOKEN);
    let refresh = ask(&client, refresh, Some(&key), &nonce).expect(200).text("/access_token");
    let refreshing = || child.ask().with("grant_type", "refresh_token").with("refresh_token", &refresh);
    ask(&client, refreshing(), None, &nonce).refused(400, "invalid_grant");
    ask(&client, refreshing(), Some(&own), &nonce).refused(400, "invalid_grant");
    assert_eq!(ask(&client, refreshing(), Some(&key), &nonce).expect(200).at("/token_type"), "DPoP");
    // Nor is a grandchild.
    let third = stage.agent();
    ask(&client, third.ask().with("parent_token", &below), None, &nonce).refused(400, "invalid_grant");
}

#[test]
fn what_a_bound_parent_delegates_is_bound_to_the_childs_own_key() {
    let stage = stage();
    let (parent, child, client) = (stage.agent(), stage.agent(), stage.client());
    let (key, own, other) = (Key::ed25519(), Key::p256(), Key::p256());
    let nonce = nonce(&client, &parent);
    let token = bound(&client, &parent, &key, &nonce, "orders.*").text("/access_token");
    let delegating = || exchange(&parent, &token, &child.id).with("scope", "orders.read");
    ask(&client, delegating(), None, &nonce).refused(400, "invalid_request");
    ask(&client, delegating(), Some(&own), &nonce).refused(400, "invalid_dpop_proof");
    let delegation = ask(&client, delegating(), Some(&key), &nonce).expect(200).text("/access_token");
    let spend = || subject(&child, &delegation, DELEGATION).with("task_id", "delegated");
    // Without a key the child gets nothing, and the token isn't used up by that.
    ask(&client, spend(), None, &nonce).refused(400, "invalid_request");
    let given = ask(&client, spend(), Some(&own), &nonce).expect(200);
    assert_eq!(read(&given.text("/access_token")).1["cnf"]["jkt"], own.thumbprint());
    let again = || child.ask().with("task_id", "delegated");
    ask(&client, again(), None, &nonce).refused(400, "invalid_grant");
    ask(&client, again(), Some(&other), &nonce).refused(400, "invalid_grant");
    ask(&client, again(), Some(&key), &nonce).refused(400, "invalid_grant");
    ask(&client, again(), Some(&own), &nonce).expect(200);
    let grant = stage.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!(grant.at("/key"), own.thumbprint().as_str());
}

#[test]
fn an_agents_own_bound_token_needs_its_proof_wherever_it_is_presented() {
    let stage = stage();
    let (agent, client) = (stage.agent(), stage.client());
    let (key, own) = (Key::ed25519(), Key::ed25519());
    let nonce = nonce(&client, &agent);
    let token = bound(&client, &agent, &key, &nonce, "orders.*").text("/access_token");
    let less = || subject(&agent, &token, ACCESS_TOKEN).with("scope", "orders.read");
    ask(&client, less(), None, &nonce).refused(400, "invalid_request");
    ask(&client, less(), Some(&own), &nonce).refused(400, "invalid_dpop_proof");
    assert_eq!(ask(&client, less(), Some(&key), &nonce).expect(200).at("/token_type"), "DPoP");
    let refresh = || subject(&agent, &token, ACCESS_TOKEN).with("requested_token_type", REFRESH_TOKEN);
    ask(&client, refresh(), None, &nonce).refused(400, "invalid_request");
    // A client that authenticates may change its key between one refresh and the next (RFC 9449 §5).
    let refresh = ask(&client, refresh(), Some(&key), &nonce).expect(200).text("/access_token");
    let refreshing = agent.ask().with("grant_type", "refresh_token").with("refresh_token", &refresh);
    let next = ask(&client, refreshing, Some(&own), &nonce).expect(200).text("/access_token");
    assert_eq!(read(&next).1["cnf"]["jkt"], own.thumbprint());
    // As the second proof of who acts.
    let plain = agent.token(&client, "orders.read");
    let actor = || {
        subject(&agent, &plain, ACCESS_TOKEN)
            .with("actor_token", &token)
            .with("actor_token_type", ACCESS_TOKEN)
    };
    ask(&client, actor(), None, &nonce).refused(400, "invalid_request");
    ask(&client, actor(), Some(&key), &nonce).expect(200);
    // Introspection and revocation by its bearer.
    let url = format!("{}/oauth/introspect", client.base());
    let introspect = |request: placet_testkit::Request| request.form(&[("token", &token)]).send();
    introspect(client.post("/oauth/introspect").bearer(&token)).expect(401);
    let proof = key.proof("POST", &url, Some(&token), Some(&nonce));
    assert_eq!(
        introspect(with(client.post("/oauth/introspect"), &token, &proof)).expect(200).at("/active"),
        true
    );
    introspect(with(client.post("/oauth/introspect"), &token, &proof)).refused(401, "invalid_dpop_proof");
}
