//! `placet approvals`: what agents are held for, and a person's answer. It takes a person's session and nothing else.

use super::Members;
use crate::{
    cli::Context,
    client::{Client, encoded, query},
    exit::{Exit, Failure},
    input,
    output::{note, rows},
};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

const APPROVE: &str = "\
Without a flag it may run once. With one of the flags a permit is given: further requests within it run without asking
again. What it says is shown first, in the words in which it is kept.

Examples:
  placet approvals approve apr_01k…
  placet approvals approve apr_01k… --for task
  placet approvals approve apr_01k… --count 5 --sum amount=500 --max amount=100 --one-of currency=USD --lasts 2h";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the approvals that you can see
    #[command(after_help = "Examples:\n  placet approvals list\n  placet approvals list --state pending")]
    List {
        /// Only those in this state (pending, approved, denied, used, expired, ended)
        #[arg(long)]
        state: Option<String>,
    },
    /// Show everything that will run if you approve
    #[command(after_help = "Example:\n  placet approvals show apr_01k…")]
    Show {
        /// The approval's id
        approval: String,
    },
    /// Approve the request, once or within bounds
    #[command(after_help = APPROVE)]
    Approve(Box<Approve>),
    /// Deny the request
    #[command(after_help = "Example:\n  placet approvals deny apr_01k…")]
    Deny {
        /// The approval's id
        approval: String,
    },
}

/// A yes.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The approval's id
    approval: String,
    /// Give a permit for the request's `task` or `grant`
    #[arg(long = "for", value_name = "WHAT", value_parser = ["task", "grant"])]
    scope: Option<String>,
    /// A pattern of actions that it permits (may be repeated); the request's action
    #[arg(long = "action", value_name = "PATTERN")]
    actions: Vec<String>,
    /// A pattern of resources that it permits (may be repeated); the request's resource
    #[arg(long = "resource", value_name = "PATTERN")]
    resources: Vec<String>,
    /// The most that a parameter may be (may be repeated)
    #[arg(long, value_name = "PARAM=NUMBER")]
    max: Vec<String>,
    /// The least that a parameter may be (may be repeated)
    #[arg(long, value_name = "PARAM=NUMBER")]
    min: Vec<String>,
    /// What a parameter may be, separated by commas (may be repeated)
    #[arg(long, value_name = "PARAM=A,B")]
    one_of: Vec<String>,
    /// How often, this request included
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How much of a parameter in all, this request included
    #[arg(long, value_name = "PARAM=NUMBER")]
    sum: Option<String>,
    /// How long at the most (30s, 30m, 2h, 7d)
    #[arg(long, value_name = "TIME")]
    lasts: Option<String>,
    /// Give it without asking back
    #[arg(long)]
    yes: bool,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.person()?, context.out);
        match self {
            Self::List { state } => {
                let answer = client.read(&format!("/v1/approvals{}", query(&[("state", state)]))).await?;
                if out.is_json() {
                    out.document(&answer);
                } else {
                    out.list(
                        &flat(&answer),
                        "approvals",
                        &["id", "state", "agent", "action", "resource", "params", "missing", "expires"],
                    );
                }
                Ok(Exit::Done)
            }
            Self::Show { approval } => {
                out.document(&client.read(&path(&approval)).await?);
                Ok(Exit::Done)
            }
            Self::Approve(approve) => approve.run(context, &client).await,
            Self::Deny { approval } => {
                out.document(&client.post(&path(&approval), &json!({"verdict": "deny"})).await?);
                Ok(Exit::Done)
            }
        }
    }
}

impl Approve {
    async fn run(self, context: &Context, client: &Client) -> Result<Exit, Failure> {
        let (out, path, yes) = (context.out, path(&self.approval), self.yes);
        let Some(asked) = self.permit()? else {
            out.document(&client.post(&path, &json!({"verdict": "approve"})).await?);
            return Ok(Exit::Done);
        };
        let shown = client.post(&format!("{path}/permit"), &asked).await?;
        let words = shown.get("words").cloned().unwrap_or_default();
        if !yes {
            for sentence in rows(&words, "words") {
                note(&crate::output::text(sentence));
            }
            if !input::confirmed("Give this permit?")? {
                note("nothing was given; --yes gives it without asking back");
                return Ok(Exit::Negative);
            }
        }
        // What was shown is what is given: its end as a point in time too.
        let body = json!({"verdict": "approve", "permit": shown.get("permit"), "words": words});
        out.document(&client.post(&path, &body).await?);
        Ok(Exit::Done)
    }

    /// The permit that is asked for; none where no flag is given.
    fn permit(self) -> Result<Option<Value>, Failure> {
        let mut params: Map<String, Value> = Map::new();
        let mut bound = |flag: &str, kind: &str, given: &[String]| -> Result<(), Failure> {
            for text in given {
                let (name, value) = pair(flag, text)?;
                let value = if kind == "one_of" {
                    value.split(',').map(scalar).collect()
                } else {
                    number(flag, value)?
                };
                let of = params.entry(name).or_insert_with(|| json!({}));
                if let Some(of) = of.as_object_mut() {
                    of.insert(kind.to_owned(), value);
                }
            }
            Ok(())
        };
        bound("--max", "max", &self.max)?;
        bound("--min", "min", &self.min)?;
        bound("--one-of", "one_of", &self.one_of)?;
        let sum = match self.sum.as_deref() {
            Some(text) => {
                let (of, max) = pair("--sum", text)?;
                Some(json!({"of": of, "max": number("--sum", max)?}))
            }
            None => None,
        };
        let lasts = self.lasts.as_deref().map(seconds).transpose()?;
        let asked = Members::default()
            .maybe("for", self.scope)
            .list("actions", &self.actions)
            .list("resources", &self.resources)
            .maybe("params", (!params.is_empty()).then_some(params))
            .maybe("count", self.count)
            .maybe("sum", sum)
            .maybe("lasts", lasts)
            .done();
        Ok(asked.as_object().is_some_and(|members| !members.is_empty()).then_some(asked))
    }
}

fn path(approval: &str) -> String {
    format!("/v1/approvals/{}", encoded(approval))
}

fn pair<'t>(flag: &str, text: &'t str) -> Result<(String, &'t str), Failure> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::unreadable(format!("{flag} has the form PARAM=VALUE")))?;
    Ok((name.to_owned(), value))
}

fn number(flag: &str, text: &str) -> Result<Value, Failure> {
    let number: Result<serde_json::Number, _> = text.parse();
    number.map(Value::Number).map_err(|_| Failure::unreadable(format!("{flag}: `{text}` is no number")))
}

/// A JSON scalar where the text is one, else the text.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_) | Value::Null | Value::String(_))) => value,
        _ => Value::from(text),
    }
}

fn seconds(text: &str) -> Result<u64, Failure> {
    let wrong = || Failure::unreadable(format!("--lasts: `{text}` is no time such as 30s, 30m, 2h or 7d"));
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = text.get(..text.len() - 1).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    count.checked_mul(unit).ok_or_else(wrong)
}

/// The list with what a person looks for first beside the id.
fn flat(answer: &Value) -> Value {
    let row = |approval: &Value| {
        let of = |pointer: &str| approval.pointer(pointer).cloned().unwrap_or_default();
        json!({
            "id": of("/id"), "state": of("/state"), "agent": of("/shown/agent/handle"), "action": of("/shown/action"),
            "resource": of("/shown/resource"), "params": of("/shown/params"), "missing": of("/missing"),
            "expires": of("/expires"),
        })
    };
    rows(answer, "approvals").iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        approve: Approve,
    }

    fn asked(flags: &[&str]) -> Option<Value> {
        let all = ["x", "apr_1"].iter().chain(flags);
        Only::try_parse_from(all).unwrap().approve.permit().unwrap()
    }

    #[test]
    fn flags_become_the_terms_of_a_permit() {
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&["--yes"]), None);
        assert_eq!(asked(&["--for", "task"]), Some(json!({"for": "task"})));
        let flags = [
            "--count",
            "5",
            "--sum",
            "amount=500.50",
            "--max",
            "amount=100",
            "--min",
            "amount=1",
            "--one-of",
            "currency=USD,EUR",
            "--one-of",
            "n=1,true",
            "--lasts",
            "2h",
            "--action",
            "refunds.*",
        ];
        let text = r#"{"actions": ["refunds.*"], "count": 5, "lasts": 7200, "sum": {"of": "amount", "max": 500.50},
            "params": {"amount": {"max": 100, "min": 1}, "currency": {"one_of": ["USD", "EUR"]}, "n": {"one_of": [1, true]}}}"#;
        assert_eq!(asked(&flags), Some(serde_json::from_str(text).unwrap()));
        for wrong in
            [["--max", "amount"], ["--max", "amount=x"], ["--sum", "=5"], ["--lasts", "2"], ["--lasts", "é"]]
        {
            let all = ["x", "apr_1"].iter().chain(&wrong);
            assert!(Only::try_parse_from(all).unwrap().approve.permit().is_err(), "{wrong:?}");
        }
    }
}
