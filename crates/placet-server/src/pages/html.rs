//! The frame of every page, and its policy.
//!
//! Invariant: no script but the one of this origin that asks for passkeys, on the pages that need it, and no style but the one
//! sheet; nothing of either is written in a page.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("passkey.js");

/// A page on its way out.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    body: Markup,
    forms: Vec<String>,
    passkeys: bool,
    onward: Option<String>,
    cookies: Vec<HeaderValue>,
}

impl Page {
    /// A page with a form, which may lead to this origin.
    pub(super) fn new(title: &'static str, body: Markup) -> Self {
        Self {
            status: StatusCode::OK,
            title,
            body,
            forms: Vec::new(),
            passkeys: false,
            onward: None,
            cookies: Vec::new(),
        }
    }

    /// A page that says what is wrong, and leads nowhere.
    pub(super) fn problem(status: StatusCode, text: &str) -> Self {
        let body = html! { p role="alert" { (placet_core::consent::visible(text)) } };
        Self { status, ..Self::new("This can’t go on", body) }
    }

    /// The same with a status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same, whose form may also lead to this source: browsers apply a policy to what follows a form, too.
    pub(super) fn leading_to(mut self, source: String) -> Self {
        self.forms.push(source);
        self
    }

    /// The same, which asks the browser for a passkey.
    pub(super) fn with_passkeys(self) -> Self {
        Self { passkeys: true, ..self }
    }

    /// The same, from which the browser goes on by itself. Unlike what follows a form that is no business of its policy.
    pub(super) fn going_on_to(self, url: String) -> Self {
        Self { onward: Some(url), ..self }
    }

    /// The same, with a cookie.
    pub(super) fn with_cookie(mut self, cookie: Option<HeaderValue>) -> Self {
        self.cookies.extend(cookie);
        self
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let forms: String = self.forms.iter().map(|source| format!(" {source}")).collect();
        let script = if self.passkeys { " script-src 'self';" } else { "" };
        let policy = format!(
            "default-src 'none'; style-src 'self';{script} form-action 'self'{forms}; frame-ancestors 'none'; base-uri 'none'"
        );
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) " – Placet" }
                    link rel="stylesheet" href="/style.css";
                    @if let Some(url) = &self.onward { meta http-equiv="refresh" content={ "0; url=" (url) }; }
                    @if self.passkeys { script src="/passkey.js" defer {} }
                }
                body {
                    main {
                        h1 { (self.title) }
                        (self.body)
                    }
                }
            }
        };
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        let mut response =
            (self.status, [(header::CONTENT_TYPE, kind)], document.into_string()).into_response();
        let headers = response.headers_mut();
        let narrowest =
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; form-action 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).unwrap_or(narrowest));
        for cookie in self.cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// `GET /style.css`
pub(super) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, STYLE).into_response()
}

/// `GET /passkey.js`
pub(super) async fn script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, SCRIPT).into_response()
}

/// Sends the browser on by GET (RFC 9110 §15.4.4); after a form never by 307, which would send the form on too.
pub(super) fn see_other(url: &str) -> Response {
    match HeaderValue::from_str(url) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => Page::problem(StatusCode::BAD_REQUEST, "The way back can’t be written.").into_response(),
    }
}
