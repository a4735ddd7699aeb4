//! What an agent is as an OAuth client, as flags.

use super::super::{Members, object_in};
use crate::exit::Failure;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// The members of RFC 7591 §2 that a person sets.
#[derive(Debug, Args)]
#[command(next_help_heading = "As an OAuth client")]
pub(super) struct Client {
    /// Where people may be sent back to: https, http at localhost, or an application's own scheme; can be repeated
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// How it authenticates [default of the server: client_secret_basic]
    #[arg(long, value_enum, value_name = "METHOD")]
    auth_method: Option<Method>,
    /// Its public keys, a JWK set, are in this file
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// Its public keys are at this URL
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// A grant type that it may use; can be repeated [default of the server: all that its method allows]
    #[arg(long = "grant-type", value_name = "TYPE")]
    grant_types: Vec<String>,
    /// What people are told that it is called
    #[arg(long, value_name = "NAME")]
    client_name: Option<String>,
    /// A page about it
    #[arg(long, value_name = "URL")]
    client_uri: Option<String>,
    /// Whether it is installed at people's machines, or runs on a server of its own
    #[arg(long, value_enum)]
    application_type: Option<Application>,
    /// Every token of it is bound to a key of its own (DPoP)
    #[arg(long)]
    dpop_bound: bool,
    /// Its certificate has this subject, like `CN=agent,O=Example`
    #[arg(long, value_name = "DN", group = "certified")]
    tls_subject: Option<String>,
    /// Its certificate has this DNS name
    #[arg(long, value_name = "NAME", group = "certified")]
    tls_dns: Option<String>,
    /// Its certificate has this URI, like a SPIFFE ID
    #[arg(long, value_name = "URI", group = "certified")]
    tls_uri: Option<String>,
    /// Its certificate has this IP address
    #[arg(long, value_name = "ADDRESS", group = "certified")]
    tls_ip: Option<String>,
    /// Its certificate has this e-mail address
    #[arg(long, value_name = "ADDRESS", group = "certified")]
    tls_email: Option<String>,
    /// Every token of it is bound to its certificate (mutual TLS)
    #[arg(long)]
    certificate_bound: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Method {
    /// A secret in the header, or in the body
    ClientSecretBasic,
    /// A secret in the body, or in the header
    ClientSecretPost,
    /// An assertion signed with a key of its own
    PrivateKeyJwt,
    /// A certificate of an authority that the server trusts, with the name that is given
    TlsClientAuth,
    /// A certificate with one of its public keys
    SelfSignedTlsClientAuth,
    /// Not at all: a public client
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Application {
    /// Installed
    Native,
    /// On a server
    Web,
}

impl Client {
    /// Adds what was given.
    pub(super) fn add_to(self, members: Members) -> Result<Members, Failure> {
        let jwks = self.jwks.map(|path| object_in("--jwks", &path)).transpose()?;
        Ok(members
            .list("redirect_uris", &self.redirect_uris)
            .maybe("token_endpoint_auth_method", word(self.auth_method))
            .maybe("jwks", jwks)
            .maybe("jwks_uri", self.jwks_uri)
            .list("grant_types", &self.grant_types)
            .maybe("client_name", self.client_name)
            .maybe("client_uri", self.client_uri)
            .maybe("application_type", word(self.application_type))
            .maybe("dpop_bound_access_tokens", self.dpop_bound.then_some(true))
            .maybe("tls_client_auth_subject_dn", self.tls_subject)
            .maybe("tls_client_auth_san_dns", self.tls_dns)
            .maybe("tls_client_auth_san_uri", self.tls_uri)
            .maybe("tls_client_auth_san_ip", self.tls_ip)
            .maybe("tls_client_auth_san_email", self.tls_email)
            .maybe("tls_client_certificate_bound_access_tokens", self.certificate_bound.then_some(true)))
    }
}

pub(super) fn word(value: Option<impl ValueEnum>) -> Option<String> {
    value.and_then(|value| value.to_possible_value()).map(|value| value.get_name().to_owned())
}
