//! The flags of `placet serve` about the egress door.
//!
//! Invariant: it is closed unless a flag says where it is, and nothing passes through it unread that no flag names.

use super::bind;
use crate::{exit::Failure, running};
use clap::Args;
use placet_gateway::Route;
use std::net::SocketAddr;

/// Where the egress door is.
#[derive(Debug, Args)]
pub(super) struct Egress {
    /// Where programs of agents find an HTTP proxy that takes what they ask for the way of an action
    /// (`docs/egress.md`, `placet run`)
    #[arg(long, value_name = "ADDRESS")]
    egress_listen: Option<SocketAddr>,
    /// The URL by which they reach it [default: http:// and the bound address]
    #[arg(long, value_name = "URL", requires = "egress_listen")]
    egress_url: Option<String>,
    /// A host (and port, if that isn't 443) to which connections are passed on unread there, without any credential of
    /// Placet's; each is recorded. Can be repeated
    #[arg(long, value_name = "HOST", requires = "egress_listen")]
    egress_pass: Vec<String>,
}

impl Egress {
    /// Binds the address.
    ///
    /// # Errors
    /// A sentence saying what can't be used.
    pub(super) async fn open(&self) -> Result<Option<running::Egress>, Failure> {
        let Some(address) = self.egress_listen else { return Ok(None) };
        let pass = self.egress_pass.iter().map(|host| {
            Route::new(&format!("https://{host}"), false)
                .map_err(|_| Failure::unreadable(format!("--egress-pass: `{host}` is no host to pass on to")))
        });
        let pass = pass.collect::<Result<_, _>>()?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "the egress door is listened for beyond this machine, and agents' tokens come to it without TLS: only within a network that is trusted"
            );
        }
        let url = self.egress_url.as_deref().map(checked).transpose()?;
        Ok(Some(running::Egress { listener: bind(address, "--egress-listen").await?, url, pass }))
    }
}

fn checked(text: &str) -> Result<String, Failure> {
    let url = super::checked_origin(text)?;
    if url.starts_with("http://") {
        return Ok(url);
    }
    Err(Failure::unreadable(format!(
        "`{text}` can't be the URL of the egress door: proxies are spoken to by http"
    )))
}
