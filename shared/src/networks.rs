//! Which addresses are the world's, and which are somebody's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one that anybody on the Internet could call: not this machine,
/// not a private network, not a cloud's metadata service, nothing reserved, and not one of
/// these in an IPv6 wrapping.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_public_v4(it),
        IpAddr::V6(it) => wrapped(it).map_or_else(|| is_public_v6(it), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, the machine's own, and what is reserved or for groups.
        [0 | 127 | 224.., ..] => false,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => false,
        // Behind a carrier's translation.
        [100, 64..=127, ..] => false,
        // Link-local: clouds tell their secrets there.
        [169, 254, ..] => false,
        // For protocols, relays, documentation and measurements.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => false,
        [198, 51, 100, _] | [203, 0, 113, _] => false,
        // A cloud's own services.
        [168, 63, 129, 16] => false,
        _ => true,
    }
}

/// Only what is given out as global unicast, 2000::/3, without its reserved corners.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocols (Teredo among them), documentation, and what is not routed.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address that is dialled in the end: it is mapped, or translated (NAT64), or
/// tunnelled (6to4). Other wrappings are not routed, and so are not public.
fn wrapped(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(from(high, low))
        }
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::*;

    /// The networks that nobody's upstream may be in, said in another way than above.
    const BANNED: [&str; 38] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "168.63.129.16/32",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "::1/128",
        "::ffff:10.0.0.0/104",
        "::ffff:127.0.0.0/104",
        "::ffff:169.254.0.0/112",
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b::7f00:0/104",
        "64:ff9b::a9fe:0/112",
        "64:ff9b:1::/48",
        "2002:7f00::/24",
        "2002:a9fe::/32",
        "2002:c0a8::/32",
        "2001::/32",
        "2001:db8::/32",
        "fc00::/7",
        "fd00:ec2::254/128",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "100::/64",
    ];

    fn banned() -> Vec<IpNet> {
        BANNED.iter().map(|it| it.parse().unwrap()).collect()
    }

    /// Some address of a network.
    fn within(network: IpNet, random: u128) -> IpAddr {
        match network {
            IpNet::V4(it) => {
                let host = u32::try_from(random & 0xffff_ffff).unwrap() & it.hostmask().to_bits();
                Ipv4Addr::from(it.network().to_bits() | host).into()
            }
            IpNet::V6(it) => {
                Ipv6Addr::from(it.network().to_bits() | (random & it.hostmask().to_bits())).into()
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_banned_network_is_public(random: u128) {
            for network in banned() {
                let address = within(network, random);
                prop_assert!(!is_public(address), "{address} of {network}");
            }
        }

        /// Every wrapping tells the same of an address as the address itself.
        #[test]
        fn a_wrapping_hides_nothing(address: u32, rest: u64) {
            let plain = Ipv4Addr::from(address);
            let (low, rest) = (u128::from(address), u128::from(rest));
            for wrapping in [
                0xffff_u128 << 32 | low,
                0x64_ff9b_u128 << 96 | low,
                0x2002_u128 << 112 | low << 80 | rest,
            ] {
                let wrapping = Ipv6Addr::from(wrapping);
                prop_assert_eq!(is_public(wrapping.into()), is_public(plain.into()), "{}", wrapping);
            }
        }

        #[test]
        fn the_rest_of_version_4_is_public(address: u32) {
            let address = IpAddr::from(Ipv4Addr::from(address));
            let is_banned = banned().iter().any(|it| it.contains(&address));
            prop_assert_eq!(is_public(address), !is_banned);
        }
    }

    #[test]
    fn the_worlds_addresses_are_public() {
        for address in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        assert!(is_public("64:ff9b::101:101".parse().unwrap()), "NAT64 of 1.1.1.1");
    }
}
