//! Statements of a service on a real PostgreSQL server: what they do, what they refuse to, and what is said when it isn't
//! known.

mod against_an_oracle;
mod login;
mod sessions;
mod statements;

use placet_core::call::Auth;
use placet_core::pattern::ActionName;
use placet_core::secret::Secret;
use placet_core::service::Service;
use placet_gateway::{Gateway, GatewayConfig, ResponseBody, Route, UpstreamFailure};
use placet_testkit::{Cluster, Database};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// A gateway before a database, and the service that is defined on it.
pub(crate) struct Desk {
    pub(crate) gateway: Gateway,
    pub(crate) service: Service,
    pub(crate) route: Route,
    pub(crate) auth: Auth,
    pub(crate) password: &'static str,
    pub(crate) within: Duration,
}

impl Desk {
    /// The definition says `BASE` for where the database is.
    pub(crate) fn new(definition: &str, base: &str) -> Self {
        Self::through(definition, base, GatewayConfig::default())
    }

    pub(crate) fn through(definition: &str, base: &str, config: GatewayConfig) -> Self {
        let text = definition.replace("BASE", base);
        let (service, _) = Service::parse(text.as_bytes(), None)
            .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            .unwrap();
        let route = Route::new(service.origin(), service.allow_private()).unwrap();
        let auth = Auth::Basic { username: Some("postgres".to_owned()) };
        let gateway = Gateway::new(config).unwrap();
        Self { gateway, service, route, auth, password: "any", within: Duration::from_secs(20) }
    }

    /// Takes an action: the status and the body, or why there is none.
    pub(crate) async fn act(&self, action: &str, params: Value) -> Result<(u16, Value), UpstreamFailure> {
        let declared = self.service.action(&ActionName::parse(action).unwrap()).unwrap();
        let Value::Object(params) = params else { unreachable!() };
        declared.describe(&params).unwrap();
        let call = self.service.render(declared, &params).unwrap();
        let deadline = Instant::now() + self.within;
        let secret = Secret::new(self.password);
        let response = self.gateway.perform(call, &self.route, &self.auth, &secret, deadline).await?;
        match response.body {
            ResponseBody::Json(body) => Ok((response.status, body)),
            other => unreachable!("{other:?}"),
        }
    }
}

/// Where a database is, without TLS, perhaps at another port.
pub(crate) fn base(database: &Database, port: Option<u16>) -> String {
    let url = database.url();
    let name = url.rsplit('/').next().unwrap().to_owned();
    let port = port.unwrap_or_else(|| Cluster::of_this_process().address().port());
    format!("postgres://127.0.0.1:{port}/{name}?sslmode=disable")
}
