//! The upstream of the demo: a small real shop over HTTP, which answers nobody without its secret.
//!
//! Invariant: what it answers is independent of Placet: it counts what it saw, so that the demo can show that the
//! secret arrived and that what was refused did not.

use crate::exit::Failure;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::task::JoinHandle;

/// A running shop.
#[derive(Debug)]
pub(crate) struct Shop {
    base_url: String,
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Seen {
    expected: String,
    with_secret: AtomicUsize,
    without_secret: AtomicUsize,
    refunds: AtomicUsize,
}

impl Shop {
    /// Starts it at `address`; it wants `secret` as a bearer token.
    ///
    /// # Errors
    /// A sentence, where no port can be had.
    pub(crate) async fn start(secret: &str, address: SocketAddr) -> Result<Self, Failure> {
        let seen = Arc::new(Seen {
            expected: format!("Bearer {secret}"),
            with_secret: AtomicUsize::new(0),
            without_secret: AtomicUsize::new(0),
            refunds: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/customers/{customer}/orders", get(list))
            .route("/customers/{customer}/orders/{order}", get(read))
            .route("/customers/{customer}/orders/{order}/refunds", post(refund))
            .with_state(Arc::clone(&seen));
        let listener = crate::serve::bind(address, "--shop").await?;
        let address = listener.local_addr().map_err(|error| Failure::start(error.to_string()))?;
        let serving = tokio::spawn(async { _ = axum::serve(listener, router).await });
        Ok(Self { base_url: format!("http://{address}"), seen, serving })
    }

    /// Where it answers.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// How many requests came with the secret.
    pub(crate) fn with_secret(&self) -> usize {
        self.seen.with_secret.load(Ordering::SeqCst)
    }

    /// How many requests came without it.
    pub(crate) fn without_secret(&self) -> usize {
        self.seen.without_secret.load(Ordering::SeqCst)
    }

    /// How many refunds were paid.
    pub(crate) fn refunds(&self) -> usize {
        self.seen.refunds.load(Ordering::SeqCst)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Seen {
    /// Lets requests with the secret through.
    fn enter(&self, headers: &HeaderMap) -> Result<(), Response> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given == Some(&self.expected) {
            self.with_secret.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        self.without_secret.fetch_add(1, Ordering::SeqCst);
        Err((StatusCode::UNAUTHORIZED, Json(json!({"error": "this shop wants its secret"}))).into_response())
    }
}

async fn list(
    State(seen): State<Arc<Seen>>,
    headers: HeaderMap,
    Path(customer): Path<String>,
) -> Result<Json<Value>, Response> {
    seen.enter(&headers)?;
    Ok(Json(
        json!({"customer": customer, "orders": [{"order": "1", "total": "640.00"}, {"order": "2", "total": "55.50"}]}),
    ))
}

async fn read(
    State(seen): State<Arc<Seen>>,
    headers: HeaderMap,
    Path((customer, order)): Path<(String, String)>,
) -> Result<Json<Value>, Response> {
    seen.enter(&headers)?;
    Ok(Json(
        json!({"customer": customer, "order": order, "item": "kettle", "total": "640.00", "currency": "USD"}),
    ))
}

async fn refund(
    State(seen): State<Arc<Seen>>,
    headers: HeaderMap,
    Path((customer, order)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Result<(StatusCode, Json<Value>), Response> {
    seen.enter(&headers)?;
    let number = seen.refunds.fetch_add(1, Ordering::SeqCst) + 1;
    let amount = body.get("amount").cloned().unwrap_or_default();
    let paid =
        json!({"refund": format!("r-{number}"), "customer": customer, "order": order, "amount": amount});
    Ok((StatusCode::CREATED, Json(paid)))
}
