//! What a new grant permits, and whom its tokens may be shown to.
//!
//! Invariant: a grant never reaches more than what it hangs under, as that is now, nor more than its holder's own
//! registration. A registration reaches Placet and every registered resource server; whoever asks names which.

use super::{
    super::{client::Client, protected_resource},
    base::Found,
};
use crate::{app::App, body::OAuthParams, problem::OAuthError, rules::Rules};
use placet_core::{
    grant::{Authority, Exceeds, Origin, Request, cover::meet},
    pattern::{ActionPattern, ResourcePattern},
    scope::Scope,
    time::Timestamp,
};
use placet_store::{Fault, resource_servers};

/// What the new grant permits.
pub(super) fn authority(
    app: &App,
    client: &Client,
    found: &Found,
    request: &Request,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Authority, OAuthError> {
    let leaf = &found.base.chain.leaf().grant;
    let mut above = found.base.chain.effective();
    if found.base.origin == Origin::Delegation && !found.again {
        // The parent has shown its key when it handed this on; from here on it is the child's.
        above = above.handed_on(params.offered()).map_err(exceeds)?;
    }
    let registration = &client.registration.leaf().grant.authority;
    let mut request = request.clone();
    request.bound = found.base.bound;
    let audience = request.audience.take().map(|asked| of_placet_as(app, &above, asked));
    if leaf.origin == Origin::Registration {
        // A missing scope grants only the agent's defaults.
        request.scope.get_or_insert_with(|| client.agent.default_scopes.clone());
    }
    if !found.again && !found.is_child {
        request.expires = Some(now.plus(super::OWN_TASK_LIFETIME));
    }
    // What is asked for has to be within the holder's own registration as well, and is told by name.
    registration.narrow(&request).map_err(exceeds)?;
    if found.is_child && !found.again {
        request.scope.get_or_insert_with(|| meet(&above.scope, &registration.scope, Scope::covers));
        request.tools.get_or_insert_with(|| meet(&above.tools, &registration.tools, ActionPattern::covers));
        request
            .resources
            .get_or_insert_with(|| meet(&above.resources, &registration.resources, ResourcePattern::covers));
        if request.authorization_details.is_none() && !above.authorization_details.is_empty() {
            request.authorization_details = Some(above.details_for(registration).map_err(exceeds)?);
        }
    }
    if let Some(ends) = found.base.ends {
        request.expires = Some(request.expires.map_or(ends, |asked| asked.min(ends)));
    }
    let open = leaf.origin == Origin::Registration;
    if !open {
        request.audience.clone_from(&audience);
    }
    let mut child = above.narrow(&request).map_err(exceeds)?;
    if let Some(audience) = audience.filter(|_| open) {
        child.audience = audience;
    }
    within_level(&app.rules.load(), client, &request)?;
    child.must_be_shown(params.shown()).map_err(exceeds)?;
    Ok(child)
}

/// Placet has had several issuers, which are one audience: the one that the parent names is meant.
fn of_placet_as(app: &App, above: &Authority, asked: Vec<String>) -> Vec<String> {
    let issuers = app.issuers.load();
    let is_placet = |name: &String| issuers.contains(name);
    let named = above.audience.iter().find(|name| is_placet(name));
    let mut audience = Vec::with_capacity(asked.len());
    for name in asked {
        let name = if is_placet(&name) { named.cloned().unwrap_or(name) } else { name };
        if !audience.contains(&name) {
            audience.push(name);
        }
    }
    audience
}

/// The audience that a request names, by `resource` (RFC 8707 §2) and, where `with_audience`, by `audience` (RFC 8693
/// §2.1): Placet's own issuer, a resource server's audience, or its name.
///
/// # Errors
/// `invalid_target` for what is neither.
pub async fn audience(
    app: &App,
    params: &OAuthParams,
    with_audience: bool,
) -> Result<Option<Vec<String>>, OAuthError> {
    let mut asked = params.list("resource")?.unwrap_or_default();
    if let Some(other) = asked.iter().find(|name| !is_resource(name)) {
        let other = other.escape_debug();
        let description =
            format!("`resource`: `{other}` is no absolute URI without a fragment (RFC 8707 §2)");
        return Err(OAuthError::new("invalid_target", description));
    }
    if with_audience {
        asked.extend(params.list("audience")?.unwrap_or_default());
    }
    if asked.is_empty() {
        return Ok(None);
    }
    named_audience(app, asked).await?.map(Some).map_err(|unknown| {
        OAuthError::new("invalid_target", format!("no resource server is registered as {unknown}"))
    })
}

/// The audiences that `names` mean: Placet's issuer, or a registered resource server by audience or name; the inner
/// error is the one that means nothing.
pub(crate) async fn named_audience(
    app: &App,
    names: Vec<String>,
) -> Result<Result<Vec<String>, String>, Fault> {
    let mut audience: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let found = if app.issuers.load().contains(&name) {
            Some(name.clone())
        } else if protected_resource::is_own(&app.issuer, &name) {
            Some(app.issuer.clone())
        } else {
            let sought = name.clone();
            let server = app.store.read(move |q| resource_servers::by_name_or_audience(q, &sought)).await?;
            if let Some(server) = server.as_ref().filter(|server| server.status_list) {
                app.status_lists.wanted_by(&server.audience);
            }
            server.map(|server| server.audience)
        };
        let Some(found) = found else { return Ok(Err(format!("`{}`", name.escape_debug()))) };
        if !audience.contains(&found) {
            audience.push(found);
        }
    }
    Ok(Ok(audience))
}

/// Whether it can be the `resource` of a request: an absolute URI without a fragment.
fn is_resource(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

pub(super) fn exceeds(error: Exceeds) -> OAuthError {
    OAuthError::new(error.oauth(), error.to_string())
}

/// Refuses single actions whose effect is above the agent's level; patterns are judged per action.
///
/// # Errors
/// `invalid_scope`, naming them.
pub(crate) fn within_level(rules: &Rules, client: &Client, request: &Request) -> Result<(), OAuthError> {
    let scopes = request.scope.iter().flatten().filter_map(|scope| scope.action().single());
    let tools = request.tools.iter().flatten().filter_map(ActionPattern::single);
    let above: Vec<String> = scopes
        .chain(tools)
        .filter(|name| {
            rules.declaring(name).is_some_and(|(_, action)| !client.agent.level.permits(action.effect()))
        })
        .map(|name| name.as_str().to_owned())
        .collect();
    if above.is_empty() {
        return Ok(());
    }
    Err(OAuthError::new("invalid_scope", format!("above the agent's max_scope_level: {}", above.join(", "))))
}
