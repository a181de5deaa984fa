//! Open connections, per address and per network (/24 or /64).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who has how many. Bounded by the connections that exist.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    addresses: HashMap<IpAddr, u32>,
    networks: HashMap<IpAddr, u32>,
}

/// Which figure is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverConnections {
    /// Of the address.
    Address,
    /// Of its network.
    Network,
}

/// A counted connection; leaves when dropped.
#[derive(Debug)]
pub struct Seat {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    /// Counts one more.
    ///
    /// # Errors
    /// [`OverConnections`] when a figure is reached; then nothing was counted.
    pub fn enter(self: &Arc<Self>, address: IpAddr, per_address: u32, per_network: u32) -> Result<Seat, OverConnections> {
        let network = network_of(address);
        let mut counts = self.lock();
        if counts.addresses.get(&address).is_some_and(|n| *n >= per_address) {
            return Err(OverConnections::Address);
        }
        if counts.networks.get(&network).is_some_and(|n| *n >= per_network) {
            return Err(OverConnections::Network);
        }
        *counts.addresses.entry(address).or_default() += 1;
        *counts.networks.entry(network).or_default() += 1;
        drop(counts);
        Ok(Seat {
            connections: Arc::clone(self),
            address,
        })
    }

    /// Connections of one address.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> u32 {
        self.lock().addresses.get(&address).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        leave(&mut counts.addresses, self.address);
        leave(&mut counts.networks, network_of(self.address));
    }
}

fn leave(counts: &mut HashMap<IpAddr, u32>, key: IpAddr) {
    if let Some(n) = counts.get_mut(&key) {
        *n = n.saturating_sub(1);
        if *n == 0 {
            counts.remove(&key);
        }
    }
}

/// The first address of its /24 or /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & 0xffff_ff00)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_per_address_and_network() {
        let connections = Arc::new(Connections::default());
        let enter = |text: &str| connections.enter(text.parse().unwrap(), 2, 3);
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").map(drop), Err(OverConnections::Address));
        let _third = enter("192.0.2.200").unwrap();
        assert_eq!(enter("192.0.2.7").map(drop), Err(OverConnections::Network));
        assert!(enter("192.0.3.7").is_ok());
        drop(first);
        assert_eq!(connections.of("192.0.2.1".parse().unwrap()), 1);
        assert!(enter("192.0.2.7").is_ok());
    }

    #[test]
    fn six_counts_by_64() {
        let connections = Arc::new(Connections::default());
        let enter = |text: &str| connections.enter(text.parse().unwrap(), 1, 2);
        let _seats = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
        assert_eq!(enter("2001:db8::3").map(drop), Err(OverConnections::Network));
        assert!(enter("2001:db8:0:1::3").is_ok());
    }

    #[test]
    fn nothing_is_left_behind() {
        let connections = Arc::new(Connections::default());
        drop(connections.enter("192.0.2.1".parse().unwrap(), 1, 1));
        let counts = connections.lock();
        assert!(counts.addresses.is_empty() && counts.networks.is_empty());
    }
}
