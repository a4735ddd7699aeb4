//! `placet token status`: an access token checked as its resource server would, without asking about it.
//!
//! Invariant: nothing that anybody could not read is sent or needed: not the token, and no credential.

use crate::{
    cli::Context,
    client::{Body, Client},
    exit::{Exit, Failure},
    input,
    output::escaped,
};
use placet_core::{
    jose::KeySet,
    status_list::{MEDIA_TYPE, Status, read},
    time::Timestamp,
    token::offline,
};
use placet_server::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

/// The command.
///
/// # Errors
/// A sentence, where the token or its list is not believed or can't be read.
pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    let token = input::secret_text("Token")?;
    let server = context.server()?;
    let metadata = fetched(&server, "/.well-known/oauth-authorization-server").await?;
    let issuer = metadata.get("issuer").and_then(Value::as_str);
    let issuer = issuer.ok_or_else(|| Failure::unreadable("the server's metadata has no `issuer`"))?;
    let keys = KeySet::parse(&fetched(&server, "/.well-known/jwks.json").await?)
        .map_err(|error| Failure::unreadable(format!("the server's keys can't be read: {error}")))?;
    let now = Clock::System.now();
    let claims = match offline::verify(&token, &keys, issuer, now) {
        Ok(claims) => claims,
        Err(reason) => {
            // The token comes first: of one that is not good no list is read (draft §8.3).
            let detail = reason.detail.unwrap_or_else(|| reason.code.title().to_owned());
            let said = json!({"good": false, "code": reason.code, "detail": detail});
            context.out.document(&said);
            return Ok(Exit::Negative);
        }
    };
    let Some(status) = &claims.status else {
        return Err(Failure::unreadable(
            "the token is signed and in its time, and says of no list: its resource server was not registered with `--status-list`; ask with `placet token introspect`",
        ));
    };
    let reference = &status.status_list;
    let path = reference.uri.strip_prefix(issuer).filter(|path| path.starts_with('/')).ok_or_else(|| {
        Failure::unreadable(format!("the list is not at this server: {}", escaped(&reference.uri)))
    })?;
    let list = fetched(&server, path).await?;
    let list = list.as_str().ok_or_else(|| Failure::unreadable("the answer is no status list"))?;
    let said = read(list, &keys, reference, now).map_err(|error| Failure::unreadable(error.to_string()))?;
    context.out.document(&json!({
        "good": said.status == Status::Valid,
        "status": said.status.to_string(),
        "agent": claims.client_id,
        "audience": claims.aud,
        "scope": claims.scope,
        "expires": Timestamp::from_seconds(claims.exp),
        "list": reference.uri,
        "place": reference.idx,
        "stated": said.issued,
        "believed_until": said.expires,
    }));
    Ok(if said.status == Status::Valid { Exit::Done } else { Exit::Negative })
}

/// What the server publishes.
async fn fetched(server: &Client, path: &str) -> Result<Value, Failure> {
    let accept =
        [("accept", if path.starts_with("/.well-known/") { "application/json" } else { MEDIA_TYPE })];
    server.send(Method::GET, path, &accept, Body::Empty).await?.success().map_err(Failure::unread)
}
