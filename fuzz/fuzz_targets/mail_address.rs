//! Addresses, domains and ids: what is read prints as something that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::{Address, Domain, EnhancedStatus, QueueId, Reference};

pub fn fuzz_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = Address::parse(text) {
        let printed = address.to_string();
        assert_eq!(Address::parse(&printed).as_ref(), Ok(&address));
        assert!(!printed.contains(['\r', '\n', '\0']));
        let _ = (address.key(), address.local_without_subaddress(Some('+')));
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
        let _ = domain.to_unicode();
    }
    if let Ok(id) = text.parse::<QueueId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(reference) = text.parse::<Reference>() {
        let _ = reference.to_string();
    }
    if let Some(status) = EnhancedStatus::parse(text) {
        assert_eq!(EnhancedStatus::parse(&status.to_string()), Some(status));
    }
}

fuzz_target!(|data: &[u8]| fuzz_address(data));
