use super::*;
use std::os::unix::fs::PermissionsExt;

fn keys() -> Keys {
    Keys::from_secret(&[7; 32])
}

#[test]
fn a_key_file_is_made_once_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = Keys::open_or_create(&dir.path().join("data")).unwrap();
    let path = dir.path().join("data").join(KEY_FILE);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Keys::open_or_create(&dir.path().join("data")).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    let other = Keys::open_or_create(&dir.path().join("other")).unwrap();
    assert_ne!(first.fingerprint(), other.fingerprint());
}

#[test]
fn a_bad_key_file_is_refused() {
    let check = |text: &str, mode: u32, expect: fn(&KeyFileError) -> bool| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let got = Keys::open_or_create(dir.path()).unwrap_err();
        assert!(expect(&got), "{text}: {got}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    };
    let good = format!("mitsuke-key-1 {}\n", "0a".repeat(32));
    check(&good, 0o640, |e| matches!(e, KeyFileError::Mode { .. }));
    check("", 0o600, |e| matches!(e, KeyFileError::Damaged { .. }));
    check(&good[..40], 0o600, |e| matches!(e, KeyFileError::Damaged { .. }));
    check(&good.replace("key-1", "key-2"), 0o600, |e| {
        matches!(e, KeyFileError::Damaged { .. })
    });
    check(&good.replace('a', "g"), 0o600, |e| matches!(e, KeyFileError::Damaged { .. }));
}

#[test]
fn derived_keys_differ_by_tenant_and_purpose() {
    let keys = keys();
    let derived = [
        keys.derive(TenantId(1), Purpose::Seal),
        keys.derive(TenantId(2), Purpose::Seal),
        keys.derive(TenantId(1), Purpose::Cursor),
        keys.derive(TenantId(0), Purpose::Stamp),
        keys.derive(TenantId(1), Purpose::LoginCache),
        keys.derive(TenantId(1), Purpose::Link),
    ];
    let distinct: std::collections::HashSet<_> = derived.iter().map(|k| **k).collect();
    assert_eq!(distinct.len(), derived.len());
    assert_eq!(keys.stamp_key(), *derived[3]);
}

#[test]
fn derivation_never_changes() {
    // Stored secrets depend on it: computed apart with HMAC-SHA-256 as RFC 5869 says.
    let prk = mac(b"mitsuke installation key 1", &[7; 32]);
    let expect = mac(&prk, b"seal\0\0\0\0\0\0\0\0\x05\x01");
    assert_eq!(*keys().derive(TenantId(5), Purpose::Seal), expect);
}

#[test]
fn sealed_secrets_open_for_their_tenant_only() {
    let keys = keys();
    let sealed = keys.seal(TenantId(1), "pässword").unwrap();
    assert!(is_sealed(&sealed) && !sealed.contains("ssword"));
    assert_ne!(sealed, keys.seal(TenantId(1), "pässword").unwrap());
    assert_eq!(keys.unseal(TenantId(1), &sealed).unwrap().as_str(), "pässword");
    assert_eq!(keys.unseal(TenantId(2), &sealed), Err(SealError::Foreign));
    assert_eq!(Keys::from_secret(&[8; 32]).unseal(TenantId(1), &sealed), Err(SealError::Foreign));
    for bad in [
        "",
        "plain",
        "sealed:1:",
        "sealed:1:AAAA",
        "sealed:1:%%%",
        &sealed[..sealed.len() - 4],
    ] {
        assert_eq!(keys.unseal(TenantId(1), bad), Err(SealError::Foreign), "{bad}");
    }
}

#[test]
fn cursors_open_for_their_tenant_and_list_only() {
    let keys = keys();
    let cursor = keys.sign_cursor(TenantId(1), "domains", b"example.com");
    assert_eq!(keys.open_cursor(TenantId(1), "domains", &cursor), Some(b"example.com".to_vec()));
    assert_eq!(keys.open_cursor(TenantId(2), "domains", &cursor), None);
    assert_eq!(keys.open_cursor(TenantId(1), "jobs", &cursor), None);
    for bad in ["", "AAAA", "%%%", &cursor[1..], &"A".repeat(100_000)] {
        assert_eq!(keys.open_cursor(TenantId(1), "domains", bad), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_opens(text in ".{0,200}") {
        let keys = keys();
        proptest::prop_assert!(keys.open_cursor(TenantId(1), "domains", &text).is_none());
        proptest::prop_assert!(keys.unseal(TenantId(1), &text).is_err());
    }
}
