//! `placet demo`: the whole story on a temporary server, over real HTTP, with a real upstream.
//!
//! Invariant: nothing is played that did not happen: each step's outcome is read from what the server answered, and
//! the exit code is 0 only if every step gave what it should.

mod stage;
mod story;
mod upstream;

use crate::{
    cli::Context,
    client::Client,
    data::{self, DataDir},
    exit::{Exit, Failure},
    input,
    installation::Elsewhere,
    output::Output,
    running::{self, Outside, Pages},
    serve,
};
use clap::Args;
use placet_core::secret::Secret;
use stage::Stage;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use upstream::Shop;

/// The secret that the shop wants and no agent sees.
const SHOP_SECRET: &str = "shop-secret-7f3a91c04be2";

/// Play the story.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything happens in a temporary directory, which is removed at the end.\n\nExamples:\n  placet demo\n  placet demo --json\n  placet demo --shop 127.0.0.1:9000    only the shop, to try Placet against"
)]
pub(crate) struct Demo {
    /// Play nothing: only open the shop (the upstream) at this address, until it is stopped
    #[arg(long, value_name = "ADDRESS")]
    shop: Option<SocketAddr>,
}

impl Demo {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let out = Output::for_people(context.global.json, context.environment.no_color);
        if let Some(address) = self.shop {
            let shop = Shop::start(SHOP_SECRET, address).await?;
            out.sentence(&format!(
                "The shop answers at {} whoever has the secret {SHOP_SECRET}.",
                shop.base_url()
            ));
            serve::Signals::new()?.next().await;
            return Ok(Exit::Done);
        }
        let temporary = tempfile::Builder::new().prefix("placet-demo-").tempdir();
        let temporary = temporary
            .map_err(|error| Failure::start(format!("no temporary directory can be made: {error}")))?;
        // Either way the directory goes when `temporary` does.
        tokio::select! {
            exit = play(temporary.path(), out) => exit,
            _ = tokio::signal::ctrl_c() => Err(Failure::Refused("stopped".to_owned())),
        }
    }
}

async fn play(temporary: &std::path::Path, out: Output) -> Result<Exit, Failure> {
    let began = Instant::now();
    let shop = Shop::start(SHOP_SECRET, ([127, 0, 0, 1], 0).into()).await?;
    let directory = DataDir::open(&temporary.join("data"))?;
    let listener = serve::bind(([127, 0, 0, 1], 0).into(), "--listen").await?;
    let pages =
        Pages { listener: serve::bind(([127, 0, 0, 1], 0).into(), "--pages-listen").await?, url: None };
    let server = running::start(
        listener,
        pages,
        directory,
        running::Front::default(),
        Elsewhere::default(),
        running::Spans::default(),
        Outside::default(),
    )
    .await?;
    out.sentence(&format!(
        "Placet answers at {}, the shop (the upstream) at {}.",
        server.base_url(),
        shop.base_url()
    ));
    let token = Secret::new(input::file(&temporary.join("data").join(data::ADMIN_TOKEN))?);
    let token = Secret::new(input::text_of(&token, "administrator token")?.trim());
    let administrator = Client::new(server.base_url(), Some(token))?;
    let mut stage = Stage::new(out);
    let told = story::tell(&mut stage, &administrator, &shop, temporary).await;
    server.stop(Duration::from_secs(5)).await;
    told?;
    let (steps, failed) = (stage.steps(), stage.failed());
    let took = began.elapsed().as_secs_f64();
    out.sentence("");
    if failed == 0 {
        out.sentence(&format!("All {steps} steps gave what they should, in {took:.1} s."));
        Ok(Exit::Done)
    } else {
        out.sentence(&format!("{failed} of {steps} steps did not give what they should."));
        Ok(Exit::Negative)
    }
}
