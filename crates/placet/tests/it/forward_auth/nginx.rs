//! A real nginx with the configuration of `docs/forward-auth.md`, before an upstream that takes nothing but what was
//! allowed.

use super::{ALL, Front, front};
use crate::stage::story;
use placet_testkit::{Nginx, Proxy, Story, Upstream, Wire, fresh, together};
use serde_json::json;
use std::net::SocketAddr;

/// nginx between agents and an upstream.
struct Site {
    nginx: Nginx,
    upstream: Upstream,
    front: Front,
    /// What nginx's questions go through.
    asked: Proxy,
}

fn site(story: &Story) -> Site {
    let documented = include_str!("../../../../../docs/forward-auth.md");
    let configuration = documented.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
    let (front, upstream) = (front(story), Upstream::with_header("placet-decision", "allow"));
    let placet: SocketAddr = story.client().base().strip_prefix("http://").unwrap().parse().unwrap();
    let asked = Proxy::before(placet);
    let replace = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let text = replace(configuration.to_owned(), "127.0.0.1:7447", &format!("127.0.0.1:{}", asked.port()));
    let text = replace(text, "127.0.0.1:8080", upstream.base().strip_prefix("http://").unwrap());
    let text = replace(text, "listen 8000", "listen LISTEN");
    let text = replace(text, "CREDENTIALS", &front.credentials());
    Site { nginx: Nginx::start(&text), upstream, front, asked }
}

#[test]
fn nginx_passes_on_what_was_allowed_and_nothing_of_the_agents_credential() {
    let story = story();
    let site = site(story);
    let (agent, token) = site.front.agent(story, ALL);
    let target = "/customers/1/orders/a%20b";
    let answer = site
        .nginx
        .client()
        .get(target)
        .bearer(&token)
        .header("placet-agent", "agt_forged")
        .header("placet-user", "usr_forged")
        .header("placet-decision", "deny")
        .header("x-other", "stays")
        .send()
        .expect(200);
    assert_eq!(answer.at("/path"), &json!(target), "the upstream's own answer");
    let seen = site.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("placet-agent"), Some(agent.id.as_str()));
    assert_eq!(seen[0].header("placet-action-name"), Some("orders.read"));
    assert_eq!((seen[0].header("placet-user"), seen[0].header("authorization")), (None, None));
    assert_eq!(
        (seen[0].header("x-other"), seen[0].header("placet-decision")),
        (Some("stays"), Some("allow"))
    );
    assert_eq!(seen[0].headers.get_all("placet-decision").iter().count(), 1);
    let secret = site.front.credentials();
    let values = seen[0].headers.values().chain(answer.headers.values());
    assert!(!values.into_iter().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(&secret)));
    // It asks anew each time.
    let revoke = format!("/v1/agents/{}/suspend", agent.id);
    story.admin().post(&revoke).send();
    assert_eq!(site.nginx.client().get(target).bearer(&token).send().status, 401);
    assert_eq!(site.upstream.seen().len(), 1);
}

#[test]
fn nginx_tells_the_agent_why_not() {
    let story = story();
    let site = site(story);
    let rules = "  - {name: r, allow: [orders.read]}\n  - {name: d, allow: [orders.delete], approve: {by: [\"role:approver\"]}}\n";
    let (_, token) = site.front.agent(story, rules);
    let client = site.nginx.client();
    let nobody = client.get("/customers/1/orders/7").send();
    assert_eq!((nobody.status, nobody.at("/code")), (401, &json!("token_invalid")));
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"placet\""));
    assert_eq!(nobody.headers.get_all("www-authenticate").iter().count(), 1);
    let wrong = client.get("/customers/1/orders/7").bearer("a.b.c").send();
    assert!(wrong.header("www-authenticate").unwrap().contains("invalid_token"));
    let denied = client.get("/customers/1/orders").bearer(&token).send();
    assert_eq!((denied.status, denied.at("/code")), (403, &json!("no_rule")));
    assert_eq!(denied.header("content-type"), Some("application/problem+json"));
    assert!(denied.text("/id").starts_with("dec_"));
    let held = client.delete("/customers/1/orders/7").bearer(&token).send();
    assert_eq!((held.status, held.at("/code")), (403, &json!("approval_required")));
    let approval = held.header("placet-approval").unwrap().to_owned();
    assert_eq!(held.at("/approval/id"), &json!(approval));
    let verdict = json!({"verdict": "approve"});
    story.approver().post(&format!("/v1/approvals/{approval}")).json(&verdict).send().expect(200);
    client
        .delete("/customers/1/orders/7")
        .bearer(&token)
        .header("placet-approval", &approval)
        .send()
        .expect(200);
    let again =
        client.delete("/customers/1/orders/7").bearer(&token).header("placet-approval", &approval).send();
    assert_eq!((again.status, again.at("/code")), (403, &json!("approval_used")));
    assert_eq!(site.upstream.seen().len(), 1);
}

#[test]
fn nginx_passes_nothing_on_that_it_reads_otherwise_than_the_upstream() {
    let story = story();
    let site = site(story);
    // Order 7 may be read, and nothing else.
    let rules = "  - {name: r, allow: [orders.read], on: [\"order://customer:1/7\"]}\n";
    let (_, token) = site.front.agent(story, rules);
    let ask = |line: &str, more: &str| {
        let mut wire = Wire::connect(&site.nginx.base());
        wire.send(format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{more}\r\n"
        ));
        let answer = wire.rest();
        answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).unwrap_or(0)
    };
    assert_eq!(ask("GET /customers/1/orders/7", ""), 200);
    for target in [
        "/customers/1/orders/7/../8",
        "/customers/1/orders/./8",
        "/customers/1/orders/%2e%2e/orders/8",
        "/customers/1/orders/7%2f..%2f8",
        "/customers/1//orders/7",
        "//customers/1/orders/7",
        "/customers/1/orders/7;/8",
        "/customers/1/orders/7%3B",
        "/customers/1/orders/%37",
        "/customers/1/orders/%2537",
        "/customers/1/orders/7\\8",
        "/customers/1/orders/7%5C8",
        "/Customers/1/orders/7",
        "/customers/1/orders/8",
        "/customers/1/orders/7/",
        "/customers/1/orders/7?admin=1",
        "http://x/customers/1/orders/8",
        "/placet",
    ] {
        let status = ask(&format!("GET {target}"), "");
        assert!(matches!(status, 403 | 404), "{target}: {status}");
    }
    // Headers in which other proxies say it are the agent's here, and change nothing; what renames the method does.
    let forged = "x-forwarded-method: GET\r\nx-forwarded-uri: /customers/1/orders/7\r\nx-original-uri: /customers/1/orders/7\r\nx-original-method: GET\r\n";
    assert_eq!(ask("GET /customers/1/orders/8", forged), 403);
    assert_eq!(ask("DELETE /customers/1/orders/7", forged), 403);
    assert_eq!(ask("GET /customers/1/orders/7", forged), 200);
    assert_eq!(ask("GET /customers/1/orders/7", "x-http-method-override: DELETE\r\n"), 403);
    assert_eq!(
        ask("GET /customers/1/orders/7", "content-length: 2\r\n\r\n{}"),
        403,
        "a body that nobody saw"
    );
    let paths: Vec<String> = site.upstream.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, vec!["/customers/1/orders/7"; 2]);
}

#[test]
fn nginx_asks_over_connections_that_stay_open_and_fails_closed() {
    let story = story();
    let site = site(story);
    let rules = "  - {name: ten, allow: [orders.read], limits: [{count: 60, per: day}]}\n";
    let (_, token) = site.front.agent(story, rules);
    let path = format!("/customers/{}/orders/7", fresh("c"));
    let statuses = together(4, |_| {
        (0..20).map(|_| site.nginx.client().get(&path).bearer(&token).send().status).collect::<Vec<_>>()
    });
    let allowed = statuses.iter().flatten().filter(|status| **status == 200).count();
    assert_eq!((allowed, site.upstream.seen().len()), (60, 60), "each was charged, once");
    assert!(statuses.iter().flatten().all(|status| matches!(status, 200 | 403)));
    assert!(site.asked.accepted() <= 8, "80 questions over {} connections", site.asked.accepted());
    site.asked.cut();
    site.asked.refuse();
    let status = site.nginx.client().get(&path).bearer(&token).send().status;
    assert!((500..600).contains(&status), "nobody to ask: {status}");
    assert_eq!(site.upstream.seen().len(), 60);
}
