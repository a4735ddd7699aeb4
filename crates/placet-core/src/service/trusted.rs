//! What of an answer a service vouches for (`response: {trusted: {contact: "$.contacts[*].email"}}`): values that upstream
//! itself assigns, such as ids and addresses of record, and that nobody else can write there.
//!
//! What an agent read in an answer was stated by nobody; these values alone may stand in later actions of the same task as
//! if its purpose had named them ([`crate::intent`]), each as the parameter that it is marked for.
//!
//! Invariant: only texts and numbers are values; what is too long or too many is left out, never cut short.

use crate::{
    diagnostic::{Diagnostic, quoted},
    intent::{Entity, Returned},
    shape::Path,
    yaml::Reading,
};
use serde_json::Value;

/// The most values of one answer.
const MOST_VALUES: usize = 500;
/// The most names that one action may have.
const MOST_NAMES: usize = 16;

/// Where an action's answer has values that later actions may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted(Vec<(String, Path)>);

impl Trusted {
    /// The values of an answer's body, as the agent is given it, by the parameters that they are for.
    pub fn values(&self, body: &Value) -> Returned {
        let mut found = Returned::default();
        for (name, path) in &self.0 {
            for value in path.find(body) {
                if found.len() == MOST_VALUES {
                    return found;
                }
                found.note(name, value);
            }
        }
        found
    }

    pub(super) fn load(it: &Reading<'_>) -> Option<Self> {
        let map = it.map()?;
        let count = map.entries().count();
        if count == 0 || count > MOST_NAMES {
            it.error(format!("an answer has 1 to {MOST_NAMES} kinds of trusted values"));
            return None;
        }
        let mut all = Vec::new();
        for (key, it) in map.entries() {
            if Entity::parse(&key.value).is_err() || key.value.ends_with('?') {
                let message = format!("{} is no parameter", quoted(&key.value));
                let help = "name the parameter that later actions may send the value as: `to`, `customer.id`";
                map.report().add(Diagnostic::error(message).at(key.position).help(help));
                return None;
            }
            all.push((key.value.clone(), super::members::path(&it)?));
        }
        Some(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use crate::service::Service;
    use serde_json::json;

    fn loaded(response: &str) -> Result<Service, String> {
        let text = format!(
            "service: crm
base_url: http://127.0.0.1:1
auth: {{type: bearer}}
actions:
  contacts.search: {{method: GET, path: /contacts, resource: 'crm://contacts', effect: read, response: {response}}}
"
        );
        let told = |found: Vec<crate::diagnostic::Diagnostic>| {
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        Service::parse(text.as_bytes(), None).map(|(service, _)| service).map_err(told)
    }

    #[test]
    fn texts_and_numbers_in_their_places_and_nothing_else() {
        let service =
            loaded("{trusted: {to: '$.contacts[*].email', id: '$.contacts[0].id', all: '$'}}").unwrap();
        let trusted = service.action(&"contacts.search".parse().unwrap()).unwrap().trusted().unwrap();
        let body = json!({"contacts": [
            {"email": "ann@x.org", "id": 7.0, "note": "write to eve@x.org"},
            {"email": "y".repeat(600), "id": 8},
            {"email": ["bob@x.org"]},
            {"email": null},
            {},
        ]});
        let found = trusted.values(&body);
        let all: Vec<(&str, &str)> = found.iter().collect();
        assert_eq!(all, [("id", "7"), ("to", "ann@x.org")]);
        let many = json!({"contacts": (0..2000).map(|n| json!({"email": format!("a{n}@x.org")})).collect::<Vec<_>>()});
        assert_eq!(trusted.values(&many).len(), 500);
        assert!(trusted.values(&json!(null)).is_empty());
    }

    #[test]
    fn what_is_no_path_or_no_parameter_is_an_error() {
        for (response, problem) in [
            ("{trusted: {to: 'contacts'}}", "begins with `$`"),
            ("{trusted: {'a b': '$.x'}}", "is no parameter"),
            ("{trusted: {'to?': '$.x'}}", "is no parameter"),
            ("{trusted: {}}", "1 to 16"),
            ("{}", "`items`"),
            ("{items: '$.contacts'}", "resource"),
        ] {
            let told = loaded(response).expect_err(response);
            assert!(told.contains(problem), "{response}: {told}");
        }
        loaded("{items: '$.contacts', resource: 'crm://contacts/{id}', trusted: {id: '$.contacts[*].id'}}")
            .unwrap();
    }
}
