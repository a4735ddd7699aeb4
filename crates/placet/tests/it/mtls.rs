//! Mutual TLS (RFC 8705) over real TLS: who a certificate says that a client is, and tokens that are bound to one.

mod bound;
mod certified;
mod header;
mod renewed;
pub(crate) mod world;

use placet_testkit::{Agent, Answer, Client};

/// Asks for a token with an id alone, as whoever the connection says.
fn ask(client: &Client, agent: &Agent) -> Answer {
    ask_for(client, agent, &[("grant_type", "client_credentials"), ("scope", "orders.*")])
}

fn ask_for(client: &Client, agent: &Agent, form: &[(&str, &str)]) -> Answer {
    let form: Vec<(&str, &str)> =
        [("client_id", agent.id.as_str())].into_iter().chain(form.iter().copied()).collect();
    client.post("/oauth/token").form(&form).send()
}
