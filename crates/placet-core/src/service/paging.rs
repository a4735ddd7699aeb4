//! How the pages of a listing are asked for, for agents that read them: which parameter names the next page, and where an
//! answer says what that is (`paging: {cursor: page_token, next: /nextPageToken, size: page_size}`).
//!
//! Invariant: it names parameters of the action only, so that what an agent is told to send is something it can send.

use super::ParamType;
use crate::{
    diagnostic::{Diagnostic, quoted},
    yaml::Reading,
};
use serde::Serialize;

/// The keys of `paging`.
pub(super) const KEYS: &[&str] = &["cursor", "next", "last", "page", "offset", "size"];

/// The `paging` of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Paging {
    /// The parameter that takes what an answer says the next page is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Where the answer says it, a JSON pointer; there is no further page where it is missing, null or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The member of the last item that the cursor is, where the answer does not say it elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// The parameter that is the number of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The parameter that is the number of items to leave out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
    /// The parameter that is the most items of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

/// Reads it; `kind` is what the schema says about a parameter. `None` where something was reported.
pub(super) fn load(it: &Reading<'_>, names: &[String], kind: impl Fn(&str) -> ParamType) -> Option<Paging> {
    let map = it.map()?;
    map.finish(KEYS);
    let param = |key: &str, counts: bool| -> Option<Option<String>> {
        let Some(it) = map.optional(key) else { return Some(None) };
        let name = it.string()?;
        if !names.iter().any(|known| known == name) {
            let message = format!("`{key}` names {}, which is no parameter", quoted(name));
            let known = names.iter().map(String::as_str);
            it.report().add(Diagnostic::error(message).at(it.position()).suggest(name, known));
            return None;
        }
        if counts && !matches!(kind(name), ParamType::Integer | ParamType::Unknown) {
            it.error(format!("`{key}` is a number, and `{name}` is declared no integer"));
            return None;
        }
        Some(Some(name.to_owned()))
    };
    let text = |key: &str| -> Option<Option<String>> {
        match map.optional(key) {
            None => Some(None),
            Some(it) => it.string().map(|text| Some(text.to_owned())),
        }
    };
    let read = Paging {
        cursor: param("cursor", false)?,
        next: text("next")?,
        last: text("last")?,
        page: param("page", true)?,
        offset: param("offset", true)?,
        size: param("size", true)?,
    };
    let ways = [read.cursor.is_some(), read.page.is_some(), read.offset.is_some()];
    if ways.iter().filter(|way| **way).count() != 1 {
        it.error("the next page is named by one of `cursor`, `page` and `offset`");
        return None;
    }
    let found = [read.next.is_some(), read.last.is_some()].iter().filter(|it| **it).count();
    if found != usize::from(read.cursor.is_some()) {
        it.error("a `cursor` is found by `next` (a JSON pointer) or `last` (a member of the last item), one of the two");
        return None;
    }
    if read.next.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
        it.error("`next` is a JSON pointer: it begins with `/`");
        return None;
    }
    Some(read)
}
