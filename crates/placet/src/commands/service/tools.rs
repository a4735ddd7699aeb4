//! `placet service tools|accept|withdraw`: the tools of MCP servers, and what was accepted of them.
//!
//! Invariant: what is accepted is what the server had said when this command asked it, by its digest.

use crate::{
    cli::Context,
    client::{Body, Client, encoded},
    exit::Failure,
};
use reqwest::Method;
use serde_json::{Map, Value, json};

/// Asks the server, and lists its tools.
pub(super) async fn look(context: &Context, name: &str) -> Result<(), Failure> {
    let told = ask(&context.client()?, name, &json!({})).await?;
    list(context, &told);
    Ok(())
}

/// Accepts tools: all that can be, or those that are named.
pub(super) async fn accept(
    context: &Context,
    name: &str,
    tools: &[String],
    all: bool,
) -> Result<(), Failure> {
    let client = context.client()?;
    let told = ask(&client, name, &json!({})).await?;
    let known = || told.get("tools").and_then(Value::as_array).into_iter().flatten();
    let text =
        |tool: &Value, member: &str| tool.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut wanted: Map<String, Value> = Map::new();
    if all {
        let open = |tool: &&Value| {
            matches!(text(tool, "standing").as_str(), "new" | "changed")
                && tool.get("problem").is_none_or(Value::is_null)
        };
        wanted.extend(known().filter(open).map(|tool| (text(tool, "tool"), text(tool, "digest").into())));
    } else if tools.is_empty() {
        return Err(Failure::unreadable("name the tools to accept, or say `--all`"));
    }
    for tool in tools {
        // A name may have an `@` itself; a digest has none.
        let (name, digest) = match tool.rsplit_once('@') {
            Some((name, digest)) if known().all(|known| text(known, "tool") != *tool) => (name, Some(digest)),
            _ => (tool.as_str(), None),
        };
        let found = known().find(|known| text(known, "tool") == name && text(known, "standing") != "gone");
        let found = found.ok_or_else(|| Failure::Refused(format!("the server has no tool `{name}`")))?;
        let digest = digest.map_or_else(|| text(found, "digest"), str::to_owned);
        wanted.insert(name.to_owned(), digest.into());
    }
    let told = if wanted.is_empty() { told } else { ask(&client, name, &json!({"accept": wanted})).await? };
    list(context, &told);
    Ok(())
}

/// Takes tools out of a service.
pub(super) async fn withdraw(context: &Context, name: &str, tools: &[String]) -> Result<(), Failure> {
    let told = ask(&context.client()?, name, &json!({"withdraw": tools})).await?;
    list(context, &told);
    Ok(())
}

async fn ask(client: &Client, name: &str, body: &Value) -> Result<Value, Failure> {
    let path = format!("/v1/services/{}/tools", encoded(name));
    let answer = client.send(Method::POST, &path, &[], Body::Json(body)).await?;
    if answer.is_success() { Ok(answer.body) } else { Err(Failure::Refused(answer.refusal())) }
}

fn list(context: &Context, told: &Value) {
    context.out.list(told, "tools", &["tool", "standing", "action", "digest", "problem"]);
}
