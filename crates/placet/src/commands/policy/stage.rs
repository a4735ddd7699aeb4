//! `placet policy stage|promote|unstage`: a version for some agents first.
//!
//! Invariant: what is staged is checked by the server like everything else.

use super::name_of;
use crate::{
    cli::Context,
    client::{Body, encoded},
    exit::{Exit, Failure},
    input,
};
use clap::Args;
use reqwest::Method;
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

const AFTER: &str = "\
A share is of agents, and the same agents have the next version that is staged; a larger share has all that a
smaller one has. Without FILE and --version the share or the labels of what is staged already are changed.

Examples:
  placet policy stage policies/support-desk.yaml --share 10
  placet policy stage support-desk --share 50
  placet policy stage support-desk --version 7 --label team=canary
  placet policy promote support-desk";

/// Give a version of a policy to some agents before all others
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Stage {
    /// A file with the new version, or the name of a policy
    #[arg(value_name = "FILE|NAME")]
    what: String,
    /// A version that is at the server
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// So many of a hundred agents
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    share: Option<u8>,
    /// Agents with this label; can be repeated, several values of one name are any of them
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

impl Stage {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for label in &self.labels {
            let wrong = || Failure::unreadable(format!("`{label}` is no label: write NAME=VALUE"));
            let (name, value) = label.split_once('=').ok_or_else(wrong)?;
            labels.entry(name).or_default().push(value);
        }
        let file = Path::new(&self.what);
        let (name, source) = if self.version.is_none() && file.is_file() {
            let bytes = input::file(file)?;
            let name = name_of(&bytes, "policy", &self.what)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Failure::unreadable(format!("`{}` is not UTF-8", self.what)))?;
            (name, Some(text))
        } else {
            (self.what.clone(), None)
        };
        let asked = json!({"source": source, "version": self.version, "share": self.share, "labels": labels});
        let path = format!("/v1/policies/{}/stage", encoded(&name));
        let answer = context.client()?.send(Method::POST, &path, &[], Body::Json(&asked)).await?;
        context.out.document(&answer.success()?);
        Ok(Exit::Done)
    }
}

/// Puts what is staged in force for all.
pub(super) async fn promote(context: &Context, name: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/policies/{}/promote", encoded(name));
    let answer = context.client()?.send(Method::POST, &path, &[], Body::Empty).await?;
    context.out.document(&answer.success()?);
    Ok(Exit::Done)
}

/// Takes what is staged back.
pub(super) async fn unstage(context: &Context, name: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/policies/{}/stage", encoded(name));
    context.client()?.send(Method::DELETE, &path, &[], Body::Empty).await?.success()?;
    context.out.sentence(&format!("all agents have the version of {name} that is in force"));
    Ok(Exit::Done)
}
