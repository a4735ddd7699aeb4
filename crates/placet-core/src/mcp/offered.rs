//! Prompts and resources of MCP servers as clients name them: a prompt `SERVICE__NAME`, a resource
//! `mcp://SERVICE/resources/` and behind it the URI that its server knows, as it is. Where an agent reaches several
//! connections of a service, the URI says which: `mcp://SERVICE/resources@CONNECTION/…`.
//!
//! Invariant: names of services are unique and have neither dots nor slashes, so that each name and each URI is of exactly
//! one service; what is behind the prefix is taken as it stands and never resolved against anything.

use super::tool::{self, CONNECTION};
use crate::{
    pattern::ActionName,
    service::{Part, Service, ServiceAction},
};
use serde_json::{Map, Value, json};

const SCHEME: &str = "mcp://";
const RESOURCES: &str = "resources";

/// A resource, by the URI that a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'u> {
    /// The service.
    pub service: &'u str,
    /// The connection, where it is named.
    pub connection: Option<&'u str>,
    /// The URI that the server knows.
    pub uri: &'u str,
}

impl<'u> Place<'u> {
    /// Reads what [`outward`](Self::outward) writes.
    pub fn read(uri: &'u str) -> Option<Self> {
        let (service, rest) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let (way, uri) = rest.split_once('/')?;
        let connection = match way.strip_prefix(RESOURCES)? {
            "" => None,
            named => Some(named.strip_prefix('@').filter(|name| !name.is_empty())?),
        };
        let named = !service.is_empty() && !uri.is_empty();
        named.then_some(Self { service, connection, uri })
    }

    /// The URI for clients; also of a template, whose variables stay what they are.
    pub fn outward(self) -> String {
        let Self { service, connection, uri } = self;
        match connection {
            None => format!("{SCHEME}{service}/{RESOURCES}/{uri}"),
            Some(connection) => format!("{SCHEME}{service}/{RESOURCES}@{connection}/{uri}"),
        }
    }
}

/// Has clients told of the resources in a result by URIs that come back: contents, links and what is embedded. What a server calls
/// by a URI of this door, its own or another service's, is its own all the same, behind its own name: no server speaks of what is
/// another's.
pub fn outward(result: &mut Value, service: &str, connection: Option<&str>) {
    rename(result, service, connection, &|_| true);
}

/// The same of a server whose resources aren't offered: links lead where they say, but for those that would lead to this door.
pub fn outward_of_none(result: &mut Value, service: &str, connection: Option<&str>) {
    let is_of_door =
        |uri: &str| uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
    rename(result, service, connection, &|uri| is_of_door(uri.trim_start()));
}

fn rename(result: &mut Value, service: &str, connection: Option<&str>, which: &dyn Fn(&str) -> bool) {
    let rename = |holder: &mut Value| {
        if let Some(Value::String(uri)) = holder.get_mut("uri")
            && which(uri)
        {
            *uri = Place { service, connection, uri }.outward();
        }
    };
    let block = |block: &mut Value| {
        match block.get("type").and_then(Value::as_str) {
            Some("resource_link") => rename(block),
            Some("resource") => _ = block.get_mut("resource").map(&rename),
            _ => {}
        };
    };
    let each = |of: Option<&mut Value>, change: &dyn Fn(&mut Value)| match of {
        Some(Value::Array(all)) => all.iter_mut().for_each(change),
        Some(one) => change(one),
        None => {}
    };
    each(result.get_mut("contents"), &rename);
    each(result.get_mut("content"), &block);
    each(result.get_mut("messages"), &|message| each(message.get_mut("content"), &block));
}

/// The name of a prompt; `None` where the action is none.
pub fn prompt_name(declared: &ServiceAction) -> Option<String> {
    declared.tool().filter(|it| it.part() == Part::Prompt)?;
    let (service, own) = declared.name().as_str().split_once('.')?;
    let own = own.strip_prefix("prompts.")?;
    ActionName::parse(&format!("{service}.{own}")).ok().map(|short| tool::name(&short))
}

/// The definition of a prompt.
pub fn prompt(service: &Service, declared: &ServiceAction, connections: &[&str]) -> Option<Value> {
    let pinned = declared.tool()?.definition();
    let mut told = Map::new();
    told.insert("name".into(), prompt_name(declared)?.into());
    if let Some(title) = pinned.get("title").filter(|title| title.is_string()) {
        told.insert("title".into(), title.clone());
    }
    let about = declared.description();
    let about = about.map_or_else(|| format!("A prompt of {}", service.name()), str::to_owned);
    told.insert("description".into(), about.into());
    let mut arguments = Vec::new();
    for one in pinned.get("arguments").and_then(Value::as_array).into_iter().flatten() {
        let known = |key: &str| Some((key.to_owned(), one.get(key)?.clone()));
        let known = ["name", "title", "description", "required"].into_iter().filter_map(known);
        arguments.push(Value::Object(known.collect()));
    }
    if connections.len() > 1 && tool::chooses(declared) {
        let about = format!("The account to act with: {}.", connections.join(", "));
        arguments.push(json!({"name": CONNECTION, "description": about, "required": true}));
    }
    told.insert("arguments".into(), arguments.into());
    Some(Value::Object(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn uris_in_results_come_back() {
        let mut result = json!({
            "contents": [{"uri": "a:1", "text": "a:1"}],
            "content": [{"type": "resource_link", "uri": "a:2"}, {"type": "text", "text": "x", "uri": "a:3"},
                {"type": "resource", "resource": {"uri": "a:4"}}],
            "messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": "a:5"}}}],
            "structuredContent": {"contents": [{"uri": "a:6"}]},
        });
        outward(&mut result, "files", None);
        let at = |pointer: &str| result.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        assert_eq!(at("/contents/0/uri"), "mcp://files/resources/a:1");
        assert_eq!(at("/content/0/uri"), "mcp://files/resources/a:2");
        assert_eq!(at("/content/2/resource/uri"), "mcp://files/resources/a:4");
        assert_eq!(at("/messages/0/content/resource/uri"), "mcp://files/resources/a:5");
        // What is no URI of a resource by the protocol is a value as any other.
        assert_eq!((at("/contents/0/text"), at("/content/1/uri")), ("a:1".into(), "a:3".into()));
        assert_eq!(at("/structuredContent/contents/0/uri"), "a:6");
    }

    #[test]
    fn no_server_links_to_another_services_resources() {
        let links = |uris: [&str; 3]| {
            let [one, two, three] = uris;
            json!({"content": [{"type": "resource_link", "uri": one}, {"type": "resource", "resource": {"uri": two}}, {"type": "resource_link", "uri": three}]})
        };
        let came =
            || links(["mcp://other/resources/note:///a", "MCP://files/resources/b", "https://example.com/c"]);
        let (mut offered, mut none) = (came(), came());
        outward(&mut offered, "files", None);
        outward_of_none(&mut none, "files", Some("main"));
        assert_eq!(
            offered,
            links([
                "mcp://files/resources/mcp://other/resources/note:///a",
                "mcp://files/resources/MCP://files/resources/b",
                "mcp://files/resources/https://example.com/c",
            ])
        );
        assert_eq!(
            none,
            links([
                "mcp://files/resources@main/mcp://other/resources/note:///a",
                "mcp://files/resources@main/MCP://files/resources/b",
                "https://example.com/c",
            ])
        );
    }

    #[test]
    fn what_is_no_uri_of_a_service_is_none() {
        for uri in [
            "",
            "mcp://",
            "mcp://a",
            "mcp://a/resources",
            "mcp://a/resources/",
            "mcp:///resources/x",
            "mcp://a/resource/x",
            "mcp://a/resources@/x",
            "mcp://a/resourcesx/x",
            "file:///a/resources/x",
        ] {
            assert_eq!(Place::read(uri), None, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn every_uri_comes_back_to_its_service(service in "[a-z][a-z0-9_-]{0,9}", connection in prop::option::of("[a-z][a-z0-9_.-]{0,9}"), uri in ".{1,30}") {
            let place = Place { service: &service, connection: connection.as_deref(), uri: &uri };
            let written = place.outward();
            prop_assert_eq!(Place::read(&written), Some(place));
        }
    }
}
