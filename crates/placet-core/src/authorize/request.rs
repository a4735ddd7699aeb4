//! An authorization request as it comes (OAuth 2.1 §4.1.1), read in two steps: first what says where an answer may go,
//! then, once that is known to be the client's, the rest.
//!
//! Invariant: a parameter that stands twice is refused, and one that says where to answer is never guessed.

use super::pkce::Challenge;
use crate::jose::{NoThumbprint, Thumbprint};
use std::collections::BTreeMap;

/// The most bytes that a `state` has.
const MAX_STATE: usize = 4096;

/// Parameters by name, with every value that was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, Vec<String>>);

/// Why a request is refused: an `error` code and a sentence for the client's developer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {description}")]
pub struct Refusal {
    /// `error` of RFC 6749 §4.1.2.1 and its extensions.
    pub error: &'static str,
    /// `error_description`: printable ASCII without quotes and backslashes, as that section wants it.
    pub description: String,
}

impl Refusal {
    /// A refusal; what the description's grammar doesn't have becomes `?`.
    pub fn new(error: &'static str, description: &str) -> Self {
        Self { error, description: printable(description).chars().take(500).collect() }
    }
}

/// A message in the characters that an `error_description` may have (RFC 6749 §4.1.2.1, §5.2): a quote becomes `'`, and
/// what else its grammar doesn't have becomes `?`.
pub(crate) fn printable(text: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' | '!' | '#'..='[' | ']'..='~' => letter,
        '"' => '\'',
        _ => '?',
    };
    text.chars().map(letter).collect()
}

impl FromIterator<(String, String)> for Parameters {
    /// An empty value is as good as none (RFC 6749 §3.1).
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            all.entry(name).or_default().push(value);
        }
        Self(all)
    }
}

impl Parameters {
    /// The value of a parameter that stands at most once, and is text.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn once(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            // What was not UTF-8 was decoded to this.
            Some([value]) if !value.contains('\u{fffd}') => Ok(Some(value)),
            Some([_]) => Err(Refusal::new("invalid_request", &format!("the parameter {name} is not UTF-8"))),
            Some(_) => Err(Refusal::new("invalid_request", &format!("the parameter {name} stands twice"))),
        }
    }

    /// The `state`, which every answer gives back as it was sent (RFC 6749 §4.1.2).
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn state(&self) -> Result<Option<&str>, Refusal> {
        let state = self.once("state")?;
        if state.is_some_and(|state| state.len() > MAX_STATE) {
            return Err(Refusal::new("invalid_request", "the parameter state is longer than 4096 bytes"));
        }
        Ok(state)
    }
}

/// What the client wants of the sign-in (OpenID Connect Core §3.1.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prompt {
    /// No page may be shown. As each authorization is approved by a person, there is always one.
    pub none: bool,
    /// The person has to sign in for this request.
    pub login: bool,
}

/// The rest of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What the code will be bound to.
    pub challenge: Challenge,
    /// What is wanted of the sign-in.
    pub prompt: Prompt,
    /// The key that whoever uses the code has to prove to hold (`dpop_jkt`, RFC 9449 §10).
    pub key: Option<Thumbprint>,
}

impl Request {
    /// Reads a request whose redirect URI is known to be the client's.
    ///
    /// # Errors
    /// RFC 6749 §4.1.2.1: `unsupported_response_type`, `invalid_request`; `request_not_supported`
    /// (OpenID Connect Core §3.1.2.6).
    pub fn read(params: &Parameters) -> Result<Self, Refusal> {
        match params.once("response_type")? {
            None => return Err(Refusal::new("invalid_request", "the parameter response_type is missing")),
            Some("code") => {}
            Some(_) => return Err(Refusal::new("unsupported_response_type", "response_type has to be code")),
        }
        if !matches!(params.once("response_mode")?, None | Some("query")) {
            return Err(Refusal::new("invalid_request", "response_mode has to be query"));
        }
        if params.once("request")?.is_some() {
            return Err(Refusal::new("request_not_supported", "push the request instead (RFC 9126)"));
        }
        let challenge =
            Challenge::read(params.once("code_challenge")?, params.once("code_challenge_method")?)
                .map_err(|error| Refusal::new("invalid_request", &error.to_string().replace('`', "")))?;
        let mut prompt = Prompt::default();
        let mut words = 0;
        for word in params.once("prompt")?.unwrap_or_default().split(' ').filter(|word| !word.is_empty()) {
            words += 1;
            match word {
                "none" => prompt.none = true,
                "login" | "select_account" => prompt.login = true,
                // A person is asked each time.
                _ => {}
            }
        }
        if prompt.none && words > 1 {
            return Err(Refusal::new("invalid_request", "prompt is none, or something else, not both"));
        }
        let key = params.once("dpop_jkt")?.map(str::parse).transpose();
        let key = key.map_err(|error: NoThumbprint| {
            Refusal::new("invalid_request", &format!("dpop_jkt is {error}"))
        })?;
        Ok(Self { challenge, prompt, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn params(pairs: &[(&str, &str)]) -> Parameters {
        let good =
            [("response_type", "code"), ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
        let changed = |name: &str| pairs.iter().any(|(other, _)| *other == name);
        let kept = good.iter().filter(|(name, _)| !changed(name));
        kept.chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn error(pairs: &[(&str, &str)]) -> &'static str {
        Request::read(&params(pairs)).unwrap_err().error
    }

    #[test]
    fn a_plain_request_is_read() {
        let request = Request::read(&params(&[("prompt", "consent"), ("response_mode", "query")])).unwrap();
        assert_eq!((request.challenge.to_string().as_str(), request.prompt), (CHALLENGE, Prompt::default()));
        assert!(Request::read(&params(&[("prompt", "login consent")])).unwrap().prompt.login);
        assert!(Request::read(&params(&[("prompt", "none")])).unwrap().prompt.none);
    }

    #[test]
    fn everything_else_is_refused_by_its_name() {
        assert_eq!(error(&[("response_type", "")]), "invalid_request");
        for kind in ["token", "id_token", "code token", "none", "CODE", "code "] {
            assert_eq!(error(&[("response_type", kind)]), "unsupported_response_type", "{kind}");
        }
        assert_eq!(error(&[("response_mode", "fragment")]), "invalid_request");
        assert_eq!(error(&[("response_mode", "form_post")]), "invalid_request");
        assert_eq!(error(&[("request", "eyJ")]), "request_not_supported");
        assert_eq!(error(&[("code_challenge", "")]), "invalid_request");
        assert_eq!(error(&[("code_challenge_method", "plain")]), "invalid_request");
        assert_eq!(error(&[("code_challenge_method", "")]), "invalid_request");
        assert_eq!(error(&[("prompt", "none login")]), "invalid_request");
        assert_eq!(error(&[("dpop_jkt", "short")]), "invalid_request");
    }

    #[test]
    fn a_parameter_stands_once() {
        for name in ["response_type", "code_challenge", "code_challenge_method", "prompt", "response_mode"] {
            assert_eq!(error(&[(name, "code"), (name, "code")]), "invalid_request", "{name}");
        }
        let twice = params(&[("state", "a"), ("state", "b"), ("client_id", "a\u{fffd}")]);
        assert!(twice.state().is_err() && twice.once("client_id").is_err());
        // Empty ones are not there.
        let empty = params(&[("state", ""), ("state", "b")]);
        assert_eq!(empty.state().unwrap(), Some("b"));
        assert!(params(&[("state", &"x".repeat(4097))]).state().is_err());
    }

    #[test]
    fn a_description_is_what_its_grammar_allows() {
        assert_eq!(Refusal::new("x", "a \"b\" \\ é\n").description, "a 'b' ? ??");
    }
}
