//! DPoP on two nodes of one installation: a proof that one has taken is refused by the other, and a nonce of one is known
//! to the other.

use crate::{
    dpop::{Key, with},
    stage::PLACET,
};
use placet_testkit::{Client, Server, Story, until};
use serde_json::json;

const ISSUER: &str = "https://placet.example";

#[test]
fn a_proof_is_good_once_on_all_nodes() {
    let a = Story::on(Server::first_node(PLACET));
    let mut b = a.server.another_node();
    let mut a = a;
    // Both are known by the name of the proxy in front of them.
    for server in [&mut a.server, &mut b] {
        server.flags(&["--issuer", ISSUER]);
        server.restart();
    }
    let agent = a.agent("on-two-nodes").register();
    a.rules("on-two-nodes", "  - {name: notes, allow: [notes.write]}\n").expect(201);
    let nodes: [Client; 2] = [a.client(), b.client()];
    let key = Key::ed25519();
    let asking = |node: usize, proof: &str| {
        agent.ask().with("scope", "notes.write").request(&nodes[node]).header("dpop", proof).send()
    };
    let fresh = {
        let stale = key.proof("POST", &format!("{ISSUER}/oauth/token"), None, Some("AAAA"));
        asking(0, &stale).refused(400, "use_dpop_nonce").header("dpop-nonce").unwrap().to_owned()
    };
    let proof = key.proof("POST", &format!("{ISSUER}/oauth/token"), None, Some(&fresh));
    let token = asking(1, &proof).expect(200).text("/access_token");
    for node in [0, 1] {
        asking(node, &proof).refused(400, "invalid_dpop_proof");
    }
    // Many at once, on both.
    let proof = key.proof("POST", &format!("{ISSUER}/oauth/token"), None, None);
    let answers = placet_testkit::together(8, |at| asking(at % 2, &proof).status);
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    // An action that was performed through one node can't be had again through the other.
    let body =
        json!({"service": "shop", "action": "notes.write", "params": {"customer_id": "nodes", "text": "x"}});
    let acting =
        |node: usize, proof: &str| with(nodes[node].post("/v1/actions"), &token, proof).json(&body).send();
    let performed = until("the second node to know the policy", || {
        let proof = key.proof("POST", &format!("{ISSUER}/v1/actions"), Some(&token), Some(&fresh));
        (acting(0, &proof).status == 200).then_some(proof)
    });
    acting(1, &performed).refused(401, "proof_invalid");
    acting(0, &performed).refused(401, "proof_invalid");
    let unused = key.proof("POST", &format!("{ISSUER}/v1/actions"), Some(&token), Some(&fresh));
    let answers = placet_testkit::together(6, |at| acting(at % 2, &unused).status);
    assert_eq!(answers.iter().filter(|status| **status != 401).count(), 1, "{answers:?}");
}
