//! Place: is the process that had this node's name certainly gone?
//!
//! In:  the node's name, the installation's mark. Out: a name locked on this machine for as long as the process lives, and the machine's tag.
//! A node that was killed and starts again on its machine thus has its entries at once, without waiting for its old lease to end.
//! Invariants: two living processes never hold the same place; one that is stopped holds it.

use sha2::{Digest, Sha256};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A name locked on this machine.
#[derive(Debug)]
pub(super) struct Place {
    /// Boot of the machine and its network namespace: in both, abstract names are one.
    host: String,
    /// The kernel gives the name back when the last process that has it open ends, however it ends.
    lock: Option<UnixListener>,
}

impl Place {
    pub(super) fn take(name: &str, installation: &str) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let network = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
        let host = format!("{} {}", boot.trim(), network.display());
        let digest = Sha256::digest(format!("{installation}\0{name}"));
        let mut text = String::from("mitsuke-node-");
        digest.iter().for_each(|b| text.push_str(&format!("{b:02x}")));
        let lock = SocketAddr::from_abstract_name(&text)
            .and_then(|address| UnixListener::bind_addr(&address))
            .ok();
        Self {
            host,
            lock: lock.filter(|_| !boot.is_empty()),
        }
    }

    /// The machine, when the name is locked on it; else empty.
    pub(super) fn host(&self) -> &str {
        if self.lock.is_some() { &self.host } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_is_held_by_one() {
        let first = Place::take("node", "tests of place");
        assert!(!first.host().is_empty());
        assert_eq!(Place::take("node", "tests of place").host(), "");
        assert_eq!(Place::take("other", "tests of place").host(), first.host());
        drop(first);
        assert!(!Place::take("node", "tests of place").host().is_empty());
    }
}
