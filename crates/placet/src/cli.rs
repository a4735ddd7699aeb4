//! The command line: the commands, what all of them share, and which server and token a command talks with.
//!
//! Invariant: no secret is a flag.

use crate::{
    client::Client,
    commands::{
        account, act, action, agent, approvals, backup, ca, catalog, connection, detail_type, doctor, grant,
        intent, issuer, keys, permit, policy, provider, record, registration, request, resource_server,
        restore, run, scope, service, session, shell, task, token, user, vault,
    },
    data::{self, VaultPlace},
    demo,
    environment::Environment,
    exit::{Exit, Failure},
    input, key_service_file,
    output::Output,
    serve,
    state::State,
};
use clap::{Args, Parser, Subcommand};
use placet_core::secret::Secret;
use placet_server::caller::SESSION_PREFIX;
use placet_store::Database;
use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::Arc,
};

const AFTER: &str = "\
Which server: PLACET_URL (or --url) with the bearer token in PLACET_TOKEN; else the data directory of --data (its
address and its administrator token, unless PLACET_TOKEN is set; where it has none, as that of a second node, the
session that `placet login` began there); else the session that `placet login` began; else ./placet-data.

Exit codes: 0 done, or the answer is yes; 1 refused, or the answer is no; 2 wrong use, or something could not be read
or reached; 3 the server could not start.

Examples:
  placet demo
  placet serve
  placet agent list";

/// Authorization for AI agents, at the moment they act.
#[derive(Debug, Parser)]
#[command(name = "placet", version, after_help = AFTER, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print JSON (the default where standard output is no terminal)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Base URL of the server [env: PLACET_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Data directory of the server
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server
    Serve(Box<serve::Serve>),
    /// Play the whole story on a temporary server, with a real upstream
    Demo(demo::Demo),
    /// Register and end agents
    #[command(subcommand)]
    Agent(agent::Command),
    /// Get, introspect, verify and revoke tokens
    Token(token::Token),
    /// Make, look at, narrow and revoke grants
    #[command(subcommand)]
    Grant(grant::Command),
    /// Make and end tasks
    #[command(subcommand)]
    Task(task::Command),
    /// Measure how well it is told which actions fit their purpose
    #[command(subcommand)]
    Intent(intent::Command),
    /// Check, apply and show policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Check, apply and show services
    #[command(subcommand)]
    Service(service::Command),
    /// Connect accounts at upstreams
    #[command(subcommand)]
    Connection(connection::Command),
    /// Confirm clients that registered themselves, and say what such clients may have
    #[command(subcommand)]
    Registration(registration::Command),
    /// Register services that ask about the agents that call them
    #[command(subcommand)]
    ResourceServer(resource_server::Command),
    /// Trust issuers whose assertions about people and workloads count
    #[command(subcommand)]
    Issuer(issuer::Command),
    /// Let people sign in with identity providers
    #[command(subcommand)]
    Provider(provider::Command),
    /// Say what scopes mean, and who may delegate them
    #[command(subcommand)]
    Scope(scope::Command),
    /// Declare types of authorization details, and how an entry may be narrower
    #[command(subcommand)]
    DetailType(detail_type::Command),
    /// Take an action as an agent
    Act(act::Act),
    /// Look at actions, and settle what nobody knows of
    #[command(subcommand)]
    Action(action::Command),
    /// Ask for a decision without acting
    Decide(act::Decide),
    /// List what an agent may do now, and what it would need for more
    Catalog(catalog::Catalog),
    /// Make users, and help those who have lost what they sign in with
    #[command(subcommand)]
    User(user::Command),
    /// Sign in as a person
    Login(user::Login),
    /// End the session of `placet login`
    Logout(user::Logout),
    /// See and change how you sign in
    #[command(subcommand)]
    Account(account::Command),
    /// Decide what agents are held for
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// Answer agents that ask you for authority from elsewhere
    #[command(subcommand)]
    Request(request::Command),
    /// Look at keys, and rotate them
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make vault keys, and have them wrapped anew by a key service
    #[command(subcommand)]
    Vault(vault::Command),
    /// Look at permits, and take them back
    #[command(subcommand)]
    Permit(permit::Command),
    /// See where people are signed in, and end that
    #[command(subcommand)]
    Session(session::Command),
    /// Read and verify the record
    #[command(subcommand)]
    Record(record::Command),
    /// Run a program whose requests to the outside go through Placet
    Run(Box<run::Run>),
    /// The part of `placet run --isolated` that is within the namespace
    #[command(hide = true)]
    RunInside(run::isolation::Inside),
    /// Print the certificates that agents trust at the egress door, or have the next authority take over
    Ca(ca::Ca),
    /// Check an installation, and say what to do
    Doctor(doctor::Doctor),
    /// Copy a data directory while the server runs
    Backup(backup::Backup),
    /// Put a data directory back from a backup
    Restore(restore::Restore),
    /// Print the completions of a shell
    Completions(shell::Completions),
    /// Print or write the manual
    Man(shell::Man),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Why it could not do what it was asked.
    pub(crate) fn run(self, environment: Environment) -> Result<Exit, Failure> {
        let out = Output::new(self.global.json, environment.no_color);
        let context = Context { global: self.global, environment, out, given: Cell::new(false) };
        match self.command {
            Command::Serve(serve) => {
                return many_threads()?.block_on(serve.run(&context));
            }
            Command::Demo(demo) => return many_threads()?.block_on(demo.run(&context)),
            Command::Backup(backup) => return backup.run(&context),
            Command::Vault(vault) => return vault.run(&context),
            Command::Completions(completions) => return completions.run(),
            Command::Man(man) => return man.run(&context),
            _ => {}
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = runtime.map_err(no_runtime)?.block_on(async {
            match self.command {
                // They were run above.
                Command::Serve(_)
                | Command::Demo(_)
                | Command::Backup(_)
                | Command::Vault(_)
                | Command::Completions(_)
                | Command::Man(_) => Ok(Exit::Done),
                Command::Run(run) => run.run(&context).await,
                Command::RunInside(inside) => inside.run().await,
                Command::Ca(ca) => ca.run(&context).await,
                Command::Doctor(doctor) => doctor.run(&context).await,
                Command::Restore(restore) => restore.run(&context).await,
                Command::Agent(command) => command.run(&context).await,
                Command::Token(command) => command.run(&context).await,
                Command::Grant(command) => command.run(&context).await,
                Command::Task(command) => command.run(&context).await,
                Command::Intent(command) => command.run(&context).await,
                Command::Policy(command) => command.run(&context).await,
                Command::Service(command) => command.run(&context).await,
                Command::Connection(command) => command.run(&context).await,
                Command::Registration(command) => command.run(&context).await,
                Command::ResourceServer(command) => command.run(&context).await,
                Command::Issuer(command) => command.run(&context).await,
                Command::Provider(command) => command.run(&context).await,
                Command::Scope(command) => command.run(&context).await,
                Command::DetailType(command) => command.run(&context).await,
                Command::Act(command) => command.run(&context).await,
                Command::Action(command) => command.run(&context).await,
                Command::Decide(command) => command.run(&context).await,
                Command::Catalog(command) => command.run(&context).await,
                Command::User(command) => command.run(&context).await,
                Command::Login(command) => command.run(&context).await,
                Command::Logout(command) => command.run(&context).await,
                Command::Account(command) => command.run(&context).await,
                Command::Approvals(command) => command.run(&context).await,
                Command::Request(command) => command.run(&context).await,
                Command::Keys(command) => command.run(&context).await,
                Command::Permit(command) => command.run(&context).await,
                Command::Session(command) => command.run(&context).await,
                Command::Record(command) => command.run(&context).await,
            }
        });
        ended.map_err(|failure| context.explained(failure))
    }
}

fn many_threads() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_runtime)
}

fn no_runtime(error: std::io::Error) -> Failure {
    Failure::start(format!("the system gives no threads: {error}"))
}

/// What a command runs with.
#[derive(Debug)]
pub(crate) struct Context {
    /// What every command takes.
    pub(crate) global: Global,
    /// What the environment says.
    pub(crate) environment: Environment,
    /// How to print.
    pub(crate) out: Output,
    /// Whether the token of the environment was sent.
    given: Cell<bool>,
}

impl Context {
    /// The server and the token that the command uses; see the help of `placet`.
    ///
    /// # Errors
    /// A sentence, where there is neither.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let token = self.environment.token.clone();
        self.given.set(token.is_some());
        if let Some(url) = self.url() {
            if let Some(token) = token {
                return Client::new(url, Some(token));
            }
            if let Some(directory) = &self.global.data {
                return Client::new(url, Some(self.token_for(directory, url.trim_end_matches('/'))?));
            }
            let session = self.state()?.session(url.trim_end_matches('/'))?;
            let token = session.map(|session| session.token());
            return Client::new(url, Some(token.ok_or_else(no_token)?));
        }
        if let Some(directory) = &self.global.data {
            return self.local(directory, token);
        }
        if let Some(session) = self.state()?.last_session()? {
            return Client::new(&session.url, Some(token.unwrap_or_else(|| session.token())));
        }
        self.default_directory(token)
    }

    /// The server with the token of an agent, which is the environment's and no other.
    ///
    /// # Errors
    /// A sentence, where there is none.
    pub(crate) fn agent(&self) -> Result<Client, Failure> {
        if self.environment.token.is_none() {
            return Err(Failure::unreadable(
                "an agent's token is read from PLACET_TOKEN, and there is none: `placet token` gets one",
            ));
        }
        self.client()
    }

    /// A refusal that is about the token says which one it was: a variable that was exported for something else is easily
    /// forgotten.
    fn explained(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Refused(message) if self.given.get() && is_about_the_token(&message) => {
                Failure::Refused(format!(
                    "{message}\n  (the token of PLACET_TOKEN was sent; without it the command speaks as whoever is signed in, \
                     or as the administrator of the data directory)"
                ))
            }
            other => other,
        }
    }

    /// The server, without a token: for what needs none, or authenticates otherwise.
    ///
    /// # Errors
    /// A sentence, where no server is known.
    pub(crate) fn server(&self) -> Result<Client, Failure> {
        if let Some(url) = self.url() {
            return Client::new(url, None);
        }
        if let Some(directory) = &self.global.data {
            return Client::new(&address(directory)?, None);
        }
        if let Some(session) = self.state()?.last_session()? {
            return Client::new(&session.url, None);
        }
        Client::new(&address(Path::new(data::DEFAULT)).map_err(|_| nowhere())?, None)
    }

    /// Where certificates are shown, for whoever has not named a URL: the listener for that of the data directory's server.
    /// `None` where a URL is named.
    ///
    /// # Errors
    /// A sentence, where there is none.
    pub(crate) fn mutual_tls(&self) -> Result<Option<String>, Failure> {
        if self.url().is_some() {
            return Ok(None);
        }
        let directory = self.global.data.as_deref().unwrap_or(Path::new(data::DEFAULT));
        let path = directory.join(data::MTLS_ADDRESS);
        let absent = |_| {
            Failure::unreadable(format!(
                "no listener for mutual TLS runs on `{}` (there is no `{}`): start it with `placet serve --mtls-listen`, or name its URL with --url",
                directory.display(),
                data::MTLS_ADDRESS
            ))
        };
        Ok(Some(std::fs::read_to_string(path).map_err(absent)?.trim().to_owned()))
    }

    /// The server with a person's session: what `placet login` keeps, or a session token in `PLACET_TOKEN`.
    ///
    /// # Errors
    /// A sentence, where nobody is signed in.
    pub(crate) fn person(&self) -> Result<Client, Failure> {
        let server = self.server()?;
        let given = self.environment.token.clone();
        let is_session = |token: &Secret| token.expose().starts_with(SESSION_PREFIX.as_bytes());
        let token = match given.filter(is_session) {
            Some(token) => Some(token),
            None => self.state()?.session(server.base())?.map(|session| session.token()),
        };
        let signed_out = || {
            Failure::unreadable(format!(
                "nobody is signed in at {}: run `placet login --name NAME`",
                server.base()
            ))
        };
        Ok(server.with_token(token.ok_or_else(signed_out)?))
    }

    /// Where the CLI remembers things.
    ///
    /// # Errors
    /// A sentence, where there is no home directory.
    pub(crate) fn state(&self) -> Result<State, Failure> {
        let path = self.environment.state.clone();
        let none = || Failure::unreadable("there is no home directory to keep state in; set XDG_STATE_HOME");
        path.map(State::new).ok_or_else(none)
    }

    /// The database on a server that `--database` or `PLACET_DATABASE` names; `None` where neither does: then it is the
    /// data directory's own file.
    ///
    /// # Errors
    /// A sentence, where it is no address.
    pub(crate) fn database(&self, flag: Option<&str>) -> Result<Option<Database>, Failure> {
        let (name, url) = match (flag, &self.environment.database) {
            (Some(url), _) => ("--database", url),
            (None, Some(url)) => ("PLACET_DATABASE", url.expose_str().unwrap_or_default()),
            (None, None) => return Ok(None),
        };
        // The URL is not repeated: it may hold a password.
        let database = Database::postgres(url);
        database.map(Some).map_err(|error| Failure::unreadable(format!("{name}: {error}")))
    }

    /// Where the vault keys are: in the file of the flag, or in `PLACET_VAULT_KEY`, or else in the data directory; and the
    /// key services that wrap them, which the file of the other flag describes, or that of `PLACET_VAULT_SERVICE`.
    ///
    /// # Errors
    /// A sentence, where that file can't be used.
    pub(crate) fn vault(&self, keys: Option<&Path>, services: Option<&Path>) -> Result<VaultPlace, Failure> {
        let services = services.or(self.environment.vault_service.as_deref());
        let services = services.map(key_service_file::open).transpose()?.map(Arc::new);
        Ok(VaultPlace::new(keys, self.environment.vault_key.as_ref(), services))
    }

    fn url(&self) -> Option<&str> {
        // A directory that is named beats what merely stands in the environment.
        let from_environment = || self.environment.url.as_deref().filter(|_| self.global.data.is_none());
        self.global.url.as_deref().or_else(from_environment)
    }

    /// The server of a data directory, with a token of [`Context::token_for`] unless another is given.
    fn local(&self, directory: &Path, token: Option<Secret>) -> Result<Client, Failure> {
        let base = address(directory)?;
        let token = match token {
            Some(token) => token,
            None => self.token_for(directory, &base)?,
        };
        Client::new(&base, Some(token))
    }

    /// The administrator token in the directory; where it lies in that of another node, the session with the server.
    fn token_for(&self, directory: &Path, base: &str) -> Result<Secret, Failure> {
        if directory.join(data::ADMIN_TOKEN).exists() {
            return admin_token(directory);
        }
        let session = self.state().and_then(|state| state.session(base))?;
        session.map(|session| session.token()).ok_or_else(|| {
            Failure::unreadable(format!(
                "there is no token for {base}: sign in with `placet login --url {base} --name NAME`, or bring the administrator token into PLACET_TOKEN (`{}` is not there: it lies with the node that made the installation)",
                directory.join(data::ADMIN_TOKEN).display()
            ))
        })
    }

    fn default_directory(&self, token: Option<Secret>) -> Result<Client, Failure> {
        let directory = Path::new(data::DEFAULT);
        if directory.join(data::ADDRESS).is_file() { self.local(directory, token) } else { Err(nowhere()) }
    }
}

fn address(directory: &Path) -> Result<String, Failure> {
    let path = directory.join(data::ADDRESS);
    let absent = |_| {
        Failure::unreadable(format!(
            "no server runs on `{}` (there is no `{}`): start it with `placet serve`",
            directory.display(),
            data::ADDRESS
        ))
    };
    Ok(std::fs::read_to_string(path).map_err(absent)?.trim().to_owned())
}

fn admin_token(directory: &Path) -> Result<Secret, Failure> {
    let bytes = Secret::new(input::file(&directory.join(data::ADMIN_TOKEN))?);
    Ok(Secret::new(input::text_of(&bytes, "administrator token")?.trim()))
}

fn is_about_the_token(message: &str) -> bool {
    let code = message.split(':').next().unwrap_or_default();
    ["not_permitted", "token_invalid", "token_expired", "token_revoked"].contains(&code)
}

fn no_token() -> Failure {
    Failure::unreadable(
        "there is no token: set PLACET_TOKEN, give --data DIR, or sign in with `placet login`",
    )
}

fn nowhere() -> Failure {
    Failure::unreadable(
        "no server is known: set PLACET_URL and PLACET_TOKEN, give --data DIR, or sign in with `placet login --url URL`",
    )
}
