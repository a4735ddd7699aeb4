//! Definitions of well-known upstreams, which are part of the binary: `placet service catalog` and `placet service add`.
//!
//! Invariant: what is put in force is a text that `placet service catalog NAME` shows.

use crate::exit::Failure;
use placet_core::service::Service;

/// Names and texts, sorted by name.
const SHIPPED: [(&str, &str); 12] = [
    ("gcal", include_str!("../../../../../services/gcal.yaml")),
    ("gdrive", include_str!("../../../../../services/gdrive.yaml")),
    ("github", include_str!("../../../../../services/github.yaml")),
    ("gitlab", include_str!("../../../../../services/gitlab.yaml")),
    ("gmail", include_str!("../../../../../services/gmail.yaml")),
    ("http", include_str!("../../../../../services/http.yaml")),
    ("jira", include_str!("../../../../../services/jira.yaml")),
    ("linear", include_str!("../../../../../services/linear.yaml")),
    ("notion", include_str!("../../../../../services/notion.yaml")),
    ("outlook", include_str!("../../../../../services/outlook.yaml")),
    ("slack", include_str!("../../../../../services/slack.yaml")),
    ("stripe", include_str!("../../../../../services/stripe.yaml")),
];
/// How those authenticate whose provider has an authorization server at which people agree, sorted by name.
const OAUTH2: [(&str, &str); 10] = [
    ("gcal", include_str!("../../../../../services/oauth2/gcal.yaml")),
    ("gdrive", include_str!("../../../../../services/oauth2/gdrive.yaml")),
    ("github", include_str!("../../../../../services/oauth2/github.yaml")),
    ("gitlab", include_str!("../../../../../services/oauth2/gitlab.yaml")),
    ("gmail", include_str!("../../../../../services/oauth2/gmail.yaml")),
    ("jira", include_str!("../../../../../services/oauth2/jira.yaml")),
    ("linear", include_str!("../../../../../services/oauth2/linear.yaml")),
    ("notion", include_str!("../../../../../services/oauth2/notion.yaml")),
    ("outlook", include_str!("../../../../../services/oauth2/outlook.yaml")),
    ("slack", include_str!("../../../../../services/oauth2/slack.yaml")),
];
/// How those authenticate that give tokens to installations of an app, which signs for them with its key.
const APP: [(&str, &str); 1] = [("github", include_str!("../../../../../services/app/github.yaml"))];
/// Where the API is whose address stands in those.
const APP_AT: &str = "https://api.github.com";
/// The one whose authorization server is where it is itself, also on a server of one's own.
const MOVES: (&str, &str) = ("gitlab", "https://gitlab.com");
/// Where those are whose tokens are for another address than the one that the definition has.
const ELSEWHERE: [(&str, &str); 1] = [("jira", "https://api.atlassian.com")];
/// Those whose `base_url` stands for one's own.
const OWN_ADDRESS: [&str; 2] = ["http", "jira"];

/// How its connections get their credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    /// It is given.
    Given,
    /// People connect accounts.
    Oauth2,
    /// An app signs for its installations.
    App,
}

/// All of them, as they are read.
pub(super) fn all() -> impl Iterator<Item = Service> {
    SHIPPED
        .iter()
        .filter_map(|(_, text)| Service::parse(text.as_bytes(), None).ok())
        .map(|(service, _)| service)
}

/// The text of one, with another name or address where these are given.
pub(super) fn text(
    name: &str,
    own: Option<&str>,
    base_url: Option<&str>,
    with: With,
) -> Result<String, Failure> {
    let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        let near = placet_core::diagnostic::nearest(name, names.iter().copied());
        let hint = near.map_or_else(
            || format!("there are {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(Failure::unreadable(format!("no definition is called `{name}`; {hint}")));
    };
    let auth = match with {
        With::Given => None,
        With::Oauth2 => Some(auth(name, text, base_url)?),
        With::App => Some(app(name, base_url)?),
    };
    let written = |line: &str| match &auth {
        Some(auth) if line.starts_with("auth: ") => auth.clone(),
        _ => format!("{}\n", changed(line, name, own, base_url)),
    };
    Ok(text.lines().map(written).collect())
}

/// How it authenticates where people connect their accounts: what an account's token is for is asked for by the provider's own
/// authorization server, and by no other.
fn auth(name: &str, text: &str, base_url: Option<&str>) -> Result<String, Failure> {
    let Some((_, auth)) = OAUTH2.iter().find(|(known, _)| *known == name) else {
        return Err(Failure::unreadable(format!(
            "`{name}` has no authorization server that is known: leave `--client-id` and `--oauth2` out, or write a definition of your own"
        )));
    };
    let usual = text.lines().find_map(|line| line.strip_prefix("base_url: ")).unwrap_or_default();
    let Some(base_url) = base_url else { return Ok((*auth).to_owned()) };
    let origin = |url: &str| url.split('/').take(3).collect::<Vec<_>>().join("/");
    if name == MOVES.0 {
        return Ok(auth.replace(MOVES.1, &origin(base_url)));
    }
    let expected = ELSEWHERE.iter().find(|(known, _)| *known == name);
    let expected = expected.map_or_else(|| origin(usual), |(_, at)| (*at).to_owned());
    if origin(base_url) == expected {
        return Ok((*auth).to_owned());
    }
    Err(Failure::unreadable(format!(
        "the accounts of its authorization server are for {expected}, and not for {base_url}: write a definition that names another, beginning with `placet service catalog {name} --oauth2`"
    )))
}

/// How it authenticates as an app: tokens come from where the API is, also on a server of one's own.
fn app(name: &str, base_url: Option<&str>) -> Result<String, Failure> {
    let Some((_, auth)) = APP.iter().find(|(known, _)| *known == name) else {
        let told = format!(
            "`{name}` has no apps that are known: leave `--app` out, or write a definition of your own"
        );
        return Err(Failure::unreadable(told));
    };
    Ok(base_url.map_or_else(|| (*auth).to_owned(), |at| auth.replace(APP_AT, at.trim_end_matches('/'))))
}

/// A line of a definition: names of actions begin with that of their service.
fn changed(line: &str, name: &str, own: Option<&str>, base_url: Option<&str>) -> String {
    let own = own.unwrap_or(name);
    if line.strip_prefix("service: ") == Some(name) {
        return format!("service: {own}");
    }
    if let (true, Some(base_url)) = (line.starts_with("base_url: "), base_url) {
        return format!("base_url: {base_url}");
    }
    // The action that connections are checked with.
    if line.starts_with("check: ") || line.starts_with("  action: ") {
        return line.replacen(&format!("action: {name}."), &format!("action: {own}."), 1);
    }
    let action =
        line.strip_prefix("  ").and_then(|rest| rest.strip_prefix(name)).filter(|rest| rest.starts_with('.'));
    action.map_or_else(|| line.to_owned(), |rest| format!("  {own}{rest}"))
}

/// Whether one has no address of its own.
pub(super) fn needs_address(name: &str) -> bool {
    OWN_ADDRESS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_without_a_warning_and_says_what_its_actions_do() {
        assert!(SHIPPED.is_sorted());
        for (name, text) in SHIPPED {
            let read = Service::parse(text.as_bytes(), Some(name));
            let doubtful = placet_core::service::check(text.as_bytes(), Some(name), &[]);
            assert!(doubtful.as_ref().is_ok_and(|(_, found)| found.is_empty()), "{doubtful:?}");
            let (service, warnings) = read.unwrap_or_else(|found| {
                panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
            });
            assert!(warnings.is_empty(), "{name}: {warnings:?}");
            assert_eq!(service.name(), name);
            assert!(service.description().is_some());
            let count = service.actions().len();
            assert!((8..=20).contains(&count), "{name} has {count} actions");
            for action in service.actions() {
                let named = action.name();
                assert!(named.as_str().starts_with(&format!("{name}.")), "{named}");
                assert!(action.effect().is_some() && action.description().is_some(), "{named}");
                assert!(action.params_schema().is_some(), "{named} has no schema");
                assert!(action.claimed().is_empty(), "{named} claims {:?}", action.claimed());
            }
        }
    }

    #[test]
    fn one_can_have_another_name_and_address() {
        for (name, _) in SHIPPED {
            let text = text(name, Some("mine"), Some("https://mine.example/x"), With::Given).unwrap();
            let service = Service::parse(text.as_bytes(), None).unwrap().0;
            assert_eq!(
                (service.name(), service.origin(), service.base_path()),
                ("mine", "https://mine.example", "/x")
            );
            assert!(service.actions().all(|action| action.name().as_str().starts_with("mine.")));
            // Where the provider has an action for it, connections can be checked.
            assert!(service.check().is_some() || name == "http", "{name}");
        }
        assert!(
            text("gitub", None, None, With::Given)
                .is_err_and(|error| error.to_string().contains("did you mean `github`?"))
        );
    }

    #[test]
    fn where_the_provider_has_an_authorization_server_people_are_sent_there() {
        assert!(OAUTH2.is_sorted());
        for (name, _) in OAUTH2 {
            let text = text(name, None, None, With::Oauth2).unwrap();
            let (service, warnings) = Service::parse(text.as_bytes(), Some(name)).unwrap_or_else(|found| {
                panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
            });
            assert!(warnings.is_empty(), "{name}: {warnings:?}");
            let placet_core::call::Auth::Oauth2(server) = service.auth() else {
                panic!("{name} takes {}", service.auth().kind());
            };
            assert!(
                server.asks_people() && text.lines().filter(|line| line.starts_with("auth:")).count() == 1
            );
            // Elsewhere the account would be another server's.
            let elsewhere = super::text(name, None, Some("https://mine.example/x"), With::Oauth2);
            match (name, elsewhere) {
                ("gitlab", moved) => {
                    let moved = moved.unwrap();
                    assert!(moved.contains("token_url: https://mine.example/oauth/token"), "{moved}");
                    assert!(!moved.contains("_url: https://gitlab.com"), "{moved}");
                }
                (_, refused) => assert!(refused.is_err(), "{name}"),
            }
        }
        assert!(text("stripe", None, None, With::Oauth2).is_err());
        assert!(text("jira", None, Some("https://api.atlassian.com/ex/jira/1"), With::Oauth2).is_ok());
    }

    #[test]
    fn an_app_gets_tokens_for_its_installations_where_the_api_is() {
        for (base_url, at) in [
            (None, "https://api.github.com"),
            (Some("https://hub.example/api/v3/"), "https://hub.example/api/v3"),
        ] {
            let text = text("github", None, base_url, With::App).unwrap();
            let (service, warnings) = Service::parse(text.as_bytes(), None).unwrap();
            let placet_core::call::Auth::Oauth2(server) = service.auth() else {
                panic!("it takes {}", service.auth().kind());
            };
            assert!(warnings.is_empty() && server.takes_assertions() && server.names_subject());
            assert_eq!(server.token_url, format!("{at}/app/installations/{{subject}}/access_tokens"));
        }
        assert!(text("slack", None, None, With::App).is_err());
    }
}
