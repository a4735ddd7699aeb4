//! `placet completions` and `placet man`: written from the definition of the command line itself.

use crate::{
    cli::{Cli, Context},
    exit::{Exit, Failure},
};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

/// The completions of a shell, on standard output.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet completions bash > /etc/bash_completion.d/placet\n  placet completions zsh > ~/.zfunc/_placet\n  placet completions fish > ~/.config/fish/completions/placet.fish"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "placet", &mut text);
        print(&text)
    }
}

/// The manual: a page for every command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  placet man | man -l -\n  placet man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for every command into this directory [default: the first page, on standard output]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut command = Cli::command();
        command.build();
        let Some(directory) = self.directory else {
            let mut text = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut text)
                .map_err(|error| unwritten("the page", &error))?;
            return print(&text);
        };
        let shown = directory.display().to_string();
        fs::create_dir_all(&directory).map_err(|error| unwritten(&shown, &error))?;
        clap_mangen::generate_to(command, &directory).map_err(|error| unwritten(&shown, &error))?;
        context.out.sentence(&format!("The pages are in {shown}."));
        Ok(Exit::Done)
    }
}

/// Who reads it may have seen enough: a closed pipe is no failure.
fn print(text: &[u8]) -> Result<Exit, Failure> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten("standard output", &error)),
        _ => Ok(Exit::Done),
    }
}

fn unwritten(what: &str, error: &io::Error) -> Failure {
    Failure::unreadable(format!("{what} can't be written: {error}"))
}
