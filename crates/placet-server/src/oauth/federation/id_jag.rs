//! Enterprise-managed authorization (draft-ietf-oauth-identity-assertion-authz-grant): the identity provider's
//! administrator has decided that an agent may act for a person, in place of that person's consent.
//!
//! What comes of it is a root as people make them: for that person, within the agent's registration, what the person's
//! roles may delegate, and what the assertion and the issuer's own bound leave. Its task is the agent's own, as nobody
//! has read what the agent says that it is for. There is no refresh token: when the grant ends, the provider is asked
//! again.
//!
//! Invariant: the person is the one that the issuer's document maps the assertion to, as it is when the grant is made.

use super::{
    super::{
        client::Client,
        issue::{self, MAX_DESCRIPTION},
        token,
    },
    invalid, people,
};
use crate::{
    api::{
        detail_types,
        roots::{self, Unfit, Wanted},
        scopes,
    },
    app::App,
    body::OAuthParams,
    problem::{OAuthError, Problem},
};
use placet_core::{
    chain::{Chain, Link},
    client::assertion::Once,
    federation::{self, assertion::IdJag},
    grant::{self, Authority, Exceeds, Grant, cover::meet},
    id::{TrustedIssuerId, UserId},
    jose::Jws,
    refusal::Code,
    scope::Scope,
    task::{self, Task, TaskOrigin},
    time::Timestamp,
    user::{self, User},
};
use placet_store::{
    Fault, Query, Tx, grants, tasks,
    trusted_issuers::{self, TrustedIssuer},
    users,
};
use std::{slice, sync::Arc, time::Duration};

/// What an assertion gives leave for, that has been looked at.
#[derive(Debug)]
pub struct Leave {
    says: IdJag,
    issuer: TrustedIssuerId,
    named: Named,
    /// Known audiences.
    audience: Vec<String>,
    /// What the issuer may give at most.
    most: Option<Vec<Scope>>,
    lasts: Duration,
    /// What the issuer says that the task is for, where it is trusted to.
    purpose: Option<String>,
}

/// Whom the issuer names, and how that is a user here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    subject: String,
    by_name: bool,
}

impl Leave {
    /// What has to be remembered of the assertion.
    pub(super) fn once(&self) -> &Once {
        &self.says.once
    }
}

/// A root that is made in the transaction that uses the assertion up.
#[derive(Debug, Clone)]
pub(in crate::oauth) struct Rooted {
    grant: Grant,
    task: Task,
    issuer: TrustedIssuerId,
    named: Named,
    /// The person as the root was worked out for.
    user: (UserId, u64),
}

impl Rooted {
    /// Whether the issuer still means that person, and that person's roles are the same.
    pub(in crate::oauth) fn holds(&self, tx: &mut Tx<'_>) -> Result<bool, Fault> {
        let person = meant(tx, self.issuer, &self.named)?;
        Ok(person.is_some_and(|person| (person.id, person.version) == self.user))
    }

    /// Stores the root and its task.
    pub(in crate::oauth) fn make(&self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        tasks::insert(tx, &self.task)?;
        grants::insert(tx, &self.grant)
    }
}

/// Reads what a trusted issuer has signed for this client.
pub(super) async fn read(
    app: &App,
    client: &Client,
    jws: &Jws<'_>,
    issuer: &TrustedIssuer,
    params: &OAuthParams,
) -> Result<Leave, OAuthError> {
    let people = people(issuer)?;
    let not_good = |error: &dyn std::fmt::Display| invalid(format!("the assertion is not good: {error}"));
    let says =
        federation::assertion::check_id_jag(jws, &client.id, &app.issuer, params.key(), app.clock.now())
            .map_err(|error| not_good(&error))?;
    if !federation::holds(&people.claims, jws.unverified()) {
        return Err(invalid(
            "the assertion lacks a claim that is required of its issuer here (`placet issuer show`)",
        ));
    }
    let subject = people.named(jws.unverified()).ok_or_else(|| {
        invalid(format!(
            "the assertion's `{}` names nobody: it is missing, no text, or not verified",
            people.claim
        ))
    })?;
    let audience = issue::named_audience(app, says.resource.clone()).await?.map_err(|unknown| {
        let what = format!("the assertion's `resource`: no resource server is registered as {unknown}");
        OAuthError::new("invalid_target", what)
    })?;
    if params.has("parent_token") || params.has("grant_id") || params.has("parent_task_id") {
        let what = "an assertion about a person is authority of its own: leave `parent_token`, `parent_task_id` and `grant_id` out";
        return Err(OAuthError::new("invalid_request", what));
    }
    let purpose = people.purpose(jws.unverified()).map(str::to_owned);
    if purpose.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        let what = format!("the assertion's purpose has more than {MAX_DESCRIPTION} characters");
        return Err(invalid(what));
    }
    if let (Some(said), Some(asked)) = (&purpose, params.text("task_description")?)
        && asked != said
    {
        let what = "the assertion says what the task is for: leave `task_description` out";
        return Err(OAuthError::new("invalid_request", what));
    }
    Ok(Leave {
        says,
        issuer: issuer.id,
        named: Named { subject: subject.to_owned(), by_name: people.by_name },
        audience,
        most: people.scope.clone(),
        lasts: people.lasts(),
        purpose,
    })
}

/// The root that comes of it, and the chain of its grant.
///
/// # Errors
/// `invalid_grant` where it means nobody here; `invalid_scope`, `invalid_target`, `invalid_authorization_details`.
pub(in crate::oauth) async fn presented(
    app: &Arc<App>,
    client: &Arc<Client>,
    leave: &Leave,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<(Rooted, Chain), OAuthError> {
    let (issuer, named) = (leave.issuer, leave.named.clone());
    let person = app.store.read(move |q| meant(q, issuer, &named)).await?.ok_or_else(|| {
        invalid("the assertion is about somebody who is no user here: an administrator maps them with `placet issuer user`")
    })?;
    let label = params.text("task_id")?.map(str::to_owned);
    // Nobody has read what an agent says that it is for.
    let (origin, description) = match &leave.purpose {
        Some(purpose) => (TaskOrigin::Issuer, Some(purpose.clone())),
        None => (TaskOrigin::Agent, params.text("task_description")?.map(str::to_owned)),
    };
    let wanted = wanted(app, client, leave, &person, params, now).await?;
    let (inner, known, user) = (Arc::clone(app), Arc::clone(client), person.id);
    let taken = label.clone();
    let drafted = app
        .store
        .read(move |q| {
            if let Some(label) = &taken
                && tasks::by_label(q, known.agent.id, Some(user), label)?.is_some()
            {
                return Ok(None);
            }
            let registration = &known.registration.leaf().grant;
            roots::root_of(&inner, q, (&known.agent, registration), (Some(user), None), &wanted, now)
                .map(Some)
        })
        .await
        .map_err(|problem: Problem| match problem.code() {
            Code::NotPermitted => OAuthError::new("invalid_scope", problem.detail()),
            _ => problem.into(),
        })?;
    let root = drafted
        .ok_or_else(|| {
            let what =
                "the task_id was used for this person before: what an assertion gives is a task of its own";
            OAuthError::new("invalid_request", what)
        })?
        .map_err(|unfit: Unfit| OAuthError::new(unfit.oauth(), unfit.to_string()))?;
    let (mut grant, task) = roots::with_task(root, label.as_deref(), description.as_deref(), now);
    grant.authority.key = leave.says.key;
    let task = Task { origin, ..task };
    let link = Link {
        grant: Arc::new(grant.clone()),
        agent: Arc::clone(&client.agent),
        registration: Arc::clone(&client.registration.leaf().grant),
        task: Some(Arc::new(task.clone())),
        user: Some(Arc::new(person.clone())),
    };
    let chain = Chain::assemble(vec![link], client.registration.stamps().to_vec(), now)?;
    let user = (person.id, person.version);
    Ok((Rooted { grant, task, issuer, named: leave.named.clone(), user }, chain))
}

/// What is asked of what the assertion leaves.
async fn wanted(
    app: &App,
    client: &Client,
    leave: &Leave,
    person: &User,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Wanted, OAuthError> {
    if params.text("task_id")?.is_some_and(|label| label.starts_with("tsk_") || !task::is_label(label)) {
        let what = "`task_id` has 1 to 128 of A-Z a-z 0-9 . _ ~ : - and begins not with `tsk_`";
        return Err(OAuthError::new("invalid_request", what));
    }
    let registry = scopes::registry(app).await?;
    let mut request = token::asked(app, params).await?;
    request.scope = issue::expanded(app, request.scope).await?;
    request.audience = issue::audience(app, params, true).await?;
    let mut bound: Authority = client.registration.leaf().grant.authority.clone();
    if let Some(most) = &leave.most {
        bound.scope = meet(&registry.expand(most), &bound.scope, Scope::covers);
    }
    if let Some(scope) = &leave.says.scope {
        bound.scope = meet(&registry.expand(scope), &bound.scope, Scope::covers);
    }
    bound.audience.clone_from(&leave.audience);
    if let Some(details) = &leave.says.authorization_details {
        let details = detail_types::judged(app, Some(details.clone())).await?.map_err(|wrong| {
            OAuthError::new("invalid_authorization_details", format!("the assertion: {wrong}"))
        })?;
        let within = grant::Request { authorization_details: details, ..grant::Request::default() };
        bound = bound.narrow(&within).map_err(exceeds)?;
    }
    // Nobody is asked here: an entry of a declared type is what the assertion says, or less.
    bound.detail_types.clear();
    let within = bound.narrow(&request).map_err(exceeds)?;
    let scope = match (request.scope, &leave.says.scope) {
        (Some(asked), _) => asked,
        (None, Some(_)) => bound.scope,
        // A missing scope grants only the agent's defaults (DESIGN §3).
        (None, None) => meet(&registry.expand(&client.agent.default_scopes), &bound.scope, Scope::covers),
    };
    // What was not asked for by name is left out where the person can't pass it on.
    let asked = params.has("scope");
    let may = |scope: &Scope| asked || registry.beyond(&person.roles, slice::from_ref(scope)).is_empty();
    let scope: Vec<Scope> = scope.into_iter().filter(may).collect();
    if scope.is_empty() {
        let what = "nothing is left of what the assertion gives: ask its issuer for a `scope` that the agent's registration has, or name one";
        return Err(OAuthError::new("invalid_scope", what));
    }
    Ok(Wanted {
        agent: client.agent.id.to_string(),
        scope: Some(scope),
        tools: request.tools,
        resources: request.resources,
        connections: None,
        limits: Vec::new(),
        expires: Some(now.plus(leave.lasts)),
        authorization_details: (!within.authorization_details.is_empty())
            .then_some(within.authorization_details),
        audience: Some(within.audience),
        max_depth: None,
    })
}

/// Whom the issuer means.
fn meant(q: &mut impl Query, issuer: TrustedIssuerId, named: &Named) -> Result<Option<User>, Fault> {
    if let Some(user) = trusted_issuers::user(q, issuer, &named.subject)? {
        return users::find(q, user);
    }
    if named.by_name && user::is_name(&named.subject) {
        return Ok(users::by_name(q, &named.subject)?.map(|(user, _)| user));
    }
    Ok(None)
}

fn exceeds(error: Exceeds) -> OAuthError {
    let beyond = format!("beyond what the assertion and the agent's registration leave: {error}");
    OAuthError::new(error.oauth(), beyond)
}
