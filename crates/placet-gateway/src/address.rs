//! Which network an address belongs to, as far as that decides whether the gateway may dial it.
//!
//! An IPv6 address that carries an IPv4 address (v4-mapped, NAT64, 6to4, …) is of a class of its own and never counts
//! as public, whatever it carries; and if what it carries is a metadata address, so is it.
//!
//! Invariant: what is not known to be globally reachable unicast is not [`AddressClass::Public`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is for (the IANA special-purpose registries, RFC 6890, and the clouds' metadata services).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Globally reachable unicast: may be dialled by every route.
    Public,
    /// A cloud's metadata service: hands out credentials to whoever asks, so it is never dialled.
    Metadata,
    /// 127.0.0.0/8, `::1`.
    Loopback,
    /// RFC 1918 and, in IPv6, the deprecated site-local `fec0::/10`.
    Private,
    /// 169.254.0.0/16, `fe80::/10`.
    LinkLocal,
    /// 100.64.0.0/10 (RFC 6598).
    CarrierNat,
    /// `fc00::/7` (RFC 4193).
    UniqueLocal,
    /// 0.0.0.0/8, `::`.
    Unspecified,
    /// 224.0.0.0/4, `ff00::/8`, and the limited broadcast address.
    Multicast,
    /// Documentation, benchmarking, protocol assignments and reserved space.
    Reserved,
    /// A public address of this very machine.
    Own,
    /// IPv4 within IPv6: mapped, compatible, translated (NAT64), 6to4, Teredo, ISATAP.
    Embedded,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Metadata => "metadata",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::CarrierNat => "carrier NAT",
            Self::UniqueLocal => "unique local",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::Own => "own",
            Self::Embedded => "IPv4-in-IPv6",
        })
    }
}

/// The class of `address`.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    if is_metadata_v4(address) {
        return AddressClass::Metadata;
    }
    match address.octets() {
        [0, ..] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [169, 254, ..] => AddressClass::LinkLocal,
        [100, 64..=127, ..] => AddressClass::CarrierNat,
        [224..=239, ..] | [255, 255, 255, 255] => AddressClass::Multicast,
        // Protocol assignments, the three documentation nets, the 6to4 relay anycast, benchmarking, class E.
        [192, 0, 0, _]
        | [192, 0, 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

/// The metadata services of AWS, GCP, Azure and most others; ECS and EKS credentials; Alibaba; Oracle; Azure's wire
/// server; Scaleway.
fn is_metadata_v4(address: Ipv4Addr) -> bool {
    matches!(
        address.octets(),
        [169, 254, 169, 254]
            | [169, 254, 170, 2]
            | [169, 254, 170, 23]
            | [169, 254, 42, 42]
            | [100, 100, 100, 200]
            | [192, 0, 0, 192]
            | [168, 63, 129, 16]
    )
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if is_metadata_v6(address) || embedded_v4(address).into_iter().flatten().any(is_metadata_v4) {
        return AddressClass::Metadata;
    }
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    if embedded_v4(address).iter().any(Option::is_some) {
        return AddressClass::Embedded;
    }
    match address.segments() {
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0xfc00..=0xfdff, ..] => AddressClass::UniqueLocal,
        // Protocol assignments (2001::/23), documentation (2001:db8::/32, 3fff::/20).
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

fn is_metadata_v6(address: Ipv6Addr) -> bool {
    matches!(
        address.segments(),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23]
            | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
            | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
    )
}

/// The IPv4 addresses that an IPv6 address may stand for; Teredo has two (server, and client with its bits flipped).
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // Compatible (deprecated), mapped, translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, a, b] if (a, b) != (0, 0) && (a, b) != (0, 1) => [v4(a, b), None],
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0, 0, 0, 0, 0xffff, 0, a, b] => [v4(a, b), None],
        // NAT64: the well-known prefix, and the local-use one (RFC 8215), whose embedding the operator chooses.
        [0x64, 0xff9b, _, _, _, _, a, b] => [v4(a, b), None],
        // Teredo.
        [0x2001, 0, a, b, _, _, c, d] => [v4(a, b), v4(!c, !d)],
        // 6to4.
        [0x2002, a, b, ..] => [v4(a, b), None],
        // ISATAP (RFC 5214).
        [_, _, _, _, 0 | 0x200, 0x5efe, a, b] => [v4(a, b), None],
        _ => [None, None],
    }
}
