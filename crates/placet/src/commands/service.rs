//! `placet service`: the definitions of upstreams.

use super::policy::{apply, report, show_source};
use crate::{
    cli::Context,
    client::encoded,
    exit::{Exit, Failure},
    input,
};
use clap::Subcommand;
use placet_core::service::Service;
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check services without a server; exit code 1 where one has an error
    #[command(after_help = "Example:\n  placet service check services/shop.yaml")]
    Check {
        /// The services
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Put services in force, each under the name that it states
    #[command(after_help = "Example:\n  placet service apply services/shop.yaml")]
    Apply {
        /// The services
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of services, with which editors complete and check them
    #[command(after_help = "Example:\n  placet service schema > service.schema.json")]
    Schema,
    /// List services
    #[command(after_help = "Example:\n  placet service list")]
    List,
    /// Show a service
    #[command(after_help = "Example:\n  placet service show shop")]
    Show {
        /// Its name
        name: String,
    },
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Schema => {
                format!("{:#}", placet_core::service::schema()).lines().for_each(crate::output::line);
            }
            Self::Check { files } => {
                let (mut found, mut good) = (Vec::new(), Vec::new());
                for file in &files {
                    match Service::parse(&input::file(file)?, Some(&file.display().to_string())) {
                        Ok((service, warnings)) => {
                            let actions = service.actions().len();
                            good.push(format!(
                                "{}: service {} with {actions} actions",
                                file.display(),
                                service.name()
                            ));
                            found.extend(warnings);
                        }
                        Err(errors) => found.extend(errors),
                    }
                }
                return Ok(report(context, &found, &good));
            }
            Self::Apply { files } => {
                let client = context.client()?;
                for file in &files {
                    context.out.document(&apply(&client, "services", "service", file, None).await?);
                }
            }
            Self::List => {
                let answer = context.client()?.read("/v1/services").await?;
                context.out.list(
                    &answer,
                    "services",
                    &["service", "version", "applied", "applied_by", "actions"],
                );
            }
            Self::Show { name } => {
                show_source(
                    context,
                    &context.client()?.read(&format!("/v1/services/{}", encoded(&name))).await?,
                    "source",
                );
            }
        }
        Ok(Exit::Done)
    }
}
