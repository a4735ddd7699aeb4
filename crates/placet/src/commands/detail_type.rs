//! `placet detail-type`: types of authorization details: what an entry means, the schema that it has to satisfy, how it
//! may be narrower.

use super::{Members, object_in};
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Declare a type of authorization details; replaces what was declared before
    #[command(
        after_help = "The schema is JSON Schema 2020-12 of an entry. Members that it does not name are refused. Agents may state the\ntype that have it by `placet agent create|change --detail-type`.\n\nExamples:\n  placet detail-type apply payment --description 'Pay invoices' --schema payment.json --narrows amount=max\n  placet detail-type apply https://api.example/types/files --description 'Read files' --schema files.json \\\n      --narrows paths=subset --role archivist"
    )]
    Apply {
        /// The type, a word or a URI
        name: String,
        /// What people are told who are asked to grant an entry of it
        #[arg(long, value_name = "TEXT")]
        description: String,
        /// A file with its JSON Schema
        #[arg(long, value_name = "FILE")]
        schema: PathBuf,
        /// How a member of a child's entry may be narrower: max, min, subset or equal; can be repeated [default: equal]
        #[arg(long, value_name = "MEMBER=RULE", value_parser = super::agent::label)]
        narrows: Vec<(String, String)>,
        /// A role that a user may have to delegate it; can be repeated [default: everybody may]
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// List the types that are declared
    #[command(after_help = "Example:\n  placet detail-type list")]
    List,
    /// Show one type
    #[command(after_help = "Example:\n  placet detail-type show payment")]
    Show {
        /// The type
        name: String,
    },
    /// Declare a type no more; grants keep what they were given
    #[command(after_help = "Example:\n  placet detail-type remove payment")]
    Remove {
        /// The type
        name: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (client, out) = (context.client()?, context.out);
        let path = |name: &str| format!("/v1/authorization-detail-types/{}", encoded(name));
        match self {
            Self::Apply { name, description, schema, narrows, roles } => {
                let narrows: Map<String, Value> =
                    narrows.into_iter().map(|(member, rule)| (member, rule.into())).collect();
                let body = Members::default()
                    .set("description", description)
                    .set("schema", object_in("--schema", &schema)?)
                    .maybe("narrows", (!narrows.is_empty()).then_some(narrows))
                    .list("roles", &roles)
                    .done();
                let answer =
                    client.send(Method::PUT, &path(&name), &[], Body::Json(&body)).await?.success()?;
                out.document(&answer);
            }
            Self::List => {
                let answer = client.read("/v1/authorization-detail-types").await?;
                out.list(&answer, "types", &["name", "description", "narrows", "roles"]);
            }
            Self::Show { name } => out.document(&client.read(&path(&name)).await?),
            Self::Remove { name } => {
                client.send(Method::DELETE, &path(&name), &[], Body::Empty).await?.success()?;
                out.sentence(&format!("{name} is declared no more"));
            }
        }
        Ok(Exit::Done)
    }
}
