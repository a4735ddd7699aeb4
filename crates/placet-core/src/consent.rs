//! What a person is asked before an agent may act on their behalf, in plain words.
//!
//! Everything that the grant will permit is here, and whose word each statement is: what the installation knows, and
//! what the client says about itself.
//!
//! Invariant: nothing that would be granted is left out, and no text of anybody's can look like another statement: it
//! is quoted, and every control and bidirectional character is written as its number.

use crate::{
    agent::Agent,
    client::{RedirectKind, RedirectUri},
    grant::{Authority, cover::AuthorizationDetail},
    pattern::{ActionPattern, ResourcePattern},
    service::Effect,
    task::Task,
    time::Timestamp,
    user::User,
    waiting::Through,
};
use std::fmt::Write as _;

/// An action that a service in force declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What it does, where its service says.
    pub effect: Option<Effect>,
}

/// All that is asked.
#[derive(Debug)]
pub struct Consent<'a> {
    /// Who asks.
    pub agent: &'a Agent,
    /// What the client calls itself.
    pub client_name: Option<&'a str>,
    /// Where nobody here has said anything about the client yet: how it came.
    pub unknown: Option<Unknown<'a>>,
    /// Who is asked.
    pub user: &'a User,
    /// How it was asked, and where the answer goes.
    pub way: Way<'a>,
    /// What would be granted.
    pub authority: &'a Authority,
    /// For what.
    pub task: &'a Task,
    /// The declared actions that it would reach, by name.
    pub actions: &'a [Declared],
    /// The accounts that it would reach, each with its service.
    pub connections: &'a [(String, String)],
    /// Limits of the rules that apply to the agent, in words.
    pub limits: &'a [String],
}

/// A client that nobody has registered by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown<'a> {
    /// It is what a document at this URL describes.
    At(&'a str),
    /// It registered itself.
    Itself,
}

/// How a client asks, and where it is answered.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// It sent the person's browser, which is sent back.
    Browser(&'a RedirectUri),
    /// It asked from elsewhere, and comes for the answer itself.
    Elsewhere {
        /// How the person was found.
        through: Through,
        /// The address that it asked from.
        from: Option<&'a str>,
        /// When.
        asked: Timestamp,
        /// What the client says that the person can recognise the request by.
        message: Option<&'a str>,
        /// The present.
        now: Timestamp,
    },
}

/// One heading with what is said under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The heading.
    pub title: &'static str,
    /// Sentences, in order.
    pub lines: Vec<Line>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// What the installation says.
    Plain(String),
    /// What a person should stop at.
    Warning(String),
    /// What the client says, and nobody else.
    Claimed(String),
}

impl Consent<'_> {
    /// The whole question.
    pub fn parts(&self) -> Vec<Part> {
        let way = match self.way {
            Way::Browser(redirect) => Part { title: "Where you will be sent", lines: sent(redirect) },
            Way::Elsewhere { .. } => Part { title: "Where it was asked", lines: self.elsewhere() },
        };
        let mut parts = vec![
            Part { title: "Who asks", lines: self.who() },
            Part { title: "What for", lines: self.purpose() },
            Part { title: "What it could do", lines: self.actions() },
            Part { title: "On what", lines: self.resources() },
            Part { title: "Through which accounts", lines: self.accounts() },
            Part { title: "Within which limits", lines: self.limits() },
        ];
        // Where somebody else may have begun it, that is what to look at first.
        let place = if matches!(self.way, Way::Browser(_)) { parts.len() } else { 1 };
        parts.insert(place, way);
        parts
    }

    fn who(&self) -> Vec<Line> {
        let mut lines = match self.unknown {
            None => self.registered(),
            Some(Unknown::At(url)) => vec![
                Line::Warning("A program that nobody here has registered.".to_owned()),
                Line::Plain(format!(
                    "It is described at {}, and nobody vouches for it but that place.",
                    quoted(url)
                )),
            ],
            Some(Unknown::Itself) => vec![Line::Warning(
                "A program that has registered itself: nobody here knows whose it is.".to_owned(),
            )],
        };
        if self.unknown.is_some() {
            lines.push(Line::Plain("If you allow it, it becomes an agent of this installation.".to_owned()));
        }
        if let Some(name) = self.client_name.filter(|name| *name != self.agent.handle) {
            lines.push(Line::Claimed(format!("It calls itself {}.", quoted(name))));
        }
        lines.push(Line::Plain(format!("It would act on behalf of {}.", quoted(&self.user.name))));
        lines
    }

    fn registered(&self) -> Vec<Line> {
        let mut lines = vec![Line::Plain(match &self.agent.owner {
            Some(owner) => {
                format!("The agent {}, which answers to {}.", quoted(&self.agent.handle), quoted(owner))
            }
            None => format!("The agent {}. Nobody is named as its owner.", quoted(&self.agent.handle)),
        })];
        if !self.agent.description.is_empty() {
            lines.push(Line::Plain(format!("It was registered as: {}", quoted(&self.agent.description))));
        }
        lines
    }

    fn purpose(&self) -> Vec<Line> {
        let mut lines = vec![match &self.task.description {
            Some(text) => Line::Claimed(format!("It says: {}", quoted(text))),
            None => Line::Plain("It does not say what for.".to_owned()),
        }];
        if let Some(label) = &self.task.label {
            lines.push(Line::Claimed(format!("It calls the task {}.", quoted(label))));
        }
        lines.push(Line::Plain("Whatever it does is done for this task, and ends with it.".to_owned()));
        lines
    }

    fn actions(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (effect, words) in [
            (Some(Effect::Read), "Read"),
            (Some(Effect::Write), "Change"),
            (Some(Effect::Delete), "Delete"),
            (Some(Effect::Money), "Move money"),
            (None, "Do what nobody has described, and what counts as moving money"),
        ] {
            let names: Vec<String> = self
                .actions
                .iter()
                .filter(|action| action.effect == effect)
                .map(|action| quoted(&action.name))
                .collect();
            if !names.is_empty() {
                let text = format!("{words}: {}.", names.join(", "));
                lines.push(if matches!(effect, Some(Effect::Read | Effect::Write)) {
                    Line::Plain(text)
                } else {
                    Line::Warning(text)
                });
            }
        }
        if self.actions.is_empty() {
            lines.push(Line::Plain("Nothing that a service of this installation has today.".to_owned()));
        }
        let everything = |patterns: &[ActionPattern]| patterns.iter().any(ActionPattern::is_everything);
        if everything(&self.authority.tools)
            && self.authority.scope.iter().any(|scope| scope.action().is_everything())
        {
            lines.push(Line::Warning("Every action that is added later, too.".to_owned()));
        }
        lines.push(Line::Plain(format!(
            "It asks for {}, with the tools {}.",
            list(self.authority.scope.iter().map(|scope| scope.as_str().to_owned())),
            list(self.authority.tools.iter().map(ToString::to_string)),
        )));
        let details = &self.authority.authorization_details;
        for detail in details {
            lines.push(Line::Plain(self::detail(detail)));
        }
        if !details.is_empty() && details.iter().all(|detail| matches!(detail, AuthorizationDetail::Other(_)))
        {
            lines.push(Line::Plain(
                "Through this installation itself it could do none of the actions above.".to_owned(),
            ));
        }
        lines
    }

    fn resources(&self) -> Vec<Line> {
        let resources = &self.authority.resources;
        if resources.iter().any(ResourcePattern::is_everything) {
            return vec![Line::Warning("Everything that its rules let it reach.".to_owned())];
        }
        vec![Line::Plain(format!("{}.", list(resources.iter().map(ToString::to_string))))]
    }

    fn accounts(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .connections
            .iter()
            .map(|(name, service)| Line::Plain(format!("{} at {}.", quoted(name), quoted(service))))
            .collect();
        if lines.is_empty() {
            lines.push(Line::Plain("None that is connected today.".to_owned()));
        }
        if self.authority.connections.is_none() {
            lines.push(Line::Plain(
                "Accounts that you or your organization connect later can be used, too.".to_owned(),
            ));
        }
        lines.push(Line::Plain(format!(
            "Its tokens are for {}.",
            list(self.authority.audience.iter().cloned())
        )));
        lines
    }

    fn limits(&self) -> Vec<Line> {
        let mut lines: Vec<Line> =
            self.limits.iter().map(|limit| Line::Plain(format!("{}.", quoted(limit)))).collect();
        if lines.is_empty() {
            lines.push(Line::Plain("No rule that applies to it has a limit today.".to_owned()));
        }
        lines
    }

    fn elsewhere(&self) -> Vec<Line> {
        let Way::Elsewhere { through, from, asked, message, now } = self.way else { return Vec::new() };
        let mut lines = vec![Line::Warning(
            match through {
                Through::Device => {
                    "Whoever began this is not at this page: it gets what you allow on a device elsewhere. Go on only if you have just begun it yourself, on a device that you have before you. Whoever sent you a code or a link asks for themselves."
                }
                Through::Backchannel => {
                    "You did not begin this here: the program has asked for you by name. Go on only if you know what it is doing for you just now."
                }
            }
            .to_owned(),
        )];
        if let Some(message) = message {
            lines.push(Line::Claimed(format!("It says that you recognise it by: {}", quoted(message))));
        }
        let place = match from {
            Some(from) => format!("from the address {}", quoted(from)),
            None => "from an address that is not known".to_owned(),
        };
        let when = Timestamp::from_seconds(asked.as_seconds());
        lines.push(Line::Plain(format!("It was asked at {when}, {}, {place}.", ago(asked, now))));
        lines
    }
}

fn sent(redirect: &RedirectUri) -> Vec<Line> {
    let host = quoted(redirect.host());
    match redirect.kind() {
        RedirectKind::Https => vec![Line::Plain(format!("To {host}, which is told your answer."))],
        RedirectKind::Loopback => vec![Line::Warning(format!(
            "To a program on this computer ({host}). Any program here could have asked: go on only if you have just begun this in an application that you trust."
        ))],
        RedirectKind::PrivateUse => vec![Line::Warning(format!(
            "To whichever application on this device answers to {host}: go on only if you have just begun this in an application that you trust."
        ))],
    }
}

/// How long ago, in words.
fn ago(then: Timestamp, now: Timestamp) -> String {
    match then.until(now).as_secs() {
        0..60 => "less than a minute ago".to_owned(),
        60..120 => "a minute ago".to_owned(),
        seconds if seconds < 7200 => format!("{} minutes ago", seconds / 60),
        seconds => format!("{} hours ago", seconds / 3600),
    }
}

/// In quotation marks, whole, with every control, bidirectional and invisible character as its number.
pub fn quoted(text: &str) -> String {
    format!("“{}”", visible(text))
}

/// The text with every control, bidirectional and invisible character, and every quotation mark of [`quoted`], as its
/// number.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let hidden = letter.is_control()
            || matches!(letter, '“' | '”' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
        if hidden {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

fn detail(detail: &AuthorizationDetail) -> String {
    match detail {
        AuthorizationDetail::PlacetAction { actions, resources, max } => {
            let mut text = format!("But no more than {}", list(actions.iter().map(ToString::to_string)));
            if let Some(resources) = resources {
                let _ = write!(text, " on {}", list(resources.iter().map(ToString::to_string)));
            }
            for (name, bound) in max {
                let _ = write!(text, ", {} at most {}", quoted(name), bound.as_number());
            }
            text + "."
        }
        // Its meaning is the administrator's word; what it says is what whoever reads the token goes by.
        AuthorizationDetail::Other(entry) => {
            let meaning = entry.declared().map(|declared| quoted(&declared.definition().description));
            format!(
                "Where its tokens are for: {} ({}), as stated here: {}.",
                meaning.unwrap_or_else(|| "what nobody has described".to_owned()),
                quoted(entry.kind()),
                quoted(&serde_json::to_string(entry.members()).unwrap_or_default())
            )
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.map(|item| quoted(&item)).collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests;
