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
/// Those whose `base_url` stands for one's own.
const OWN_ADDRESS: [&str; 2] = ["http", "jira"];

/// All of them, as they are read.
pub(super) fn all() -> impl Iterator<Item = Service> {
    SHIPPED
        .iter()
        .filter_map(|(_, text)| Service::parse(text.as_bytes(), None).ok())
        .map(|(service, _)| service)
}

/// The text of one, with another name or address where these are given.
pub(super) fn text(name: &str, own: Option<&str>, base_url: Option<&str>) -> Result<String, Failure> {
    let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        let near = placet_core::diagnostic::nearest(name, names.iter().copied());
        let hint = near.map_or_else(
            || format!("there are {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(Failure::unreadable(format!("no definition is called `{name}`; {hint}")));
    };
    Ok(text.lines().map(|line| format!("{}\n", changed(line, name, own, base_url))).collect())
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
            let text = text(name, Some("mine"), Some("https://mine.example/x")).unwrap();
            let service = Service::parse(text.as_bytes(), None).unwrap().0;
            assert_eq!(
                (service.name(), service.origin(), service.base_path()),
                ("mine", "https://mine.example", "/x")
            );
            assert!(service.actions().all(|action| action.name().as_str().starts_with("mine.")));
        }
        assert!(
            text("gitub", None, None)
                .is_err_and(|error| error.to_string().contains("did you mean `github`?"))
        );
    }
}
