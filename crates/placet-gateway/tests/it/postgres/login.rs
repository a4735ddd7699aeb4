//! Who is logged in to, where, and over what.

use super::{Desk, base};
use placet_core::call::Auth;
use placet_gateway::{AddressClass, CertificateDer, GatewayConfig, NotSent, Resolve, UpstreamFailure};
use placet_testkit::{Certified, Cluster};
use serde_json::json;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

const DEFINITION: &str = "service: notes
base_url: BASE
auth: {type: basic}
tables: {public.notes: {word: text}}
actions:
  all: {resource: 'note://all', select: {table: public.notes, columns: [word]}}
";

/// Every name is this machine.
#[derive(Debug)]
struct Here;

impl Resolve for Here {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]) })
    }
}

fn why(failure: UpstreamFailure) -> NotSent {
    match failure {
        UpstreamFailure::NotSent { reason, .. } => reason,
        other => unreachable!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_goes_over_tls_that_is_checked() {
    let server = Certified::start();
    let (cluster, root) = (&server.cluster, CertificateDer::from(server.authority.clone()));
    let database = cluster.database();
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    database.run(
        "CREATE TABLE notes (word text); INSERT INTO notes VALUES ('canary-pass-7'), ('plain');
        CREATE ROLE agent LOGIN PASSWORD 'canary-pass-7'; GRANT SELECT ON notes TO agent",
    );
    let port = cluster.address().port();
    let desk = |host: &str, mode: &str, roots: Vec<CertificateDer<'static>>| {
        let config = GatewayConfig { extra_roots: roots, ..GatewayConfig::default() };
        let mut desk = Desk::through(DEFINITION, &format!("postgres://{host}:{port}/{name}{mode}"), config);
        desk.auth = Auth::Basic { username: Some("agent".to_owned()) };
        desk.password = "canary-pass-7";
        desk
    };
    let good = desk("localhost", "", vec![root.clone()]);
    let (status, body) = good.act("all", json!({})).await.unwrap();
    // What would be the password is taken out of the rows.
    assert_eq!(status, 200);
    assert!(body.to_string().contains("plain") && !body.to_string().contains("canary-pass-7"), "{body}");
    let mut wrong = desk("localhost", "", vec![root.clone()]);
    wrong.password = "another";
    let refused = wrong.act("all", json!({})).await.unwrap_err();
    assert!(!refused.to_string().contains("another"));
    assert_eq!(why(refused), NotSent::Refused { sqlstate: "28P01".to_owned() });
    let stranger = desk("localhost", "", vec![]);
    assert_eq!(why(stranger.act("all", json!({})).await.unwrap_err()), NotSent::Certificate);
    let misnamed = desk("127.0.0.1", "", vec![root]);
    assert_eq!(why(misnamed.act("all", json!({})).await.unwrap_err()), NotSent::Certificate);
    // The server lets nobody in without.
    let plain = desk("127.0.0.1", "?sslmode=disable", vec![]);
    assert_eq!(
        why(plain.act("all", json!({})).await.unwrap_err()),
        NotSent::Refused { sqlstate: "28000".to_owned() }
    );
    server.cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_logged_in_to() {
    let database = Cluster::of_this_process().database();
    let base = base(&database, None).replace("?sslmode=disable", "");
    let desk = Desk::new(DEFINITION, &base);
    assert_eq!(why(desk.act("all", json!({})).await.unwrap_err()), NotSent::Tls);
    let nowhere = Desk::new(DEFINITION, "postgres://127.0.0.1:1/none?sslmode=disable");
    assert_eq!(why(nowhere.act("all", json!({})).await.unwrap_err()), NotSent::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_to_public_addresses_only() {
    let port = Cluster::of_this_process().address().port();
    let config = || GatewayConfig { resolver: Some(Arc::new(Here)), ..GatewayConfig::default() };
    let desk = Desk::through(DEFINITION, &format!("postgres://db.example.com:{port}/x"), config());
    assert_eq!(
        why(desk.act("all", json!({})).await.unwrap_err()),
        NotSent::Forbidden(AddressClass::Loopback)
    );
}
