//! Documents at addresses that anybody may have named: only public ones are dialled, whatever a name answers.

use crate::upstream::Scripted;
use placet_gateway::AddressClass::{CarrierNat, LinkLocal, Loopback, Private, UniqueLocal};
use placet_gateway::{AddressClass, FetchConfig, FetchError, Fetcher, NotSent, Resolve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn fetcher(scripted: &Arc<Scripted>, loopback: bool) -> Fetcher {
    let resolver: Arc<dyn Resolve> = Arc::clone(scripted) as _;
    Fetcher::new(FetchConfig { resolver: Some(resolver), loopback, ..FetchConfig::default() }).unwrap()
}

fn at(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 443)).collect()
}

async fn why(fetcher: &Fetcher, url: &str) -> FetchError {
    fetcher.get(url, "application/json", 100).await.unwrap_err()
}

fn forbidden(class: AddressClass) -> FetchError {
    FetchError::NotSent(NotSent::Forbidden(class))
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_whole_also_the_second_time() {
    for (answer, class) in [
        (vec!["127.0.0.1"], Loopback),
        (vec!["::1"], Loopback),
        (vec!["10.0.0.1"], Private),
        (vec!["93.184.216.34", "10.0.0.1"], Private),
        (vec!["10.0.0.1", "93.184.216.34"], Private),
        (vec!["169.254.0.9"], LinkLocal),
        (vec!["100.64.0.1"], CarrierNat),
        (vec!["fd00::9"], UniqueLocal),
    ] {
        // This machine is reached by its own name only, even where it may be.
        for loopback in [false, true] {
            let scripted = Scripted::new(vec![at(&answer)]);
            let fetcher = fetcher(&scripted, loopback);
            for asked in 1..=2 {
                assert_eq!(why(&fetcher, "https://app.example/c").await, forbidden(class), "{answer:?}");
                // One look-up for each: what was checked is what would be dialled.
                assert_eq!(scripted.asked.load(Ordering::SeqCst), asked);
            }
        }
    }
    let scripted = Scripted::new(vec![at(&["169.254.169.254"])]);
    let error = why(&fetcher(&scripted, true), "https://app.example/c").await;
    assert_eq!(error, FetchError::NotSent(NotSent::Metadata));
}

#[tokio::test]
async fn what_is_written_as_an_address_is_no_better() {
    let scripted = Scripted::new(vec![]);
    let fetcher = fetcher(&scripted, false);
    for (url, class) in [
        ("https://127.0.0.1/c", Loopback),
        ("https://[::1]/c", Loopback),
        ("https://10.1.2.3/c", Private),
        ("https://[fd00::9]/c", UniqueLocal),
    ] {
        assert_eq!(why(&fetcher, url).await, forbidden(class), "{url}");
    }
    for url in [
        "http://app.example/c",
        "http://127.0.0.1/c",
        "http://localhost/c",
        "file:///etc/passwd",
        "https:",
        "",
    ] {
        assert_eq!(why(&fetcher, url).await, FetchError::Url, "{url}");
    }
    assert_eq!(scripted.asked.load(Ordering::SeqCst), 0);
}
