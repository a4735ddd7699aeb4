//! What is doubtful in a definition that loads: actions that nothing can reach, credentials where an agent would see or
//! send them, effects that are milder than their methods, resources of which rules can say nothing.
//!
//! Invariant: whatever it says is about what the definition does once it is in force; nothing is changed here.

use super::{Effect, ParamType, Service, ServiceAction, mcp};
use crate::{
    call::Method,
    diagnostic::{Diagnostic, Position, Report, quoted},
    policy::Policy,
    yaml::{self, Node, Yaml},
};
use serde_json::{Number, Value};

/// Names of parameters that carry credentials.
const CREDENTIALS: &[&str] = &[
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "auth_token",
    "authorization",
    "bearer_token",
    "client_secret",
    "credential",
    "credentials",
    "passwd",
    "password",
    "private_key",
    "private_token",
    "refresh_token",
    "secret",
    "secret_key",
    "token",
];
/// What credentials of well-known providers begin with.
const PREFIXES: &[&str] = &[
    "AKIA",
    "Basic ",
    "Bearer ",
    "eyJ",
    "ghp_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "lin_api_",
    "ntn_",
    "pk_live_",
    "rk_live_",
    "sk-",
    "sk_live_",
    "sk_test_",
    "xoxb-",
    "xoxp-",
];

/// Loads a definition and looks at it closely. With `policies` it says also what none of them names.
///
/// # Errors
/// Everything that is wrong with it, at least one error among it.
pub fn check(
    source: &[u8],
    file: Option<&str>,
    policies: &[Policy],
) -> Result<(Service, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (service, mut found) = Service::parse(source, file)?;
    let (node, report) = yaml::parse(source, file)?;
    let around = Around { service: &service, node: &node, report: &report };
    around.host(policies);
    around.constants("headers", node.get("headers"));
    // Of tools nothing is mapped here, and what is to be said of their schemas is for their server.
    for action in service.actions().filter(|action| action.tool.is_none()) {
        around.action(action);
    }
    found.extend(report.into_diagnostics());
    found.sort_by_key(|one| one.position);
    if found.iter().any(Diagnostic::is_error) { Err(found) } else { Ok((service, found)) }
}

/// Whether no request is of both: where one has a text, the other has a number that the text is none of. One that is of
/// neither is refused, whichever it counts as.
fn are_apart(one: &ServiceAction, other: &ServiceAction) -> bool {
    let no_number = |of: &ServiceAction, against: &ServiceAction| {
        of.path.facing(&against.path).any(|(name, text)| {
            matches!(of.params_type(&[name]), ParamType::Integer | ParamType::Number)
                && text.parse::<Number>().is_err()
        })
    };
    no_number(one, other) || no_number(other, one)
}

struct Around<'a> {
    service: &'a Service,
    node: &'a Node,
    report: &'a Report,
}

impl Around<'_> {
    fn warn(&self, at: Position, message: impl AsRef<str>, help: &str) {
        self.report.add(Diagnostic::warning(message).at(at).help(help));
    }

    /// Where a key of an action stands, or the action.
    fn at(&self, action: &ServiceAction, key: &str) -> Position {
        let node = self.node.get("actions").and_then(|actions| actions.get(action.name.as_str()));
        let found = node.and_then(|node| node.get(key)).or(node);
        found.map_or(Position::START, |node| node.position)
    }

    fn host(&self, policies: &[Policy]) {
        let at = self.node.get("base_url").map_or_else(|| mcp::position_of(self.node), |node| node.position);
        let host = self.service.origin.split("://").nth(1).unwrap_or_default();
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare).trim_matches(['[', ']']);
        let local = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let plain = [("http://", "use `https://`"), ("postgres+plain://", "leave out `sslmode=disable`")];
        for (_, help) in plain.iter().filter(|(scheme, _)| self.service.origin.starts_with(scheme) && !local)
        {
            let message = format!("the credential goes to `{host}` without encryption");
            self.warn(at, message, help);
        }
        if policies.is_empty() {
            return;
        }
        let named = |action: &&ServiceAction| {
            policies.iter().any(|policy| policy.candidates(&action.name).next().is_some())
        };
        let (with, without): (Vec<&ServiceAction>, Vec<_>) = self.service.actions().partition(named);
        if with.is_empty() {
            let message = format!("no rule names an action at `{host}`: all of them are denied");
            self.warn(at, message, "add rules for the actions that agents need");
        } else {
            for action in without {
                let message = format!("no rule names `{}`: it is denied", action.name);
                self.warn(self.at(action, ""), message, "leave it out, or add a rule");
            }
        }
    }

    fn action(&self, action: &ServiceAction) {
        self.reachable(action);
        self.effect(action);
        self.claimed(action);
        self.params(action);
        for key in ["headers", "query", "body"] {
            let node = self.node.get("actions").and_then(|it| it.get(action.name.as_str()));
            self.constants(key, node.and_then(|node| node.get(key)));
        }
    }

    /// Paths that belong to another action with some values, or with all that the schema lets through.
    fn reachable(&self, action: &ServiceAction) {
        // Which message is which action, its loading has checked.
        if action.carried().is_some() {
            return;
        }
        let at = self.at(action, "path");
        let requests = self.service.actions().filter(|other| other.carried().is_none());
        for other in requests.filter(|other| other.method == action.method) {
            if !action.path.overlaps(&other.path)
                || other.path.literalness(&action.path).is_le()
                || are_apart(action, other)
            {
                continue;
            }
            if !action.path.covers(&other.path) {
                let message = format!(
                    "some paths are of `{}` and of `{}` alike; they count as the latter's",
                    action.name, other.name
                );
                self.warn(at, message, "make one of the two more literal where they differ");
            }
            let mut values =
                action.path.variables().filter_map(|name| Some((name, self.values(action, name)?)));
            let Some((name, values)) = values.next() else { continue };
            let taken = values.iter().filter(|value| {
                let sample = action.path.variables().map(|variable| {
                    let filled = if variable == name { value.as_str() } else { "x" };
                    (variable.to_owned(), filled.to_owned())
                });
                let mut path = String::new();
                action.path.fill(&sample.collect(), &mut path).is_ok() && other.path.read(&path).is_some()
            });
            if taken.count() == values.len() {
                let message = format!(
                    "nothing reaches `{}`: with every value of `{name}` the call is `{}`",
                    action.name, other.name
                );
                self.warn(at, message, "leave one of the two out");
            }
        }
    }

    /// All values that the schema lets a parameter have, where it lists them.
    fn values(&self, action: &ServiceAction, name: &str) -> Option<Vec<String>> {
        let schema = action.params_schema()?.get("properties")?.get(name)?;
        let listed = match (schema.get("enum"), schema.get("const")) {
            (Some(Value::Array(items)), _) => items.clone(),
            (_, Some(only)) => vec![only.clone()],
            _ => return None,
        };
        listed.iter().map(|value| super::value::segment_text(value, true).ok()).collect()
    }

    fn effect(&self, action: &ServiceAction) {
        let at = self.at(action, "effect");
        let doubtful = match (action.method, action.effect) {
            (Method::Delete, Some(Effect::Read | Effect::Write)) => "delete",
            (Method::Put | Method::Patch, Some(Effect::Read)) => "write",
            _ => return,
        };
        let stated = action.effect.map_or("", Effect::as_str);
        let message = format!("a {} is said to be `{stated}`", action.method.as_str());
        self.warn(at, message, &format!("state `{doubtful}`, unless the upstream says otherwise"));
    }

    fn claimed(&self, action: &ServiceAction) {
        for name in &action.claimed {
            let message = format!("`{name}` in the resource is what the agent says: no rule can match it");
            self.warn(
                self.at(action, "resource"),
                message,
                "use a parameter of the path; or name it in `binds`, if upstream refuses a wrong one",
            );
        }
    }

    fn params(&self, action: &ServiceAction) {
        let at = self.at(action, "params");
        for name in &action.names {
            if is_credential(name) && !action.secret.contains(name) {
                let message = format!("`{name}` of `{}` would have an agent send a credential", action.name);
                self.warn(
                    at,
                    message,
                    "let a connection carry it; or name it in `secret`, so that nothing keeps it",
                );
            }
            let schema = action.params_schema().and_then(|schema| schema.get("properties")?.get(name));
            let says_nothing = match schema {
                None => true,
                Some(Value::Object(schema)) => {
                    let types = ["type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"];
                    action.params_type(&[name]) == ParamType::Unknown
                        && !types.iter().any(|key| schema.contains_key(*key))
                }
                Some(_) => true,
            };
            if says_nothing {
                let message = format!("nothing is said about the type of `{name}` of `{}`", action.name);
                self.warn(at, message, "give it a `type` in `params`: rules then know what they compare");
            }
        }
    }

    /// Constants that look like credentials, anywhere in a part of the definition.
    fn constants(&self, part: &str, node: Option<&Node>) {
        let Some(node) = node else { return };
        match &node.value {
            Yaml::String(text) if looks_secret(text) => {
                let message = format!("a constant of `{part}` looks like a credential");
                self.report.add(Diagnostic::error(message).at(node.position).help(
                    "definitions are no secrets: put it into a connection, and say in `auth` how it is sent",
                ));
            }
            Yaml::List(items) => items.iter().for_each(|item| self.constants(part, Some(item))),
            Yaml::Map(entries) => {
                for (key, value) in entries {
                    let constant = matches!(&value.value, Yaml::String(text) if !text.starts_with('$'));
                    if constant && is_credential(&key.value) {
                        let message =
                            format!("{} is a constant, and is called like a credential", quoted(&key.value));
                        self.report.add(
                            Diagnostic::error(message)
                                .at(key.position)
                                .help("put it into a connection, and say in `auth` how it is sent"),
                        );
                    } else {
                        self.constants(part, Some(value));
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_credential(name: &str) -> bool {
    let mut plain = String::new();
    for (index, character) in name.char_indices() {
        if character.is_ascii_uppercase()
            && index > 0
            && name.as_bytes().get(index - 1).is_some_and(u8::is_ascii_lowercase)
        {
            plain.push('_');
        }
        plain.push(if matches!(character, '-' | '.') { '_' } else { character.to_ascii_lowercase() });
    }
    let plain = plain.strip_prefix("x_").unwrap_or(&plain);
    CREDENTIALS.contains(&plain)
}

fn looks_secret(text: &str) -> bool {
    if PREFIXES.iter().any(|prefix| text.len() > prefix.len() + 8 && text.starts_with(prefix)) {
        return true;
    }
    // A long word of letters and digits in turn.
    text.split(|character: char| {
        !(character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '+' | '/'))
    })
    .any(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
        word.len() >= 24 && digits >= 4 && letters >= 4 && !word.contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "service: s\nbase_url: https://x.example\nauth: {type: bearer}\n";

    fn said(text: &str, policies: &[Policy]) -> (bool, String) {
        let (good, found) = match check(text.as_bytes(), Some("s.yaml"), policies) {
            Ok((_, found)) => (true, found),
            Err(found) => (false, found),
        };
        (good, found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
    }

    fn actions(text: &str) -> (bool, String) {
        said(&format!("{HEAD}actions:\n{text}"), &[])
    }

    #[test]
    fn what_is_well_said_is_left_alone() {
        let shop = include_str!("../../../../examples/services/shop.yaml");
        assert_eq!(said(shop, &[]), (true, String::new()));
    }

    #[test]
    fn the_examples_of_the_page_load_and_have_nothing_doubtful() {
        let page = include_str!("../../../../docs/services.md");
        let blocks: Vec<&str> = page
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
            .collect();
        assert!(blocks.len() >= 2);
        for block in blocks {
            assert_eq!(said(block, &[]), (true, String::new()), "{block}");
        }
    }

    #[test]
    fn each_finding_has_its_place_and_what_to_do() {
        for (text, place, says) in [
            (
                "  a.me: {method: GET, path: /u/me, resource: 's://me', effect: read}\n  a.one: {method: GET, path: '/u/{id}', resource: 's://u/{id}', effect: read, params: {properties: {id: {enum: [me]}}}}\n",
                "s.yaml:6:30",
                "nothing reaches `a.one`",
            ),
            (
                "  a.x: {method: GET, path: '/{a}/x', resource: 's://{a}', effect: read, params: {properties: {a: {type: string}}}}\n  a.b: {method: GET, path: '/b/{c}', resource: 's://{c}', effect: read, params: {properties: {c: {type: string}}}}\n",
                "s.yaml:5:28",
                "some paths are of `a.x` and of `a.b` alike",
            ),
            (
                "  a: {method: DELETE, path: /a, resource: 's://a', effect: write}\n",
                "s.yaml:5:60",
                "a DELETE is said to be `write`",
            ),
            // What faces a number is of one alone, unless it is one.
            (
                "  a.n: {method: GET, path: '/u/{n}/x', resource: 's://{n}', effect: read, params: {properties: {n: {type: integer}}}}\n  a.m: {method: GET, path: '/u/me/{c}', resource: 's://{c}', effect: read, params: {properties: {c: {type: string}}}}\n  a.s: {method: GET, path: '/u/7/{c}', resource: 's://{c}', effect: read, params: {properties: {c: {type: string}}}}\n",
                "s.yaml:5:28",
                "some paths are of `a.n` and of `a.s` alike",
            ),
            ("  a: {method: GET, path: /a, resource: 's://a'}\n", "s.yaml:5:3", "has no `effect`"),
            (
                "  a: {method: GET, path: /a, resource: 's://{u}', effect: read, params: {properties: {u: {type: string}}}}\n",
                "s.yaml:5:40",
                "`u` in the resource is what the agent says",
            ),
            (
                "  a: {method: POST, path: /a, resource: 's://a', effect: write, params: {properties: {apiKey: {type: string}}}}\n",
                "s.yaml:5:73",
                "`apiKey` of `a` would have an agent send a credential",
            ),
            (
                "  a: {method: GET, path: '/{x}', resource: 's://a', effect: read}\n",
                "s.yaml:5:6",
                "type of `x`",
            ),
        ] {
            let (good, found) = actions(text);
            assert!(good && found.contains(says) && found.contains(place), "{text}\n{found}");
        }
        let kept = "  a: {method: POST, path: /a, resource: 's://a', effect: write, secret: [password], params: {properties: {password: {type: string}}}}\n";
        assert_eq!(actions(kept), (true, String::new()));
        let cursor = "  a: {method: GET, path: /a, resource: 's://a', effect: read, params: {properties: {page_token: {type: string}}}}\n";
        assert_eq!(actions(cursor), (true, String::new()));
    }

    #[test]
    fn constants_that_look_like_credentials_are_errors() {
        let with = |more: &str| {
            actions(&format!("  a: {{method: POST, path: /a, resource: 's://a', effect: write, {more}}}\n"))
        };
        for bad in [
            "headers: {X-Api-Key: abc}",
            "headers: {X-Other: ghp_0123456789abcdef}",
            "query: {api_key: abc}",
            "query: {k: 9f8e7d6c5b4a39281706f5e4d3c2b1a0}",
            "body: {json: {auth: {token: abc}}}",
        ] {
            let (good, found) = with(bad);
            assert!(!good && found.contains("credential"), "{bad}: {found}");
        }
        for fine in [
            "headers: {X-Version: \"2024-06-01\"}",
            "body: {json: {query: \"mutation IssueCreate($input: IssueCreateInput!) { a }\"}}",
        ] {
            assert_eq!(with(fine), (true, String::new()), "{fine}");
        }
        let userinfo =
            said(&format!("{}actions: {{}}\n", HEAD.replace("x.example", "ada:pw@x.example")), &[]);
        assert!(!userinfo.0, "{userinfo:?}");
    }

    #[test]
    fn a_host_without_rules_or_encryption_is_told() {
        let text = format!(
            "{HEAD}actions:\n  a.b: {{method: GET, path: /a, resource: 's://a', effect: read}}\n  a.c: {{method: GET, path: /c, resource: 's://c', effect: read}}\n"
        );
        let policy = |allow: &str| {
            let text = format!(
                "policy: p\napplies_to: {{agents: [\"*\"]}}\nrules:\n  - {{name: r, allow: [{allow}]}}\n"
            );
            Policy::load(text.as_bytes(), None, 1, &[]).unwrap().0
        };
        assert!(said(&text, &[policy("x.y")]).1.contains("no rule names an action at `x.example`"));
        assert!(said(&text, &[policy("a.b")]).1.contains("no rule names `a.c`"));
        assert_eq!(said(&text, &[policy("a.b"), policy("a.c")]), (true, String::new()));
        let plain = text.replace("https:", "http:");
        assert!(said(&plain, &[]).1.contains("without encryption"));
        assert_eq!(said(&plain.replace("x.example", "127.0.0.1:80"), &[]), (true, String::new()));
    }
}
