//! `placet service import`: a definition made of an `OpenAPI` document.

use crate::{
    cli::Context,
    exit::{Exit, Failure},
    output::{escaped, line, note},
};
use placet_core::service::{MAX_DOCUMENT, Options, import};
use serde_json::json;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Make a definition of an OpenAPI 3 document (JSON or YAML), to be read and then applied
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  placet service import openapi.yaml --out services/crm.yaml\n  placet service import openapi.json --name crm --base-url https://crm.example.com/api --include /contacts --exclude 'crm.*.delete*'\n\nWhat the document says and a definition can't is left out, and told on standard error and in comments."
)]
pub(crate) struct Import {
    /// The document
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The service's name, instead of one made of the document's title
    #[arg(long)]
    name: Option<String>,
    /// The address, instead of that of the document's first server
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Only actions of this pattern, or paths that begin so; can be repeated
    #[arg(long, value_name = "PATTERN|/PATH")]
    include: Vec<String>,
    /// Without actions of this pattern, or paths that begin so; can be repeated
    #[arg(long, value_name = "PATTERN|/PATH")]
    exclude: Vec<String>,
    /// Where to write it, instead of standard output; an existing file is not replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(asked: &Import, context: &Context) -> Result<Exit, Failure> {
    let options = Options {
        name: asked.name.clone(),
        base_url: asked.base_url.clone(),
        include: asked.include.clone(),
        exclude: asked.exclude.clone(),
    };
    let shown = asked.file.display();
    let made = import(&document(&asked.file)?, &options)
        .map_err(|why| Failure::Refused(escaped(&format!("`{shown}` can't be imported: {why}"))))?;
    if let Some(out) = &asked.out {
        let written = File::create_new(out).and_then(|mut file| file.write_all(made.yaml.as_bytes()));
        written
            .map_err(|error| Failure::unreadable(format!("`{}` can't be written: {error}", out.display())))?;
    }
    if context.global.json {
        context.out.document(&json!({
            "service": made.name, "actions": made.actions, "notes": made.notes, "definition": made.yaml,
        }));
        return Ok(Exit::Done);
    }
    for one in &made.notes {
        note(&escaped(one));
    }
    match &asked.out {
        Some(out) => {
            line(&escaped(&format!("{}: service {} with {} actions", out.display(), made.name, made.actions)))
        }
        None => made.yaml.lines().for_each(line),
    }
    Ok(Exit::Done)
}

/// Documents are larger than what a person writes.
fn document(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::unreadable(format!("`{}` can't be read: {error}", path.display()));
    let mut bytes = Vec::new();
    // One byte more than there may be: the reader says that it is too long.
    let most = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(unreadable)?.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
