//! Where the parameters of an action travel that its path does not use, and what is sent with every request of it:
//! `query`, `headers` and `body`.
//!
//! Invariant: each parameter has one place, and each place of a request one parameter or one constant: a request that is
//! written from parameters is read as these parameters and no others.

use super::{
    body::{Body, Layout, Media},
    value,
};
use crate::{
    call::{Auth, FORM, Method},
    diagnostic::{Diagnostic, quoted},
    yaml::{self, MapReading, Reading, Yaml},
};
use std::collections::BTreeMap;

/// What a value that is taken from the parameters begins with.
pub(super) const PARAM: &str = "$params.";
/// The longest value of a constant header.
const LONGEST: usize = 1024;

/// Where parameters travel.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    /// Members of the query that are stated. Without a body all others go there too, under their own names.
    pub(super) query: BTreeMap<String, Member>,
    pub(super) body: Body,
}

/// What a member of the query has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    Param(String),
    Constant(String),
}

/// What else is known of the action.
pub(super) struct Around<'a> {
    pub(super) method: Method,
    pub(super) stream: bool,
    /// Every parameter there may be.
    pub(super) names: &'a [String],
    /// Those of the path.
    pub(super) path: &'a [&'a str],
    /// Those that the schema requires.
    pub(super) required: &'a [&'a str],
}

impl Mapping {
    /// Reads `query` and `body` of an action. `None` where something was reported.
    pub(super) fn load(map: &MapReading<'_>, around: &Around<'_>) -> Option<Self> {
        let query = match map.optional("query") {
            None => BTreeMap::new(),
            Some(it) => query(&it, around)?,
        };
        let in_query = around.stream || around.method.parameters_in_query();
        let body = match map.optional("body") {
            None if in_query => Body::None,
            None => Body::Rest(Media::Json),
            Some(it) if around.stream || matches!(around.method, Method::Get | Method::Head) => {
                it.error(if around.stream {
                    "what is streamed has no `body`: it comes from the agent"
                } else {
                    "a GET or HEAD has no body"
                });
                return None;
            }
            Some(it) => body(&it, around.required)?,
        };
        let mapping = Self { query, body };
        mapping.check(map, around).then_some(mapping)
    }

    /// Whether parameters that are stated nowhere travel in the query, under their own names.
    pub(super) fn rest_in_query(&self) -> bool {
        matches!(self.body, Body::None)
    }

    /// The member of the query that has a parameter, where one is stated.
    pub(super) fn member_of(&self, param: &str) -> Option<&str> {
        let is = |member: &&Member| **member == Member::Param(param.to_owned());
        self.query.iter().find(|(_, member)| is(member)).map(|(name, _)| name.as_str())
    }

    /// Reports what has two places, or none.
    fn check(&self, map: &MapReading<'_>, around: &Around<'_>) -> bool {
        let report = map.report();
        let outside = |name: &str| !around.path.contains(&name) && self.member_of(name).is_none();
        let rest: Vec<&str> = around.names.iter().map(String::as_str).filter(|name| outside(name)).collect();
        let mut good = true;
        if let (true, Some(at)) = (self.rest_in_query(), map.key_position("query"))
            && let Some(name) = rest.iter().find(|name| self.query.contains_key(**name))
        {
            report.error(at, format!("`{name}` is a member of the query and another parameter's name"));
            good = false;
        }
        let Body::Layout(_, layout, _) = &self.body else { return good };
        let at = map.key_position("body").unwrap_or_else(|| map.position());
        let mut places = Vec::new();
        layout.places(&mut places);
        places.sort_unstable();
        for name in places.iter().filter(|name| !rest.contains(*name)) {
            let message = if around.names.iter().any(|known| known == name) {
                format!("`{name}` stands in `body` and in `path` or `query`")
            } else {
                format!("`{name}` in `body` is no parameter: it does not stand in `params`")
            };
            report.add(
                Diagnostic::error(message).at(at).suggest(name, around.names.iter().map(String::as_str)),
            );
            good = false;
        }
        if let Some((name, _)) = places.iter().zip(places.iter().skip(1)).find(|(one, next)| one == next) {
            report.error(at, format!("`{name}` stands twice in `body`"));
            good = false;
        }
        for name in rest.iter().filter(|name| !places.contains(name)) {
            report.error(
                at,
                format!("the parameter `{name}` has no place: neither in `path` or `query` nor in `body`"),
            );
            good = false;
        }
        good
    }
}

fn query(it: &Reading<'_>, around: &Around<'_>) -> Option<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    let param = |it: &Reading<'_>, name: &str| {
        if around.path.contains(&name) || !around.names.iter().any(|known| known == name) {
            let message = format!("{} is no parameter that could travel in the query", quoted(name));
            let known = around.names.iter().map(String::as_str).filter(|name| !around.path.contains(name));
            it.report().add(Diagnostic::error(message).at(it.position()).suggest(name, known));
            return None;
        }
        Some(Member::Param(name.to_owned()))
    };
    if let Yaml::List(_) = &it.node().value {
        for it in it.list()? {
            let name = it.string()?;
            members.insert(name.to_owned(), param(&it, name)?);
        }
    } else {
        for (key, it) in it.map()?.entries() {
            let member = match &it.node().value {
                Yaml::String(text) => match text.strip_prefix(PARAM) {
                    Some(name) => param(&it, name)?,
                    None if text.starts_with('$') => {
                        it.error(format!("{} stands for nothing: write `$params.NAME`", quoted(text)));
                        return None;
                    }
                    None => Member::Constant(text.clone()),
                },
                _ => match value::query_text(&yaml::to_json(it.node())) {
                    Some(text) => Member::Constant(text),
                    None => return it.refuse("`$params.NAME`, a string, a number or a boolean", None),
                },
            };
            let constant = if let Member::Constant(text) = &member { text } else { "" };
            if key.value.is_empty()
                || [key.value.as_str(), constant].iter().any(|text| text.chars().any(char::is_control))
            {
                it.error("a member of the query has a name, and no control characters");
                return None;
            }
            members.insert(key.value.clone(), member);
        }
    }
    let mut params: Vec<&Member> =
        members.values().filter(|member| matches!(member, Member::Param(_))).collect();
    params.sort_by_key(|member| match member {
        Member::Param(name) | Member::Constant(name) => name,
    });
    if let Some((Member::Param(twice), _)) = params.iter().zip(params.iter().skip(1)).find(|(a, b)| a == b) {
        it.error(format!("`{twice}` stands in two members of the query"));
        return None;
    }
    Some(members)
}

fn body(it: &Reading<'_>, required: &[&str]) -> Option<Body> {
    const MEDIA: [&str; 2] = ["json", "form"];
    let media = |word: &str| if word == "form" { Media::Form } else { Media::Json };
    if let Yaml::String(_) = &it.node().value {
        return Some(Body::Rest(media(it.one_of(&MEDIA)?)));
    }
    let map = it.map()?;
    map.finish(&MEDIA);
    let mut entries = map.entries();
    let (Some((key, it)), None) = (entries.next(), entries.next()) else {
        it.error("`body` is `json` or `form`, or one of these with a layout");
        return None;
    };
    let (media, layout) = (media(&key.value), Layout::load(&it)?);
    if media == Media::Form && !layout.fits_form() {
        it.error("a form has names with parameters, constants or further names: no lists, no `$each`, no `$message`");
        return None;
    }
    let constants = layout.constants(required);
    Some(Body::Layout(media, layout, constants))
}

/// Reads constant `headers`; names in lower case, sorted.
pub(super) fn headers(map: &MapReading<'_>) -> Vec<(String, String)> {
    let Some(it) = map.optional("headers").and_then(|it| it.map()) else { return Vec::new() };
    let mut found: Vec<(String, String)> = Vec::new();
    for (key, it) in it.entries() {
        let name = key.value.to_ascii_lowercase();
        // RFC 9110 §5.6.2.
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
            it.report().error(key.position, format!("{} is no name of a header", quoted(&key.value)));
            continue;
        }
        if is_reserved(&name) {
            it.report().error(
                key.position,
                format!(
                    "{} is not for a definition to send: the gateway sets or withholds it",
                    quoted(&key.value)
                ),
            );
            continue;
        }
        if found.iter().any(|(other, _)| *other == name) {
            it.report().error(key.position, format!("the header {} stands twice", quoted(&key.value)));
            continue;
        }
        let Some(text) = it.string() else { continue };
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if text.is_empty() || text.len() > LONGEST || !plain || text.trim() != text {
            it.error(format!(
                "a header has 1 to {LONGEST} visible ASCII characters, with no space at its ends"
            ));
            continue;
        }
        found.push((name, text.to_owned()));
    }
    found.sort();
    found
}

/// Headers that frame the message, that say who asks or where to, or that would have it taken for another.
fn is_reserved(name: &str) -> bool {
    const RESERVED: &[&str] = &[
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    ];
    RESERVED.contains(&name)
        || ["proxy-", "x-forwarded-", "if-"].iter().any(|prefix| name.starts_with(prefix))
}

/// The headers that are sent with every request of an action: its own, those of its service that it does not state, and
/// the type of its body where that is not JSON.
pub(super) fn sent(own: &mut Vec<(String, String)>, common: &[(String, String)], body: &Body) {
    for header in common {
        if !own.iter().any(|(name, _)| *name == header.0) {
            own.push(header.clone());
        }
    }
    if body.media() == Some(Media::Form) {
        own.push(("content-type".to_owned(), FORM.to_owned()));
    }
    own.sort();
}

/// Whether a constant header is the one that carries the credential.
pub(super) fn carries(headers: &[(String, String)], auth: &Auth) -> bool {
    let carried = auth.headers();
    headers.iter().any(|(header, _)| carried.contains(&header.as_str()))
}
