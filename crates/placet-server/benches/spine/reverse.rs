//! The floor of the proxy door: a bare reverse proxy made of hyper alone, which decides, records and scrubs nothing and
//! passes bodies on as they come.
//!
//! The proxy door has no mode without its record: an intent is durable before anything is sent, also for reads. So
//! there is one ratio here, with the record.

use crate::load::Load;
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// What is sent, below the base URL.
pub(crate) const PATH: &str = "/customers/42/orders/1/refunds";
/// Its body.
pub(crate) const BODY: &str = r#"{"amount":80,"currency":"USD"}"#;

type Forwarder = Client<HttpConnector, Incoming>;

/// Requests through a bare reverse proxy in front of `upstream`.
pub(crate) async fn start(upstream: SocketAddr) -> Load {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Forwarder =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(128).build(connector);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let client = client.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| forward(client.clone(), upstream, request));
                let connection = hyper::server::conn::http1::Builder::new();
                // The load ends by closing its connections.
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let load = Load::new(address, PATH, "content-type: application/json\r\n", BODY, "200");
    load.once().await;
    load
}

async fn forward(
    client: Forwarder,
    upstream: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<BoxBody<hyper::body::Bytes, hyper::Error>>, hyper_util::client::legacy::Error> {
    let path = request.uri().path_and_query().unwrap().as_str();
    *request.uri_mut() = format!("http://{upstream}{path}").parse().unwrap();
    request.headers_mut().insert("authorization", "Bearer upstream-secret-0123456789".parse().unwrap());
    Ok(client.request(request).await?.map(|body| body.boxed()))
}
