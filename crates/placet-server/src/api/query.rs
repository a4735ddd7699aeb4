//! Query parameters: each known and at most once, so that a misspelt filter never quietly answers more than was asked.
//!
//! Invariant: a handler names every parameter that it reads; any other is refused.

use crate::problem::Problem;
use axum::{extract::FromRequestParts, http::request::Parts};
use placet_core::refusal::Code;
use std::{collections::BTreeMap, str::FromStr};

/// The most items that one page has.
pub(crate) const MAX_PAGE: usize = 1000;
/// How many items a page has where `limit` is left out.
pub(crate) const PAGE: usize = 100;

/// The query parameters of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryParams(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl QueryParams {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut all = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(invalid("the query is not UTF-8"));
            }
            let stood = all.insert(name.clone().into_owned(), value.into_owned()).is_some();
            if stood {
                return Err(invalid(format!("the query parameter `{name}` stands twice")));
            }
        }
        Ok(Self(all))
    }

    /// Refuses parameters that are not in `known`.
    ///
    /// # Errors
    /// `request_invalid`, naming the parameter and those that there are.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let Some(unknown) = self.0.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
        let known = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
        Err(invalid(format!("there is no query parameter `{unknown}` here; known: {known}")))
    }

    /// A parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter as something that is read from text: a number, an id.
    ///
    /// # Errors
    /// `request_invalid` where it is something else.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let wrong = |_| invalid(format!("the query parameter `{name}` can't be read"));
        self.text(name).map(str::parse).transpose().map_err(wrong)
    }

    /// `limit`, put between 1 and [`MAX_PAGE`].
    ///
    /// # Errors
    /// `request_invalid` where it is no whole number.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        Ok(self.parsed::<usize>("limit")?.unwrap_or(PAGE).clamp(1, MAX_PAGE))
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_known_and_stands_once() {
        let query = QueryParams::parse("after=7&limit=99999").unwrap();
        assert_eq!(query.only(&["after", "limit"]).map_err(|p| p.code()), Ok(()));
        assert_eq!(query.only(&["limit"]).map_err(|p| p.code()), Err(Code::RequestInvalid));
        assert_eq!(query.parsed::<u64>("after").unwrap(), Some(7));
        assert_eq!(query.limit().unwrap(), MAX_PAGE);
        for wrong in ["a=1&a=1", "a=1&%61=2", "a=%ff"] {
            assert_eq!(QueryParams::parse(wrong).map_err(|p| p.code()), Err(Code::RequestInvalid), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_put_between_its_bounds() {
        for (sent, limit) in [("", PAGE), ("limit=0", 1), ("limit=1", 1), ("limit=1001", MAX_PAGE)] {
            assert_eq!(QueryParams::parse(sent).unwrap().limit().unwrap(), limit);
        }
        for wrong in ["limit=-1", "limit=ten", "limit=", "limit=1.5"] {
            assert!(QueryParams::parse(wrong).unwrap().limit().is_err(), "{wrong}");
        }
    }
}
