//! What of upstream's answer looks like a secret or like personal data, where rules look for that (`detect`).
//!
//! It stands behind what shapes an answer: what is looked through is what the agent would get, in the body and in the
//! headers, also of an answer that is no success. What was found is recorded by kind and number before the agent has an answer
//! that is read whole, and at the end of one that is passed on as it comes.
//!
//! Invariant: nothing of an answer passes in which something was found that withholds it, but for what had gone out of a
//! stream before.

use super::{Described, outcome::Form, shaped};
use crate::{app::App, bearer::Bearer, problem::Problem};
use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    detect::{Detect, Found, Stream, Unsearchable},
    id::{ActionId, AgentId},
    json,
    judge::{self, Judgement},
    mcp::contents,
    record::{EntryType, Envelope},
    refusal::Code,
    shape::Withheld,
};
use serde_json::{Map, Value, json};

/// Says which kinds were found in an answer.
const DETECTED: &str = "placet-detected";

/// What is looked for in the answer of one action.
#[derive(Debug, Clone)]
pub(super) struct Detecting {
    detect: Detect,
    party: AgentId,
    /// Whether it is the result of an MCP server, which has bytes in places that the protocol names.
    is_mcp: bool,
}

/// What was found, and what is left of the answer.
pub(super) type Searched<T> = (Found, Result<T, Withheld>);

type Headers = Vec<(String, String)>;

impl Detecting {
    /// `None` where nothing is looked for.
    pub(super) fn of(bearer: &Bearer, described: &Described, judgement: &Judgement) -> Option<Self> {
        let detect = judge::detects(judgement);
        let is_mcp = described.declared().is_some_and(|declared| declared.tool().is_some());
        (!detect.is_empty()).then(|| Self { detect, party: bearer.chain.root_agent(), is_mcp })
    }

    /// What is looked for.
    pub(super) fn detect(&self) -> &Detect {
        &self.detect
    }

    /// Looks through `{status, headers, body}`, as it is answered at the action door.
    pub(super) async fn result(self, form: Form, result: Value) -> Searched<(Form, Value)> {
        let party = self.party;
        searched(shaped::aside(party, move || Ok(self.in_result(form, result))).await)
    }

    /// Looks through an answer that was read whole.
    pub(super) async fn whole(self, headers: Headers, body: Bytes) -> Searched<(Headers, Bytes)> {
        let party = self.party;
        searched(shaped::aside(party, move || Ok(self.in_whole(headers, &body))).await)
    }

    /// Looks through the head of an answer that is passed on as it comes.
    pub(super) fn head(&self, headers: &[(String, String)]) -> Searched<(Headers, Stream)> {
        let mut found = Found::default();
        let left = self.headers(headers.to_vec(), &mut found);
        let stream = self.stream(headers).map(|stream| (left, stream));
        let left = self.unless_withheld(&found, stream);
        (found, left)
    }

    /// Headers or trailers without what is redacted.
    pub(super) fn headers(&self, headers: Headers, found: &mut Found) -> Headers {
        let redacted = |(name, value): (String, String), found: &mut Found| {
            let value = self.detect.text(&value, Some(&name), found).unwrap_or(value);
            (name, value)
        };
        headers.into_iter().map(|header| redacted(header, found)).collect()
    }

    /// The search in a body, by its type.
    fn stream(&self, headers: &[(String, String)]) -> Result<Stream, Withheld> {
        let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        Stream::of(self.detect.clone(), kind.unwrap_or_default()).map_err(unsearchable)
    }

    fn unless_withheld<T>(&self, found: &Found, left: Result<T, Withheld>) -> Result<T, Withheld> {
        let kinds = found.withheld(&self.detect);
        if kinds.is_empty() { left } else { Err(Withheld::Detected(kinds)) }
    }

    fn in_result(&self, form: Form, result: Value) -> Searched<(Form, Value)> {
        let mut found = Found::default();
        let mut members = match result {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let came = match members.remove("headers") {
            Some(Value::Object(came)) => came,
            _ => Map::new(),
        };
        let came =
            came.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned()));
        let came: Headers = came.collect();
        let mut body = members.remove("body").unwrap_or_default();
        let body = match (form, &mut body) {
            (Form::Json, body) => self.in_value(body.take(), &mut found),
            (Form::Text, Value::String(text)) => {
                self.in_text(&came, text.as_bytes(), &mut found).map(|left| match left {
                    Some(left) => Value::String(String::from_utf8_lossy(&left).into_owned()),
                    None => body,
                })
            }
            (_, body) => {
                let encoded = body.get("base64").and_then(Value::as_str).unwrap_or_default();
                let bytes = STANDARD.decode(encoded).unwrap_or_default();
                self.in_text(&came, &bytes, &mut found).map(|left| match left {
                    Some(left) => json!({"base64": STANDARD.encode(left)}),
                    None => body.take(),
                })
            }
        };
        let mut headers = self.headers(came, &mut found);
        headers.extend(says(&found));
        let left = self.unless_withheld(&found, body).map(|body| {
            let headers = headers.into_iter().map(|(name, value)| (name, Value::String(value)));
            members.insert("headers".to_owned(), Value::Object(headers.collect()));
            members.insert("body".to_owned(), body);
            (form, Value::Object(members))
        });
        (found, left)
    }

    fn in_value(&self, mut body: Value, found: &mut Found) -> Result<Value, Withheld> {
        if self.is_mcp {
            // Before the text that it is written in is looked at.
            let mut look = |text: &mut String, kind: &str| {
                let left = self.detect.encoded(text, kind, found)?;
                *text = left.unwrap_or_else(|| std::mem::take(text));
                Ok(())
            };
            contents::each_encoded(&mut body, &mut look).map_err(unsearchable)?;
        }
        self.detect.value(&mut body, found);
        Ok(body)
    }

    fn in_whole(&self, headers: Headers, body: &Bytes) -> Searched<(Headers, Bytes)> {
        let mut found = Found::default();
        let left = if shaped::is_json(&headers) && !body.is_empty() {
            self.in_json(body, &mut found)
        } else {
            self.in_text(&headers, body, &mut found)
        };
        let mut headers = self.headers(headers, &mut found);
        headers.extend(says(&found));
        let left = self.unless_withheld(&found, left);
        (found, left.map(|left| (headers, left.map_or_else(|| body.clone(), Bytes::from))))
    }

    /// The same bytes where nothing is redacted.
    fn in_json(&self, body: &[u8], found: &mut Found) -> Result<Option<Vec<u8>>, Withheld> {
        let mut value = json::parse(body).map_err(|_| Withheld::NotJson)?;
        if !self.detect.value(&mut value, found) {
            return Ok(None);
        }
        serde_json::to_vec(&value).map(Some).map_err(|_| Withheld::NotJson)
    }

    /// `None` where nothing is redacted.
    fn in_text(
        &self,
        headers: &[(String, String)],
        body: &[u8],
        found: &mut Found,
    ) -> Result<Option<Vec<u8>>, Withheld> {
        if body.is_empty() {
            return Ok(None);
        }
        if shaped::is_json(headers) {
            return Err(Withheld::NotJson);
        }
        let mut stream = self.stream(headers)?;
        let mut left = stream.push(body).map_err(unsearchable)?;
        left.extend(stream.finish().map_err(unsearchable)?);
        found.add(stream.found());
        Ok((left != body).then_some(left))
    }
}

fn searched<T>(done: Result<Searched<T>, Withheld>) -> Searched<T> {
    done.unwrap_or_else(|why| (Found::default(), Err(why)))
}

fn unsearchable(why: Unsearchable) -> Withheld {
    match why {
        Unsearchable::NotJson => Withheld::NotJson,
        why => Withheld::Unsearchable(why.to_string()),
    }
}

/// The header that says what was found.
fn says(found: &Found) -> Option<(String, String)> {
    let kinds: Vec<&str> = found.counts().map(|(kind, _)| kind.as_str()).collect();
    (!kinds.is_empty()).then(|| (DETECTED.to_owned(), kinds.join(", ")))
}

/// Whether an answer is given for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// Upstream has just answered it.
    First,
    /// It was kept for its idempotency key.
    Again,
}

impl Given {
    /// What an entry says of what was found; nothing where that is nothing.
    pub(super) fn body(self, found: &Found) -> Option<Value> {
        let mut body = json!({"detected": found.to_value()});
        if let (Self::Again, Some(members)) = (self, body.as_object_mut()) {
            members.insert("replayed".to_owned(), true.into());
        }
        (!found.is_empty()).then_some(body)
    }
}

/// Records what was found, by kind and number.
///
/// # Errors
/// The record can't be written: the answer stays withheld.
pub(super) async fn record(
    app: &App,
    id: ActionId,
    recorded: &Envelope,
    found: &Found,
    given: Given,
) -> Result<(), Problem> {
    let Some(body) = given.body(found) else { return Ok(()) };
    let now = app.clock.now();
    let envelope = Envelope {
        id: crate::clock::fresh(now),
        entry_type: EntryType::ActionDetected,
        at: now,
        ..recorded.clone()
    };
    let entry = app.prepare(envelope, Some(&body))?;
    app.store.append(vec![entry]).await.map_err(|fault| {
        tracing::error!(action = %id, %fault, "it could not be recorded what was found in a result");
        Problem::of(Code::Unavailable, "the action ran; what was found in its result could not be recorded")
            .with("id", id.to_string())
            .with("happened", "yes")
    })?;
    Ok(())
}
