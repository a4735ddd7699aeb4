//! What a person consented to becomes a grant: the root and its task are made in the transaction that gives the client
//! its first token, and in which the code or request is used up.
//!
//! Invariant: nothing comes to be of a consent that nobody takes up, and of each only once.

use super::{client::Client, code, refresh};
use crate::{app::App, body::OAuthParams, caller::Source, problem::OAuthError};
use placet_core::{
    chain::{Chain, Link},
    client::GrantType,
    id::RequestId,
    secret::KeyedHash,
    time::Timestamp,
    waiting::Consented,
};
use placet_store::{Fault, Tx, authorization_codes, grants, tasks, users, waiting};
use std::sync::Arc;

/// What stands for a consent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    /// An authorization code, by its hash.
    Code(KeyedHash),
    /// A request that a person said yes to.
    Request(RequestId),
}

/// The use of one.
#[derive(Debug, Clone)]
pub(super) struct Redemption {
    token: Token,
    consented: Arc<Consented>,
    refresh: Option<refresh::First>,
}

/// What `client` takes up, and the chain of the grant that will be made; none where the person is gone.
///
/// # Errors
/// Where the grant has ended before it began.
pub(super) async fn taken_up(
    app: &App,
    client: &Client,
    token: Token,
    consented: Consented,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Option<(Redemption, Chain)>, OAuthError> {
    let Some(user) = consented.grant.user else { return Ok(None) };
    let Some(person) = app.store.read(move |q| users::find(q, user)).await? else { return Ok(None) };
    let link = Link {
        grant: Arc::new(consented.grant.clone()),
        agent: Arc::clone(&client.agent),
        registration: Arc::clone(&client.registration.leaf().grant),
        task: Some(Arc::new(consented.task.clone())),
        user: Some(Arc::new(person)),
    };
    let chain = Chain::assemble(vec![link], client.registration.stamps().to_vec(), now)?;
    let refresh = client
        .metadata
        .may_use(GrantType::RefreshToken)
        .then(|| refresh::First::of(app, &consented.grant, refresh::bound_to(client, params), now));
    Ok(Some((Redemption { token, consented: Arc::new(consented), refresh }, chain)))
}

impl Redemption {
    /// Uses it up and makes the grant, its task and the refresh token; `false` where it was used before.
    pub(super) fn commit(&self, tx: &mut Tx<'_>, now: Timestamp) -> Result<bool, Fault> {
        let first = match self.token {
            Token::Code(hash) => authorization_codes::spend(tx, hash, now)?,
            Token::Request(id) => waiting::take(tx, id)?,
        };
        if first {
            tasks::insert(tx, &self.consented.task)?;
            grants::insert(tx, &self.consented.grant)?;
            if let Some(refresh) = &self.refresh {
                refresh.insert(tx)?;
            }
        }
        Ok(first)
    }

    /// The text of the refresh token.
    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh.as_ref().and_then(refresh::First::told)
    }

    /// What the one that came second is told. A code has passed through a browser: that two have it ends the grant. What
    /// a client polls with has been nowhere but with the client, and two of its polls at once are nobody's theft.
    pub(super) async fn refused(&self, app: &Arc<App>, client: &Client, source: Source) -> OAuthError {
        match self.token {
            Token::Code(_) => code::reused(app, client, self.consented.grant.id, source).await,
            Token::Request(_) => OAuthError::new("invalid_grant", "the tokens were given before"),
        }
    }
}
