//! The `placet` binary: reads flags and files, wires, starts; and the command line against a running server.
//!
//! Invariant: no rules here. What a policy permits, what a token is worth, what an upstream is sent is decided in the
//! libraries.

mod certificate;
mod cli;
mod client;
mod commands;
mod confined;
mod data;
mod demo;
mod environment;
mod exit;
mod holder;
mod input;
mod installation;
mod judge_file;
mod key_service_file;
mod logs;
mod mcp_commands;
mod output;
mod policy_files;
mod private_key;
mod reserve;
mod running;
mod serve;
mod state;

use clap::Parser as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run(environment::Environment::read()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::note(&format!("error: {failure}"));
            (&failure).into()
        }
    }
}
