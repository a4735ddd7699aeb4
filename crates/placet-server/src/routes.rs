//! A router that knows what it routes: the same calls as axum's, and beside it a list of every method and path.
//!
//! The list is what `/openapi.json` is written from and what the tests of authentication walk through, so neither can
//! forget a route.
//!
//! Invariant: there is no other way to add a route.

use crate::app::App;
use axum::{
    Router,
    handler::Handler,
    routing::{self, MethodRouter},
};
use std::sync::Arc;

/// One method of one path, as the router matches it: `{name}` stands for a segment, `{*name}` for the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path's template.
    pub path: &'static str,
    /// The method, in capitals.
    pub method: &'static str,
}

/// A router with the list of its routes.
#[derive(Debug, Default)]
pub struct Routes {
    router: Router<Arc<App>>,
    listed: Vec<Route>,
}

/// The methods of one path.
#[derive(Debug, Default)]
pub struct Methods {
    router: MethodRouter<Arc<App>>,
    listed: Vec<&'static str>,
}

impl Routes {
    /// Without any route.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a path.
    #[must_use]
    pub fn route(mut self, path: &'static str, methods: Methods) -> Self {
        self.listed.extend(methods.listed.into_iter().map(|method| Route { path, method }));
        self.router = self.router.route(path, methods.router);
        self
    }

    /// Every route, in the order in which they were added.
    pub fn listed(&self) -> &[Route] {
        &self.listed
    }

    /// The router.
    pub(crate) fn into_router(self) -> Router<Arc<App>> {
        self.router
    }
}

macro_rules! methods {
    ($($method:ident = $name:literal;)*) => {
        impl Methods {
            $(
                #[doc = concat!("The same with ", $name, ".")]
                #[must_use]
                pub fn $method<H: Handler<T, Arc<App>>, T: 'static>(mut self, handler: H) -> Self {
                    self.listed.push($name);
                    self.router = self.router.$method(handler);
                    self
                }
            )*
        }
        $(
            #[doc = concat!("A path's ", $name, ".")]
            pub fn $method<H: Handler<T, Arc<App>>, T: 'static>(handler: H) -> Methods {
                Methods::default().$method(handler)
            }
        )*
    };
}

methods! {
    get = "GET";
    post = "POST";
    put = "PUT";
    patch = "PATCH";
    delete = "DELETE";
}

/// Any method at all; listed as the five that mean something to upstreams.
pub fn any<H: Handler<T, Arc<App>>, T: 'static>(handler: H) -> Methods {
    Methods { router: routing::any(handler), listed: vec!["GET", "POST", "PUT", "PATCH", "DELETE"] }
}
