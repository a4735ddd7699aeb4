//! `placet issuer`: whose assertions about people and workloads count here, and whom they mean.

use super::{Members, object_in};
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trust an issuer: its assertions about people (ID-JAG) or workloads count from now on
    #[command(after_help = "\
In SUBJECT, `*` stands for one or more characters but `/` and `:`, and `**` at the end for one or more of any.

Examples:
  placet issuer add https://idp.example --jwks-uri https://idp.example/keys --user 00u1=lee --scope orders.read
  placet issuer add https://idp.example --jwks-uri https://idp.example/keys --user-claim email --users-by-name
  placet issuer add https://token.actions.githubusercontent.com \\
      --jwks-uri https://token.actions.githubusercontent.com/.well-known/jwks \\
      --agent 'repo:acme/shop:ref:refs/heads/main=deployer' --claim environment=production
  placet issuer add https://spire.example --jwks bundle.json --agent 'spiffe://example/ns/prod/sa/report=report'
  placet issuer add https://idp.example --document issuer.json")]
    Add(Box<Add>),
    /// List the issuers that are trusted
    #[command(after_help = "Example:\n  placet issuer list")]
    List,
    /// Show one issuer, with whom it means
    #[command(after_help = "Example:\n  placet issuer show https://idp.example")]
    Show {
        /// Its id or its `iss`
        issuer: String,
    },
    /// Say whom an issuer means by a subject
    #[command(after_help = "\
Examples:
  placet issuer user https://idp.example 00u1abc lee
  placet issuer user https://idp.example 00u1abc --nobody")]
    User {
        /// Its id or its `iss`
        issuer: String,
        /// What its assertions say
        subject: String,
        /// The user who is meant
        #[arg(required_unless_present = "nobody")]
        user: Option<String>,
        /// Nobody is meant any more
        #[arg(long, conflicts_with = "user")]
        nobody: bool,
    },
    /// Trust an issuer no more; everything that was given on its word ends
    #[command(after_help = "Example:\n  placet issuer remove https://idp.example")]
    Remove {
        /// Its id or its `iss`
        issuer: String,
    },
}

/// An issuer that is to be trusted.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The `iss` of its assertions
    issuer: String,
    /// Its public keys, a JWK set, are in this file
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// Its public keys are at this URL
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// An algorithm that it signs with; can be repeated [default of the server: EdDSA, ES256, RS256, PS256]
    #[arg(long = "algorithm", value_name = "ALG")]
    algorithms: Vec<String>,
    /// Everything else as JSON: `{"id_jag": {…}, "workload": {…}}`, in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "users_by_name", "agents", "claims", "scope", "lifetime", "purpose_claim", "user_claim", "one_time"])]
    document: Option<PathBuf>,
    #[command(flatten)]
    people: People,
    #[command(flatten)]
    workloads: Workloads,
    /// A claim that its assertions have to have; can be repeated
    #[arg(long = "claim", value_name = "NAME=PATTERN", value_parser = super::agent::label)]
    claims: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "About people (ID-JAG)")]
struct People {
    /// A user whom it means by a subject; can be repeated
    #[arg(long = "user", value_name = "SUBJECT=USER", value_parser = pair)]
    users: Vec<(String, String)>,
    /// The claim that names a person [default of the server: sub]
    #[arg(long, value_name = "NAME")]
    user_claim: Option<String>,
    /// That claim is the name of a user here
    #[arg(long)]
    users_by_name: bool,
    /// What may be given for people on its word at most (workloads: what their agent may), separated by spaces [default:
    /// all that the agent may]
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// For how long a grant is made, in seconds [default of the server: 3600]
    #[arg(long, value_name = "SECONDS")]
    lifetime: Option<u64>,
    /// The claim that says what a task is for: policies then know it as what a person wrote
    #[arg(long, value_name = "NAME")]
    purpose_claim: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "About workloads")]
struct Workloads {
    /// The agent that workloads with such a `sub` act as; can be repeated
    #[arg(long = "agent", value_name = "SUBJECT=AGENT", value_parser = pair)]
    agents: Vec<(String, String)>,
    /// Each of its assertions about workloads is good once
    #[arg(long, requires = "agents")]
    one_time: bool,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        let path = |issuer: &str| format!("/v1/trusted-issuers/{}", encoded(issuer));
        match self {
            Self::Add(add) => out.document(&client.post("/v1/trusted-issuers", &add.document()?).await?),
            Self::List => {
                let answer = client.read("/v1/trusted-issuers").await?;
                out.list(&answer, "trusted_issuers", &["id", "issuer", "kinds", "created"]);
            }
            Self::Show { issuer } => out.document(&client.read(&path(&issuer)).await?),
            Self::User { issuer, subject, user, nobody: _ } => {
                let body = Members::default().set("subject", subject).maybe("user", user).done();
                out.document(&client.post(&format!("{}/users", path(&issuer)), &body).await?);
            }
            Self::Remove { issuer } => {
                let answer =
                    client.send(Method::DELETE, &path(&issuer), &[], Body::Empty).await?.success()?;
                out.document(&answer);
            }
        }
        Ok(Exit::Done)
    }
}

impl Add {
    /// As the server takes it.
    fn document(self) -> Result<Value, Failure> {
        let mut members = match &self.document {
            Some(path) => object_in("--document", path)?,
            None => Map::new(),
        };
        let claims = |target: &mut Map<String, Value>| {
            if !self.claims.is_empty() {
                target.insert("claims".into(), mapping(&self.claims));
            }
        };
        let People { users, user_claim, users_by_name, scope, lifetime, purpose_claim } = self.people;
        let bounds = [
            ("--scope", scope.is_some()),
            ("--lifetime", lifetime.is_some()),
            ("--purpose-claim", purpose_claim.is_some()),
            ("--user-claim", user_claim.is_some()),
        ];
        let about_people = bounds.into_iter().find(|(_, is_said)| *is_said).map(|(flag, _)| flag);
        if !users.is_empty() || users_by_name {
            let mut people = Map::from_iter([("users".to_owned(), mapping(&users))]);
            people.insert("by_name".into(), users_by_name.into());
            claims(&mut people);
            people.extend(user_claim.map(|claim| ("claim".to_owned(), claim.into())));
            people.extend(lifetime.map(|seconds| ("lifetime".to_owned(), seconds.into())));
            people.extend(purpose_claim.map(|claim| ("purpose".to_owned(), claim.into())));
            let scopes = scope.map(|text| json!(text.split_whitespace().collect::<Vec<_>>()));
            people.extend(scopes.map(|scopes| ("scope".to_owned(), scopes)));
            members.insert("id_jag".into(), Value::Object(people));
        } else if let Some(flag) = about_people {
            return Err(Failure::unreadable(format!(
                "{flag} says what counts of its assertions about people, and none of them counts: name those people with --user or --users-by-name, or leave {flag} out (workloads get what their agent's registration has)"
            )));
        }
        if !self.workloads.agents.is_empty() {
            let rule = |(subject, agent): &(String, String)| {
                let mut rule = Map::new();
                rule.insert("subject".into(), subject.clone().into());
                rule.insert("agent".into(), agent.clone().into());
                claims(&mut rule);
                Value::Object(rule)
            };
            let rules: Vec<Value> = self.workloads.agents.iter().map(rule).collect();
            members.insert("workload".into(), json!({"agents": rules, "one_time": self.workloads.one_time}));
        }
        let jwks = self.jwks.as_deref().map(|path| object_in("--jwks", path)).transpose()?;
        let members = Members(members).set("issuer", self.issuer).list("algorithms", &self.algorithms);
        Ok(members.maybe("jwks", jwks.map(Value::Object)).maybe("jwks_uri", self.jwks_uri).done())
    }
}

fn mapping(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect())
}

/// At the last `=`: subjects may have one.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.rsplit_once('=').ok_or("write SUBJECT=NAME")?;
    if name.is_empty() || value.is_empty() {
        return Err("write SUBJECT=NAME, with something on both sides".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        add: Add,
    }

    fn said(flags: &[&str]) -> Result<Value, Failure> {
        let all = ["x", "https://idp.example", "--jwks-uri", "https://idp.example/keys"].iter().chain(flags);
        Only::try_parse_from(all).unwrap().add.document()
    }

    #[test]
    fn bounds_of_people_are_never_left_out() {
        let people = said(&[
            "--user",
            "a=b=lee",
            "--scope",
            "x y",
            "--lifetime",
            "60",
            "--purpose-claim",
            "why",
            "--user-claim",
            "email",
        ]);
        let expected = json!({"users": {"a=b": "lee"}, "by_name": false, "claim": "email", "lifetime": 60, "purpose": "why",
            "scope": ["x", "y"]});
        assert_eq!(people.unwrap().pointer("/id_jag"), Some(&expected));
        assert!(said(&["--users-by-name", "--scope", "x"]).is_ok());
        // A subject may have a `=`, a claim's name has none.
        let workload = said(&["--agent", "a=b=deployer", "--claim", "ref=a=b"]).unwrap();
        let rule = json!({"subject": "a=b", "agent": "deployer", "claims": {"ref": "a=b"}});
        assert_eq!(workload.pointer("/workload/agents/0"), Some(&rule));
        let workloads: [&[&str]; 2] = [&[], &["--agent", "job=deployer"]];
        for (flag, value) in
            [("--scope", "x"), ("--lifetime", "60"), ("--purpose-claim", "why"), ("--user-claim", "email")]
        {
            for agents in workloads {
                let refused = said(&[agents, &[flag, value]].concat()).unwrap_err().to_string();
                assert!(refused.starts_with(flag) && refused.contains("--users-by-name"), "{refused}");
            }
        }
    }
}
