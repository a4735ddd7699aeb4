//! What a judge answered: a chat completion whose message is one JSON object of exactly two members.
//!
//! Invariant: whatever else comes is no answer, and no answer is no yes.

use crate::json;
use serde_json::Value;

/// The most characters that are kept of what a judge gives as its reason.
const LONGEST_REASON: usize = 500;

/// What the judge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The action fits the purpose.
    Fits,
    /// It doesn't.
    OffPurpose,
    /// It can't tell.
    Unsure,
}

impl Says {
    /// As in the answer.
    pub const WORDS: [&'static str; 3] = ["fits", "off_purpose", "unsure"];

    /// As in the answer, and in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::OffPurpose => "off_purpose",
            Self::Unsure => "unsure",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub says: Says,
    /// Why, in the judge's words: for people who read the record, never for agents.
    pub reason: String,
}

/// What came is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the judge's answer is not of the form that it was asked for")]
pub struct Unreadable;

/// Reads the body of a chat completion.
///
/// # Errors
/// [`Unreadable`] for anything but one choice that has ended, whose message is a JSON object with exactly `verdict` and
/// `reason`.
pub fn parse(body: &[u8]) -> Result<Answer, Unreadable> {
    let completion = json::parse(body).map_err(|_| Unreadable)?;
    let [choice] = completion.get("choices").and_then(Value::as_array).ok_or(Unreadable)?.as_slice() else {
        return Err(Unreadable);
    };
    // An answer that was cut off, filtered or is a call of a tool is none.
    if !matches!(choice.get("finish_reason").and_then(Value::as_str), Some("stop")) {
        return Err(Unreadable);
    }
    let message = choice.get("message").ok_or(Unreadable)?;
    let calls = |name: &str| {
        message
            .get(name)
            .is_some_and(|value| !value.is_null() && value.as_array().is_none_or(|calls| !calls.is_empty()))
    };
    if calls("refusal") || calls("tool_calls") || calls("function_call") {
        return Err(Unreadable);
    }
    let content = message.get("content").and_then(Value::as_str).ok_or(Unreadable)?;
    let Ok(Value::Object(said)) = json::parse(content.as_bytes()) else { return Err(Unreadable) };
    let (Some(verdict), Some(reason), 2) =
        (said.get("verdict").and_then(Value::as_str), said.get("reason").and_then(Value::as_str), said.len())
    else {
        return Err(Unreadable);
    };
    let says = [Says::Fits, Says::OffPurpose, Says::Unsure].into_iter().find(|one| one.as_str() == verdict);
    Ok(Answer { says: says.ok_or(Unreadable)?, reason: reason.chars().take(LONGEST_REASON).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn completion(content: &str) -> Vec<u8> {
        json!({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": content, "refusal": null}}], "usage": {"total_tokens": 3}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn exactly_one_form_is_an_answer() {
        let good = parse(&completion(r#"{"verdict": "fits", "reason": "as asked"}"#)).unwrap();
        assert_eq!((good.says, good.reason.as_str()), (Says::Fits, "as asked"));
        for bad in [
            "",
            "fits",
            "yes",
            r#"{"verdict": "fits"}"#,
            r#"{"verdict": "fits", "reason": ""} and more"#,
            r#"{"verdict": "fits", "reason": "", "confidence": 1}"#,
            r#"{"verdict": "off_purpose", "verdict": "fits", "reason": ""}"#,
            r#"{"verdict": "FITS", "reason": ""}"#,
            r#"{"verdict": true, "reason": ""}"#,
            r#"["fits"]"#,
            "```json\n{\"verdict\": \"fits\", \"reason\": \"\"}\n```",
        ] {
            assert_eq!(parse(&completion(bad)), Err(Unreadable), "{bad}");
        }
    }

    #[test]
    fn a_completion_that_is_not_whole_is_no_answer() {
        let fits = r#"{"verdict": "fits", "reason": ""}"#;
        let with = |path: &str, value: Value| {
            let mut body: Value = serde_json::from_slice(&completion(fits)).unwrap();
            *body.pointer_mut(path).unwrap() = value;
            parse(body.to_string().as_bytes())
        };
        assert!(with("/usage", Value::Null).is_ok());
        for (path, value) in [
            ("/choices", json!([])),
            ("/choices/0/finish_reason", json!("length")),
            ("/choices/0/finish_reason", Value::Null),
            ("/choices/0/message/refusal", json!("I can't")),
            ("/choices/0/message/content", Value::Null),
            ("/choices/0/message/content", json!([{"type": "text", "text": fits}])),
            ("/choices/0/message", Value::Null),
        ] {
            assert_eq!(with(path, value.clone()), Err(Unreadable), "{path} {value}");
        }
        let twice: Value = serde_json::from_slice(&completion(fits)).unwrap();
        let choice = twice.pointer("/choices/0").unwrap();
        assert!(parse(json!({"choices": [choice, choice]}).to_string().as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), content in "\\PC{0,80}") {
            let _ = parse(&bytes);
            let _ = parse(&completion(&content));
        }
    }
}
