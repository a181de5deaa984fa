//! Tests of the parts that need no database.

use super::*;

#[test]
fn the_proof_of_the_server_is_read_from_the_address() {
    let check = |url: &str, expect: &str, proof: Proof| assert_eq!(without_proof(url), (expect.to_owned(), proof), "{url}");
    check("postgresql://a@b/c", "postgresql://a@b/c", Proof::None);
    check(
        "postgresql://a@b/c?sslmode=require",
        "postgresql://a@b/c?sslmode=require",
        Proof::None,
    );
    check(
        "postgresql://a@b/c?sslmode=verify-full",
        "postgresql://a@b/c?sslmode=require",
        Proof::Full { roots: None },
    );
    check(
        "postgresql://a@b/c?sslrootcert=%2Fetc%2Froots.pem&sslmode=verify-full&connect_timeout=3",
        "postgresql://a@b/c?connect_timeout=3&sslmode=require",
        Proof::Full {
            roots: Some("/etc/roots.pem".into()),
        },
    );
}

#[test]
fn roots_alone_do_not_go_on_in_clear() {
    let check = |url: &str| {
        let (plain, proof) = without_proof(url);
        assert_eq!(
            (plain.as_str(), proof),
            (
                "postgresql://a@b/c?sslmode=require",
                Proof::Full {
                    roots: Some("/r.pem".into())
                }
            ),
            "{url}"
        );
    };
    check("postgresql://a@b/c?sslrootcert=/r.pem");
    check("postgresql://a@b/c?sslmode=prefer&sslrootcert=/r.pem");
    check("postgresql://a@b/c?sslrootcert=/r.pem&sslmode=disable");
}

#[test]
fn a_malformed_address_is_told_without_its_password() {
    let Err(StoreError::Data(text)) = Door::new("postgresql://me:hush@host/db?colour=red") else {
        panic!("expected an error")
    };
    assert!(text.contains("colour") && !text.contains("hush"), "{text}");
}
