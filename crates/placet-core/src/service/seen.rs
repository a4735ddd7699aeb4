//! A request that reaches its upstream as it came: a proxy in front of the upstream asks about it, and passes on the
//! very bytes that it was asked with.
//!
//! The doors that send anything render what they send. Here nothing is rendered, so whatever two programs could read
//! differently is refused: besides what [`check_target`] refuses, what proxies and frameworks rewrite on their way
//! (path parameters behind `;`, encoded slashes, backslashes, percent signs).
//!
//! Invariant: what is described is what is passed on. Rendered anew it has the same path, byte for byte, and the same
//! members in its query; and no part of it that the action would be described by was left unread.

use super::{Placed, Service, ServiceAction, check_target, normal_path};
use crate::call::Method;
use serde_json::{Map, Value};

/// What of a request's body whoever asks has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenBody<'b> {
    /// Whether there is one isn't known.
    Unseen,
    /// There is one, and it isn't known, or not all of it.
    Unread,
    /// All of it; empty where there is none.
    Whole(&'b [u8]),
}

/// Why a request is no action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Its method and path name none.
    Absent,
    /// It is not in the one form, or not all of it was seen. Holds no value of a parameter.
    Invalid(String),
}

impl Service {
    /// The action that a request carries out which reaches the upstream as it came, and its parameters. `target` is its
    /// path and query as they came, the path of `base_url` among them; actions that `keep` refuses are told like those
    /// that there are not.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn seen(
        &self,
        method: Method,
        target: &str,
        body: SeenBody<'_>,
        keep: impl Fn(&ServiceAction) -> bool,
    ) -> Result<(&ServiceAction, Map<String, Value>), Unfit> {
        // Before anything that is installed is looked at.
        check_target(target)
            .and_then(|()| one_form(target))
            .map_err(|problem| Unfit::Invalid(format!("the target is refused: {problem}")))?;
        let below = target.strip_prefix(self.base_path()).ok_or(Unfit::Absent)?;
        let (path, query) = match below.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (below, None),
        };
        let whole = match body {
            SeenBody::Whole(bytes) if !bytes.is_empty() => Some(bytes),
            _ => None,
        };
        let place = |path: &str| self.place_all(method, path).keep(&keep).pick(whole);
        let Some(placed) = place(path) else {
            let detail = "the path is refused: percent-encode everything in its values but letters, digits, `-`, `.`, `_` and `~`";
            let otherwise = place(&normal_path(path)).map(|_| Unfit::Invalid(detail.to_owned()));
            return Err(otherwise.unwrap_or(Unfit::Absent));
        };
        let action = placed.action();
        if action.websocket().is_some() {
            let detail =
                format!("`{}` opens a WebSocket, of whose messages nothing is seen here", action.name());
            return Err(Unfit::Invalid(format!("{detail}: open it at the proxy door")));
        }
        let params = params(&placed, query, body, whole)?;
        // Of parameters that say the same, only the ones that are written in the one way.
        let call = self.render(action, &params).map_err(|error| Unfit::Invalid(error.to_string()))?;
        if !same_target(&call.target, target) {
            return Err(Unfit::Invalid("the target is refused: it could be read in two ways".to_owned()));
        }
        Ok((action, params))
    }
}

/// The parameters of a placed request.
fn params(
    placed: &Placed<'_>,
    query: Option<&str>,
    body: SeenBody<'_>,
    whole: Option<&[u8]>,
) -> Result<Map<String, Value>, Unfit> {
    let action = placed.action();
    let unread = |what: &str| {
        Unfit::Invalid(format!(
            "`{}` {what}: ask where the body is seen (ext_authz with its body, the proxy door, `/v1/decisions`)",
            action.name()
        ))
    };
    let described = match body {
        // It is declared to be no part of what is decided.
        _ if action.stream() => None,
        SeenBody::Whole(_) => whole,
        SeenBody::Unread => {
            return Err(unread("is not streamed, and the body of the request isn't seen here"));
        }
        SeenBody::Unseen if !action.method().parameters_in_query() => {
            return Err(unread("may have a body, and none is seen here"));
        }
        SeenBody::Unseen => None,
    };
    placed.params(query, described).map_err(|error| Unfit::Invalid(error.to_string()))
}

/// Refuses what is rewritten between a proxy and its upstream in one way or another.
fn one_form(target: &str) -> Result<(), &'static str> {
    let path = target.split('?').next().unwrap_or_default();
    if path.contains(';') {
        return Err("the path has a `;`, behind which some look for parameters of a segment");
    }
    for encoded in ["%2F", "%5C", "%25", "%3B", "%3F", "%23"] {
        if path.contains(encoded) {
            return Err(
                "the path has an encoded `/`, `\\`, `%`, `;`, `?` or `#`, which some decode on the way",
            );
        }
    }
    Ok(())
}

/// Whether two targets have the same path and the same members in their queries, in whatever order.
fn same_target(one: &str, other: &str) -> bool {
    let parts = |target: &str| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut members: Vec<String> =
            query.split('&').filter(|member| !member.is_empty()).map(str::to_owned).collect();
        members.sort_unstable();
        (path.to_owned(), members)
    };
    parts(one) == parts(other)
}

#[cfg(test)]
mod tests;
