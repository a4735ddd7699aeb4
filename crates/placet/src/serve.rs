//! `placet serve`: from flags and files to a running server, and back.
//!
//! The address is bound first, so that a port in use costs nothing; it is announced last, when requests are answered.
//!
//! Invariant: what was answered is on the disk, and a stop loses nothing that is under way within [`GRACE`].

pub(crate) mod certificates;
mod egress;
mod ext_authz;
mod mutual_tls;
pub(crate) mod policies;
mod secrets;
mod spans;

use crate::{
    cli::Context,
    confined,
    data::{self, DataDir},
    exit::{Exit, Failure},
    installation::Elsewhere,
    judge_file, logs, mcp_commands,
    output::line,
    running::{self, Outside, Pages, Running},
};
use clap::Args;
use ext_authz::ExtAuthz;
use mutual_tls::MutualTls;
use placet_gateway::{CertificateDer, FetchConfig, GatewayConfig};
use secrets::SecretPlaces;
use serde_json::json;
use spans::{Idle, Kept, Retry};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

/// How long what is under way may take after the first signal.
const GRACE: Duration = Duration::from_secs(14);

const AFTER: &str = "\
The first start makes the vault key and the administrator token, which stay in the data directory,
and all other keys, which are in the database, sealed by the vault key. SIGTERM or SIGINT stops the
server when what is under way has been answered, within 15 seconds; a second one stops it at once.

An agent that runs under the same operating system user as this server can read its keys: it is outside of what
Placet can protect. Run agents as another user, or on another machine.

Without --database everything is in a file of the data directory. With a PostgreSQL database several nodes serve as
one; each has a data directory of its own, and the vault key of the first (copy `vault.key`, nothing else). A password in
--database can be seen by every process of the machine: put the URL into PLACET_DATABASE.

The vault key can be kept elsewhere: in a file (--vault-key-file) or, in base64, in PLACET_VAULT_KEY. While it is
rotated there are several: in the file one to a line, in PLACET_VAULT_KEY with commas between. With --vault-service it is
wrapped by a key service (HashiCorp Vault, OpenBao, a PKCS#11 device), without which what is kept opens for nobody; the
server asks it when it starts and when the key is rotated.

Examples:
  placet serve
  PLACET_DATABASE=postgres://placet:secret@db.example/placet placet serve --data /var/lib/placet
  placet serve --data /var/lib/placet --vault-service /etc/placet/key-service.yaml
  placet serve --data /var/lib/placet --listen 0.0.0.0:7447 --issuer https://placet.example";

/// Start the server.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Serve {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7447")]
    listen: SocketAddr,
    /// The issuer in tokens, and the base URL of links [default: http:// and the bound address]
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Where people's pages are: sign-in, and consent to what an agent asks; an origin of their own
    /// [default: the next port behind --listen]
    #[arg(long, value_name = "ADDRESS")]
    pages_listen: Option<SocketAddr>,
    /// The origin of people's pages as browsers reach them [default: http:// and the bound address]
    #[arg(long, value_name = "URL")]
    pages_url: Option<String>,
    /// Where to answer /metrics, /healthz and /readyz without authentication, beside the other address
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// How long the record keeps what actions were done with, like `400d` or `12h`, or `forever`; that they were
    /// done, and every proof, is kept for ever
    #[arg(long, value_name = "TIME", default_value = "400d", value_parser = Kept::parse)]
    keep_record: Kept,
    /// After how long without use a client that registered itself ends, like `90d`, or `never`
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = Idle::parse)]
    idle_registrations: Idle,
    /// How long after its use a refresh token that its client sends again is answered once more, like `10s`, and does not
    /// end its grant: for networks that lose answers; the same on every node
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = Retry::parse)]
    refresh_retry: Retry,
    /// A PostgreSQL database, which other nodes may use too; with a password rather [env: PLACET_DATABASE]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// A file with the vault key: 32 bytes, or lines with base64 of them
    #[arg(long, value_name = "FILE")]
    vault_key_file: Option<PathBuf>,
    /// A file that says where key services are that wrap the vault key (`docs/vault.md`) [env: PLACET_VAULT_SERVICE]
    #[arg(long, value_name = "FILE")]
    vault_service: Option<PathBuf>,
    /// A file (PEM) with authorities that upstreams may be certified by, besides the system's
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// A file (YAML) with the programs that services may name as their MCP server; nothing else is started
    #[arg(long, value_name = "FILE")]
    mcp_commands: Option<PathBuf>,
    /// Read clients' documents, keys and identity providers from this machine too, over http: for trying things out
    #[arg(long)]
    loopback_documents: bool,
    /// The address of a proxy in front, which says by X-Forwarded-For whom it passes on; can be repeated
    #[arg(long, value_name = "ADDRESS")]
    forwarded_by: Vec<IpAddr>,
    #[command(flatten)]
    mutual_tls: MutualTls,
    #[command(flatten)]
    secret_places: SecretPlaces,
    #[command(flatten)]
    egress: egress::Egress,
    #[command(flatten)]
    ext_authz: ExtAuthz,
    /// A directory with policies (.yaml, .yml, .json) that are put in force whenever one of them changes; a bad file
    /// changes nothing
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// A file that says where a judge is which tells whether actions fit the purpose of their task (`docs/intent.md`)
    #[arg(long, value_name = "FILE")]
    intent_judge: Option<PathBuf>,
    /// How often a second one client may ask the OAuth endpoints of this node
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    client_rate: u32,
    /// What to log
    #[arg(long, value_name = "FILTER", env = "PLACET_LOG", hide_env_values = true, default_value = "info")]
    log: String,
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        logs::start(&self.log, context.environment.no_color)?;
        confined::confine()?;
        let extra_roots = self.upstream_ca.as_deref().map(authorities).transpose()?.unwrap_or_default();
        let asked = running::Front {
            issuer: self.issuer.as_deref().map(checked_issuer).transpose()?,
            forwarded_by: self.forwarded_by.iter().map(IpAddr::to_canonical).collect(),
            mutual_tls: self.mutual_tls.open().await?,
            egress: self.egress.open().await?,
            ext_authz: self.ext_authz.open().await?,
            client_rate: self.client_rate,
            policies: self.policies.as_deref().map(policies::Followed::open).transpose()?,
            judge: self
                .intent_judge
                .as_deref()
                .map(|path| judge_file::open(path, &extra_roots))
                .transpose()?,
            secrets_elsewhere: self.secret_places.open(&extra_roots)?,
        };
        let pages_url = self.pages_url.as_deref().map(checked_origin).transpose()?;
        let vault = context.vault(self.vault_key_file.as_deref(), self.vault_service.as_deref())?;
        if let Some(vault) = vault.elsewhere()
            && vault.at_hand()?.is_none()
            && let Some(path) = vault.path()
        {
            return Err(Failure::start(format!("the vault key file `{}` is not there", path.display())));
        }
        let database = context.database(self.database.as_deref())?;
        let documents = FetchConfig {
            loopback: self.loopback_documents,
            extra_roots: extra_roots.clone(),
            ..FetchConfig::default()
        };
        let commands = self.mcp_commands.as_deref().map(mcp_commands::open).transpose()?.unwrap_or_default();
        let outside = Outside {
            gateway: GatewayConfig { extra_roots, commands, ..GatewayConfig::default() },
            documents,
        };
        let listener = bind(self.listen, "--listen").await?;
        let pages = self.pages_listen.unwrap_or_else(|| beside(self.listen));
        let pages = Pages { listener: bind(pages, "--pages-listen").await?, url: pages_url };
        let path = context.global.data.as_deref().unwrap_or(Path::new(data::DEFAULT));
        let directory = DataDir::open(path)?;
        let monitoring = match self.metrics_listen {
            Some(address) => Some(bind(address, "--metrics-listen").await?),
            None => None,
        };
        let mut signals = Signals::new()?;
        let elsewhere = Elsewhere { vault, database };
        let spans = running::Spans {
            keep_record: self.keep_record.0,
            idle_registrations: self.idle_registrations.0,
            refresh_retry: self.refresh_retry.0,
        };
        let mut running =
            running::start(listener, pages, directory, asked, elsewhere, spans, outside).await?;
        if let Some(monitoring) = monitoring {
            if let Ok(address) = monitoring.local_addr() {
                tracing::info!(%address, "metrics are answered without authentication");
            }
            running.monitor(monitoring);
        }
        warn(&running);
        let base = running.base_url().to_owned();
        let token = Some(path.join(data::ADMIN_TOKEN)).filter(|path| path.is_file());
        if context.global.json {
            line(
                &json!({"address": base, "pages": running.pages_url(), "mtls": running.mtls_url(),
                "egress": running.egress_url(), "ext_authz": running.ext_authz(), "admin_token": token})
                .to_string(),
            );
        } else if let Some(token) = token {
            line(&format!("Placet answers at {base}; the administrator token is in {}", token.display()));
        } else {
            line(&format!("Placet answers at {base}; the administrator token is with the node that made it"));
        }
        if !context.global.json {
            line(&format!("People's pages are at {}", running.pages_url()));
            if let Some(url) = running.mtls_url() {
                line(&format!("Clients show certificates at {url}"));
            }
            if let Some(url) = running.egress_url() {
                line(&format!("Agents' programs find a proxy at {url}"));
            }
            if let Some(address) = running.ext_authz() {
                line(&format!("Envoy asks (ext_authz, gRPC) at {address}"));
            }
        }
        serve_until_stopped(running, &mut signals).await
    }
}

async fn serve_until_stopped(mut running: Running, signals: &mut Signals) -> Result<Exit, Failure> {
    tokio::select! {
        ended = running.ended() => {
            return Err(Failure::start(format!("the listener failed: {ended}")));
        }
        () = signals.next() => {}
    }
    tracing::info!("stopping: what is under way is answered first");
    tokio::select! {
        () = running.stop(GRACE) => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("stopped at once, at a second signal"),
    }
    Ok(Exit::Done)
}

/// The certificates that `--upstream-ca` names.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |why: String| Failure::start(format!("`{}` can't be used: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    placet_gateway::roots_from_pem(&pem).map_err(wrong)
}

fn warn(running: &Running) {
    tracing::warn!(
        "an agent that runs under the operating system user of this server is outside of what it can protect"
    );
    if !running.address().ip().is_loopback() {
        tracing::warn!(
            address = %running.address(),
            "listening beyond this machine without TLS: put a proxy with TLS in front, and state its URL with --issuer"
        );
    }
    if !running.pages_address().ip().is_loopback() && running.pages_url().starts_with("http://") {
        tracing::warn!(
            address = %running.pages_address(),
            "people's pages are listened for beyond this machine without TLS: put a proxy with TLS in front, and state their origin with --pages-url"
        );
    }
}

/// Binds the address.
///
/// # Errors
/// A sentence: the port is in use, or not ours to take.
pub(crate) async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::start(format!(
            "{address} is in use by another program; stop that one, or choose another address with {flag} (port 0 picks a free one)"
        )),
        _ => Failure::start(format!("{address} can't be listened on: {error}; choose another with {flag}")),
    })
}

/// An issuer is an absolute http or https URL without query, fragment and slash at its end (RFC 8414 §2).
fn checked_issuer(text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::unreadable(format!("`{text}` can't be the issuer: {why}"));
    let url: reqwest::Url = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it is not an http or https URL"));
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(wrong("it has a query, a fragment or a user name"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Where people's pages are listened for where nobody says: the next port, or any where that is any.
pub(crate) fn beside(address: SocketAddr) -> SocketAddr {
    let port = match address.port() {
        0 => 0,
        port => port.checked_add(1).unwrap_or(0),
    };
    SocketAddr::new(address.ip(), port)
}

/// The origin of pages is scheme, host and port, as browsers write them (RFC 6454 §6.2).
fn checked_origin(text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::unreadable(format!("`{text}` can't be the origin of pages: {why}"));
    let url: reqwest::Url = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it is not an http or https URL"));
    }
    if url.path() != "/"
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(wrong("it has more than scheme, host and port"));
    }
    Ok(url.origin().ascii_serialization())
}

/// The signals that ask to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::start(format!("signals can't be received: {error}")))
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_plain_base_url() {
        assert_eq!(checked_issuer("https://placet.example/").unwrap(), "https://placet.example");
        for wrong in ["placet.example", "ftp://a", "https://a?b", "https://a#b", "https://u:p@a", ""] {
            assert!(checked_issuer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(checked_origin("https://Login.example:443/").unwrap(), "https://login.example");
        assert_eq!(checked_origin("http://127.0.0.1:7448").unwrap(), "http://127.0.0.1:7448");
        for wrong in
            ["login.example", "https://a/b", "https://a?b", "https://a#b", "https://u@a", "file:///a", ""]
        {
            assert!(checked_origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_are_beside() {
        let beside = |text: &str| beside(text.parse().unwrap()).to_string();
        assert_eq!(beside("127.0.0.1:7447"), "127.0.0.1:7448");
        assert_eq!(beside("0.0.0.0:0"), "0.0.0.0:0");
        assert_eq!(beside("[::1]:65535"), "[::1]:0");
    }

    #[tokio::test]
    async fn a_port_in_use_is_a_sentence() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let failure = bind(first.local_addr().unwrap(), "--listen").await.unwrap_err();
        assert!(matches!(&failure, Failure::NotStarted(message) if message.contains("in use")), "{failure}");
    }
}
