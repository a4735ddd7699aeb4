//! Agents by the hundred thousand, made through the store as the API makes them, a few hundred to a transaction.

use crate::{
    load::Load,
    subject::{self, Subject},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    agent::{Agent, AgentState, Level},
    grant::{Authority, Grant, MAX_DEPTH, Origin},
    id::{AgentId, Id, Kind},
    pattern::{ActionPattern, ResourcePattern},
    scope::Scope,
    secret::KeyedHash,
    time::Timestamp,
};
use placet_server::oauth::client::CLIENT_SECRET;
use placet_store::{Fault, Store, agents, grants};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Agents that one transaction makes.
const AT_ONCE: u64 = 500;
const SECRET: &str = "pcs_of_every_agent_of_the_benchmark";

/// The agents made so far.
pub(crate) struct Population {
    store: Store,
    address: SocketAddr,
    secret: KeyedHash,
    made: u64,
}

impl Population {
    pub(crate) fn new(subject: &Subject) -> Self {
        let secret = subject::hashing().hash(CLIENT_SECRET, SECRET.as_bytes());
        Self { store: subject.store.clone(), address: subject.act.address(), secret, made: 0 }
    }

    /// Makes agents until there are `size`.
    pub(crate) async fn grow(&mut self, size: u64) {
        let issuer = format!("http://{}", self.address);
        while self.made < size {
            let numbers = self.made..(self.made + AT_ONCE).min(size);
            self.made = numbers.end;
            let (secret, issuer) = (self.secret, issuer.clone());
            let make = move |tx: &mut placet_store::Tx<'_>| -> Result<(), Fault> {
                for number in numbers.clone() {
                    let (agent, grant) = agent(number, &issuer);
                    agents::insert(tx, &agent, secret, secret)?;
                    grants::insert(tx, &grant)?;
                }
                Ok(())
            };
            self.store.write(make).await.unwrap();
        }
    }

    /// Token requests of `count` agents, spread over all there are.
    pub(crate) fn token_requests(&self, count: u64) -> Load {
        let step = self.made / count;
        let requests = (0..count).map(|index| {
            let basic =
                STANDARD.encode(format!("{}:{SECRET}", id::<placet_core::id::kind::Agent>(index * step)));
            let headers = format!(
                "authorization: Basic {basic}\r\ncontent-type: application/x-www-form-urlencoded\r\n"
            );
            Load::request("/oauth/token", &headers, subject::TOKEN_REQUEST)
        });
        Load::each(self.address, requests.collect(), "200")
    }
}

fn agent(number: u64, issuer: &str) -> (Agent, Grant) {
    let (agent_id, registration): (AgentId, _) = (id(number), id(number));
    let agent = Agent {
        id: agent_id,
        handle: format!("support-{number}"),
        description: "one of many".into(),
        owner: None,
        labels: BTreeMap::from([("team".to_owned(), "support".to_owned())]),
        level: Level::Elevated,
        default_scopes: Vec::new(),
        registration,
        state: AgentState::Active,
        created: made(),
        version: 1,
    };
    let grant = Grant {
        id: registration,
        root: registration,
        parent: None,
        depth: 0,
        agent: agent_id,
        user: None,
        task: None,
        authority: Authority {
            scope: vec![Scope::parse("refunds.create").unwrap()],
            tools: vec![ActionPattern::parse("refunds.create").unwrap()],
            resources: vec![ResourcePattern::everything()],
            connections: None,
            authorization_details: Vec::new(),
            detail_types: Vec::new(),
            audience: vec![issuer.to_owned()],
            not_before: made(),
            expires: Timestamp::MAX,
            max_depth: MAX_DEPTH,
            key: None,
            certificate: None,
        },
        limits: Vec::new(),
        origin: Origin::Registration,
        created: made(),
        revoked: None,
    };
    (agent, grant)
}

fn made() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

/// The id of this number: later ones are greater, as ids begin with the time, and scattered beyond that.
fn id<K: Kind>(number: u64) -> Id<K> {
    let mut entropy = [0; 10];
    entropy[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    Id::from_parts(made().plus(Duration::from_millis(number)), entropy)
}
