//! `placet run`: a program of an agent's, whose requests to the outside go through the egress door.
//!
//! The program is told of a proxy on this machine ([`relay`]), which knows it by a password that is made for this run; the
//! agent's token stays here and is renewed. What it finds around itself says so, and lacks the credentials that lay there
//! ([`surroundings`]).
//!
//! Invariant: nothing stays behind: no file, no credential, and no authority that was asked for this run alone. The program
//! can't look into this process, which has the agent's secret.

pub(crate) mod isolation;
mod relay;
mod surroundings;
mod tokens;

use super::{
    ca::Door,
    token::asker::{Asker, SecretFrom, Wish},
};
use crate::{
    cli::Context,
    confined,
    exit::{Exit, Failure},
    input, output,
};
use clap::Args;
use placet_core::secret::Secret;
use relay::Relay;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    io::IsTerminal as _,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    sync::Arc,
};
use surroundings::Surroundings;
use tokens::Tokens;
use tokio::signal::unix::{SignalKind, signal};

const AFTER: &str = "\
The command is told of a proxy (HTTPS_PROXY and the like) and of the authority to trust there (SSL_CERT_FILE,
REQUESTS_CA_BUNDLE, NODE_EXTRA_CA_CERTS and the like). What it asks of hosts of services is an action: judged,
carried out with the connection's credential, recorded. Everything else is refused. Variables that may hold
credentials are left out of its environment; --keep lets one through.

The client secret is read from PLACET_CLIENT_SECRET, as standard input is the command's. The token is renewed while the
command runs. Unless --task or --grant says otherwise a task is made for this run, and ends with it.

A command that does not care about proxies goes past them, unless --isolated takes its network away: then the egress door
is the only place that it reaches (docs/egress.md).

Examples:
  placet run --client-id agt_01k… --scope 'orders.*' -- curl -sS https://api.shop.example/customers/42/orders
  placet run --client-id agt_01k… --key agent.pem --scope 'repos.**' --keep OPENAI_API_KEY -- python3 agent.py
  placet run --client-id agt_01k… --isolated -- ./agent
  placet run --token-file token -- sh -c 'git ls-remote https://github.com/example/private'";

/// Run a program whose requests to the outside go through Placet.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Run {
    /// The agent's client id
    #[arg(long, value_name = "AGT", required_unless_present = "token_file")]
    client_id: Option<String>,
    #[command(flatten)]
    asker: Asker,
    #[command(flatten)]
    wish: Wish,
    /// A grant that a person made for the agent, to take up
    #[arg(long, value_name = "GNT", conflicts_with = "token_file")]
    grant: Option<String>,
    /// An access token of the agent's is in this file; it is not renewed
    #[arg(long, value_name = "FILE", conflicts_with = "client_id")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    program: Program,
}

/// What is run, and how.
#[derive(Debug, Args)]
struct Program {
    /// The connection that is meant where several reach a host
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// A variable that the command keeps though it may hold a credential; can be repeated
    #[arg(long, value_name = "NAME")]
    keep: Vec<String>,
    /// Give the command no network but the way to the egress door (Linux, with `unshare`, `ip` and `setpriv`)
    #[arg(long)]
    isolated: bool,
    /// The command, with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        // The command is of the same user, and the client secret is in the environment and memory of this process.
        confined::hide()?;
        let server = context.server()?;
        let door = Door::of(&server).await?;
        let tokens = match &self.token_file {
            Some(path) => Tokens::given(Secret::new(input::secret_in(path, "access token")?)),
            None => {
                let asking = self.asker.open(context, self.client_id, SecretFrom::EnvironmentOnly)?;
                Tokens::asked(asking, self.wish, self.grant)
            }
        };
        let tokens = Arc::new(tokens);
        // That there is none is said before anything runs.
        tokens.now().await?;
        let ran = self.program.behind(&door, server.base(), Arc::clone(&tokens)).await;
        // Whatever has become of the command.
        if let Err(failure) = tokens.end().await {
            output::note(&format!("warning: the task of this run could not be ended: {failure}"));
        }
        ran.map(|status| Exit::Code(code(status)))
    }
}

impl Program {
    /// Runs the command behind a proxy of its own.
    async fn behind(&self, door: &Door, server: &str, tokens: Arc<Tokens>) -> Result<ExitStatus, Failure> {
        let user = self.connection.as_deref().unwrap_or("placet");
        let files = tempfile::Builder::new().prefix("placet-run-").tempdir();
        let files = files
            .map_err(|error| Failure::unreadable(format!("there is no temporary directory: {error}")))?;
        let socket = files.path().join("proxy");
        let relay = Relay::start(&door.url, user, self.isolated.then_some(socket.as_path()), tokens).await?;
        let around =
            Surroundings::around(files.path(), &relay.url(), server, &door.certificates, &self.keep)?;
        let ran = if self.isolated {
            run(&isolation::isolated(&socket, &self.command)?, |starting| around.put(starting)).await
        } else {
            run(&self.command, |starting| around.put(starting)).await
        };
        relay.stop();
        ran
    }
}

/// Runs the command to its end, passing on signals.
async fn run(command: &[OsString], around: impl FnOnce(&mut Command)) -> Result<ExitStatus, Failure> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Failure::unreadable("there is no command"))?;
    let unheard = |error| Failure::unreadable(format!("signals can't be received: {error}"));
    let kinds = [
        (SignalKind::terminate(), Signal::TERM, false),
        (SignalKind::hangup(), Signal::HUP, false),
        (SignalKind::user_defined1(), Signal::USR1, false),
        (SignalKind::user_defined2(), Signal::USR2, false),
        // A terminal sends these two to the command as well.
        (SignalKind::interrupt(), Signal::INT, true),
        (SignalKind::quit(), Signal::QUIT, true),
    ];
    let mut heard = Vec::new();
    for (kind, passed, from_terminal) in kinds {
        heard.push((signal(kind).map_err(unheard)?, passed, from_terminal));
    }
    let mut starting = Command::new(program);
    starting.args(arguments);
    around(&mut starting);
    let child = starting.spawn().map_err(|error| {
        Failure::unreadable(format!("`{}` can't be run: {error}", program.to_string_lossy()))
    })?;
    let pid = Pid::from_child(&child);
    let at_terminal = std::io::stdin().is_terminal();
    let mut passing = tokio::task::JoinSet::new();
    for (mut heard, signal, from_terminal) in heard {
        passing.spawn(async move {
            while heard.recv().await.is_some() {
                if !(from_terminal && at_terminal) {
                    _ = kill_process(pid, signal);
                }
            }
        });
    }
    let ended = tokio::task::spawn_blocking(move || wait(child)).await;
    passing.abort_all();
    ended.map_err(|error| Failure::unreadable(format!("the command's end was not seen: {error}")))?
}

fn wait(mut child: Child) -> Result<ExitStatus, Failure> {
    child.wait().map_err(|error| Failure::unreadable(format!("the command's end was not seen: {error}")))
}

/// What a shell says of an end: the exit code, or 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
