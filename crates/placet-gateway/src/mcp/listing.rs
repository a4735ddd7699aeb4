//! What servers say that they have: their tools, and their prompts where they have any.
//!
//! Invariant: a list is read to its end or not at all, and is no longer than what is kept of one.

use super::{Body, Peer, message};
use crate::failure::UpstreamFailure;
use crate::gateway::Gateway;
use crate::inject::Credential;
use crate::response;
use crate::route::Route;
use placet_core::call::UpstreamCall;
use placet_core::service::MAX_ACTIONS;
use serde_json::{Map, Value};
use tokio::time::Instant;

/// How many pages of a list are read.
const MAX_PAGES: usize = 100;
/// How much is said of tools or prompts, in bytes of all pages.
const MAX_LISTED: usize = 4 * 1024 * 1024;

/// What a server says that it has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// Its tools.
    pub tools: Vec<Value>,
    /// Its prompts.
    pub prompts: Vec<Value>,
}

/// Why there is no list of tools.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoTools {
    /// No answer.
    #[error(transparent)]
    Failed(#[from] UpstreamFailure),
    /// The server refused.
    #[error("it answered with the status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// Whether it says that the token is not valid (RFC 6750 §3.1).
        invalid_token: bool,
    },
    /// What it answered is no list of tools or prompts.
    #[error("what it answered is no list of tools or prompts")]
    NoList,
    /// It goes on for too long.
    #[error("it lists more than {MAX_ACTIONS} tools, or says more than {MAX_LISTED} bytes of them")]
    TooMany,
}

impl Gateway {
    /// All tools and prompts that the server at `at` lists, as it says them.
    ///
    /// # Errors
    /// [`NoTools`].
    pub async fn tools(
        &self,
        at: &UpstreamCall,
        route: &Route,
        credential: &Credential,
        deadline: Instant,
    ) -> Result<Told, NoTools> {
        let max = self.max_response_bytes();
        let peer = Peer { gateway: self, route, credential, at, deadline, max, following: None };
        let tools = peer.listed("tools").await?;
        // One that has none may take the question for a mistake.
        let prompts = if peer.has_prompts().await { peer.listed("prompts").await? } else { Vec::new() };
        Ok(Told { tools, prompts })
    }
}

impl Peer<'_> {
    /// All of `what` that the server lists.
    async fn listed(&self, what: &str) -> Result<Vec<Value>, NoTools> {
        let (mut found, mut size, mut cursor) = (Vec::new(), 0_usize, None::<String>);
        for _ in 0..MAX_PAGES {
            let mut params = Map::new();
            if let Some(cursor) = &cursor {
                params.insert("cursor".into(), cursor.as_str().into());
            }
            let came = self.ask(&message(&format!("{what}/list"), params)).await?;
            let mut answer = match came.body {
                Body::Answer(answer) => answer,
                Body::Other(_) if came.status >= 300 => {
                    let invalid_token = response::says_invalid_token(&came.headers);
                    return Err(NoTools::Refused { status: came.status, invalid_token });
                }
                Body::Other(_) => return Err(NoTools::NoList),
            };
            let Some(Value::Object(mut result)) = answer.remove("result") else {
                return Err(NoTools::NoList);
            };
            let Some(Value::Array(mut page)) = result.remove(what) else { return Err(NoTools::NoList) };
            if found.len().saturating_add(page.len()) > MAX_ACTIONS {
                return Err(NoTools::TooMany);
            }
            for one in &page {
                size = size.saturating_add(one.to_string().len());
            }
            if size > MAX_LISTED {
                return Err(NoTools::TooMany);
            }
            page.iter_mut().for_each(|one| self.credential.scrubber().scrub_json(one));
            found.append(&mut page);
            cursor = match result.remove("nextCursor") {
                None | Some(Value::Null) => return Ok(found),
                Some(Value::String(next)) if cursor.as_deref() != Some(&next) => Some(next),
                Some(_) => return Err(NoTools::NoList),
            };
        }
        Err(NoTools::NoList)
    }

    /// Whether the server said that it has prompts when it was agreed how it is spoken to.
    async fn has_prompts(&self) -> bool {
        if self.route.command().is_some() {
            return self.process_has_prompts().await;
        }
        let all = self.credential.sessions().agreed.lock().await;
        all.get(&self.server()).is_some_and(super::Agreed::has_prompts)
    }
}
