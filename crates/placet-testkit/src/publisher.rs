//! A place where others publish documents: clients' metadata, key sets. Each page is what a test says, however wrong.
//!
//! Invariant: what was asked for is counted, also where there is nothing.

use crate::RUNTIME;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

/// What stands at a path.
#[derive(Debug, Clone)]
struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

#[derive(Debug, Default)]
struct Pages {
    pages: HashMap<String, Page>,
    asked: HashMap<String, usize>,
}

/// The place.
#[derive(Debug)]
pub struct Publisher {
    base: String,
    pages: Arc<Mutex<Pages>>,
}

impl Publisher {
    /// A place at this machine where nothing is published yet.
    ///
    /// # Panics
    /// Where no port is free.
    pub fn start() -> Self {
        let pages = Arc::new(Mutex::new(Pages::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&pages));
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        RUNTIME.spawn(async move { axum::serve(listener, router).await });
        Self { base, pages }
    }

    /// The URL of a path (`/client`).
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Publishes JSON that nobody may keep; answers its URL.
    pub fn json(&self, path: &str, body: &Value) -> String {
        let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
        self.page(path, 200, &headers, &body.to_string())
    }

    /// Publishes anything; answers its URL.
    pub fn page(&self, path: &str, status: u16, headers: &[(&str, &str)], body: &str) -> String {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let page = Page { status, headers: headers.iter().map(own).collect(), body: body.to_owned() };
        self.pages.lock().unwrap().pages.insert(path.to_owned(), page);
        self.url(path)
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.pages.lock().unwrap().asked.get(path).copied().unwrap_or_default()
    }
}

async fn answer(State(pages): State<Arc<Mutex<Pages>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let page = {
        let mut pages = pages.lock().unwrap();
        *pages.asked.entry(path.clone()).or_default() += 1;
        pages.pages.get(&path).cloned()
    };
    let page = page.unwrap_or(Page { status: 404, headers: Vec::new(), body: String::new() });
    let mut response = Response::builder().status(page.status);
    for (name, value) in &page.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(page.body)).unwrap()
}
