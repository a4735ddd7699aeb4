//! What in an answer looks like a secret or like personal data: which kinds there are, what a policy wants done with each, and
//! the search for them (DESIGN §4 `shape`).
//!
//! A detector knows the form of a thing, and its checksum where it has one: it finds what is written as such things are
//! written, and nothing that was packed, encrypted or spelled out. So it is a net under rules that say what may come back, and
//! takes the place of none.
//!
//! Every search looks at a bounded stretch around each place, so that its time grows with the text alone, and what it finds
//! does not depend on the pieces that a text comes in.
//!
//! Invariant: what was found is told by kind and number, never by value.

mod encoded;
mod event;
mod ident;
mod json;
mod layout;
mod letters;
mod personal;
mod secrets;
mod stream;
#[cfg(test)]
mod tests;
mod text;

pub use layout::Layout;
pub use stream::Stream;

use serde_json::Value;
use std::{collections::BTreeMap, fmt, ops::Range};

/// What is done where something is found; the later the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// It passes, is counted, and the agent is told that it is there.
    Mark,
    /// `[redacted:KIND]` stands in its place.
    Redact,
    /// The whole answer is withheld.
    Withhold,
}

impl Level {
    /// In the order of their strictness.
    pub const ALL: [Self; 3] = [Self::Mark, Self::Redact, Self::Withhold];

    /// As a policy writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Redact => "redact",
            Self::Withhold => "withhold",
        }
    }
}

/// What kinds belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// What gives access to something.
    Secrets,
    /// What is about a person.
    Personal,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Secrets, Self::Personal];

    /// As a policy writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Personal => "personal",
        }
    }

    /// Its kinds.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| kind.group() == self)
    }
}

macro_rules! kinds {
    ($($(#[doc = $about:literal])* $kind:ident = $name:literal, $group:ident;)*) => {
        /// What can be found. Names are stable: policies, answers and the record say them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $about])* $kind,)*
        }

        impl Kind {
            /// All of them, the secrets first.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];

            /// As a policy writes it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What it finds, for people.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$kind => concat!($($about),*).trim_ascii(),)* }
            }

            /// Where it belongs.
            pub const fn group(self) -> Group {
                match self { $(Self::$kind => Group::$group,)* }
            }
        }
    };
}

kinds! {
    /// Private keys in PEM, from `-----BEGIN … PRIVATE KEY-----` to the end.
    PrivateKey = "private_key", Secrets;
    /// Signed tokens: three parts in base64url, of which the first is a JSON object.
    Jwt = "jwt", Secrets;
    /// The password in a URL: `https://user:password@host`.
    UrlPassword = "url_password", Secrets;
    /// What stands beside a name such as `password`, `client_secret`, `api_key`, `access_token` or `Authorization`, and is no placeholder.
    NamedSecret = "named_secret", Secrets;
    /// GitHub: `ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_`, `github_pat_`.
    GithubToken = "github_token", Secrets;
    /// GitLab: `glpat-`, `gldt-`, `glrt-`, `glptt-`, `glsoat-`.
    GitlabToken = "gitlab_token", Secrets;
    /// Slack: `xoxb-` and its like, `xapp-`, and the addresses of incoming webhooks.
    SlackToken = "slack_token", Secrets;
    /// Stripe: `sk_live_`, `sk_test_`, `rk_live_`, `rk_test_`, `whsec_`.
    StripeKey = "stripe_key", Secrets;
    /// AWS: ids of access keys, `AKIA` and `ASIA` with 16 letters and digits.
    AwsKey = "aws_key", Secrets;
    /// Google: API keys (`AIza`), client secrets (`GOCSPX-`), access tokens (`ya29.`).
    GoogleKey = "google_key", Secrets;
    /// npm: `npm_` with 36 letters and digits.
    NpmToken = "npm_token", Secrets;
    /// PyPI: `pypi-AgEI`.
    PypiToken = "pypi_token", Secrets;
    /// OpenAI: `sk-proj-`, `sk-svcacct-`, `sk-admin-`.
    OpenaiKey = "openai_key", Secrets;
    /// Anthropic: `sk-ant-`.
    AnthropicKey = "anthropic_key", Secrets;
    /// Hugging Face: `hf_` with 34 letters and digits.
    HuggingfaceToken = "huggingface_token", Secrets;
    /// SendGrid: `SG.` with its two parts.
    SendgridKey = "sendgrid_key", Secrets;
    /// DigitalOcean: `dop_v1_`, `doo_v1_`, `dor_v1_`.
    DigitaloceanToken = "digitalocean_token", Secrets;
    /// Shopify: `shpat_`, `shpss_`, `shpca_`, `shppa_`.
    ShopifyToken = "shopify_token", Secrets;

    /// Numbers of payment cards: the ranges of Visa, Mastercard, American Express, Discover, Diners, JCB, UnionPay and Mir, with the right check digit.
    Card = "card", Personal;
    /// IBANs: the length of their country, and the right check digits.
    Iban = "iban", Personal;
    /// Addresses of e-mail.
    Email = "email", Personal;
    /// Telephone numbers: with `+` and a country's code, as `(415) 555-2671`, or beside a word such as `phone`.
    Phone = "phone", Personal;
    /// United States social security numbers, `123-45-6789`, of ranges that are given out.
    Ssn = "ssn", Personal;
    /// Numbers of persons with check digits: Brazil (CPF, with its dots), France (NIR), Italy (codice fiscale), Spain (DNI with a hyphen or beside its name, NIE).
    NationalId = "national_id", Personal;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why nothing can be looked for in a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsearchable {
    /// Something is longer than can be read as one.
    #[error("an event, a line or a record of it is too long to be searched")]
    Long,
    /// What says that it is JSON isn't, or has two readings.
    #[error("what says that it is JSON is not, or has two readings")]
    NotJson,
    /// Nothing is looked for in this encoding.
    #[error("its encoding is `{}`", .0.escape_default())]
    Encoding(String),
    /// It says, or begins as if, it was in UTF-16, and isn't, or in which order can't be told.
    #[error("it is no UTF-16 that can be read")]
    Utf16,
    /// It holds bytes that are no text, and something is looked for that withholds an answer.
    #[error("it holds what is no text, and so can't be looked into")]
    Closed,
    /// Text that is in UTF-8 or the like has no zeros.
    #[error("it is text with zeros in it")]
    Zeros,
}

/// What is looked for, and what is done with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detect(BTreeMap<Kind, Level>);

impl Detect {
    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is done with a kind; `None` where it is not looked for.
    pub fn level(&self, kind: Kind) -> Option<Level> {
        self.0.get(&kind).copied()
    }

    /// Says what is done with a kind, whatever was said before.
    pub fn set(&mut self, kind: Kind, level: Level) {
        self.0.insert(kind, level);
    }

    /// All that either looks for; of what both do the stricter.
    pub fn join(&mut self, other: &Self) {
        for (kind, level) in &other.0 {
            self.0.entry(*kind).and_modify(|known| *known = (*known).max(*level)).or_insert(*level);
        }
    }

    /// What is looked for, with what is done.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, Level)> {
        self.0.iter().map(|(kind, level)| (*kind, *level))
    }

    /// The first kind that the other keeps back less than this one does.
    pub fn beyond(&self, other: &Self) -> Option<(Kind, Level)> {
        self.kinds().find(|(kind, level)| other.level(*kind) < Some(*level))
    }

    /// As a policy writes it: a whole group by its name, and beside it the kinds of it that differ.
    pub(crate) fn in_words(&self) -> Vec<(&'static str, Level)> {
        let mut words = Vec::new();
        for group in Group::ALL {
            // What most of the group have, where all have something.
            let levels: Option<Vec<Level>> = group.kinds().map(|kind| self.level(kind)).collect();
            let count = |level: Level| levels.iter().flatten().filter(|one| **one == level).count();
            let most = levels.as_ref().and_then(|_| Level::ALL.into_iter().max_by_key(|level| count(*level)));
            words.extend(most.map(|level| (group.as_str(), level)));
            let others = group.kinds().filter_map(|kind| Some((kind, self.level(kind)?)));
            words.extend(
                others.filter(|(_, level)| Some(*level) != most).map(|(kind, level)| (kind.as_str(), level)),
            );
        }
        words
    }

    /// Text without what is to be redacted; `None` where nothing of it is. What was found is counted in `found`. `name` is the
    /// name of the member whose value it is.
    pub fn text(&self, text: &str, name: Option<&str>, found: &mut Found) -> Option<String> {
        let bytes = text::whole(self, text.as_bytes(), name, found)?;
        // Findings end where ASCII does, and what takes their place is text.
        Some(String::from_utf8(bytes).unwrap_or_else(|_| "[redacted]".to_owned()))
    }

    /// The same of bytes, which are taken for text of which only what is ASCII is understood.
    pub fn bytes(&self, bytes: &[u8], found: &mut Found) -> Option<Vec<u8>> {
        text::whole(self, bytes, None, found)
    }

    /// Text in base64 without what is to be redacted in what it stands for, and says to be of the type `kind`; `None` where
    /// nothing of it is.
    ///
    /// # Errors
    /// It can't be looked into, and something that is looked for withholds an answer; or it says to be text, and can't be
    /// searched.
    pub fn encoded(&self, text: &str, kind: &str, found: &mut Found) -> Result<Option<String>, Unsearchable> {
        encoded::redact(self, text, kind, found)
    }

    /// Redacts all strings, numbers and names of members of a value. Whether anything was.
    pub fn value(&self, value: &mut Value, found: &mut Found) -> bool {
        json::redact(self, value, found)
    }
}

/// How much of what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found(BTreeMap<Kind, u64>);

impl Found {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts what was found elsewhere too.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            let known = self.0.entry(*kind).or_default();
            *known = known.saturating_add(*count);
        }
    }

    /// Counts those that were found elsewhere and are kept back more strictly than by `level`.
    fn add_beyond(&mut self, other: &Self, detect: &Detect, level: Level) {
        for (kind, count) in other.counts().filter(|(kind, _)| detect.level(*kind) > Some(level)) {
            let known = self.0.entry(kind).or_default();
            *known = known.saturating_add(count);
        }
    }

    fn count(&mut self, kind: Kind) {
        let count = self.0.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// By kind.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Those for which the answer is withheld.
    pub fn withheld(&self, detect: &Detect) -> Vec<Kind> {
        let kinds = self.0.keys().copied();
        kinds.filter(|kind| detect.level(*kind) == Some(Level::Withhold)).collect()
    }

    /// `{"card": 2, …}`.
    pub fn to_value(&self) -> Value {
        Value::Object(self.counts().map(|(kind, count)| (kind.as_str().to_owned(), count.into())).collect())
    }
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// What takes the place of something.
fn mark(kind: Kind) -> String {
    format!("[redacted:{}]", kind.as_str())
}
