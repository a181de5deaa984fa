use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: password.to_owned().into(),
    }
}

/// The exchange of RFC 7677 §3, word for word, both sides.
#[test]
fn scram_sha_256_of_the_rfc() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let mut client = ClientExchange::new(
        Mechanism::ScramSha256,
        credentials("user", "pencil"),
        String::from("rOprNGfwEbeRWgbNEkqO"),
    );
    let first = client.initial_response().unwrap();
    assert_eq!(&*first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let mut server = ScramServer::read_first(&first).unwrap();
    assert_eq!((server.user(), server.authzid()), ("user", ""));
    let challenge = server.challenge(ScramKeys::derive("pencil", &salt, 4096), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(
        challenge,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = client.respond(challenge.as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&last),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let server_final = server.read_final(&last).unwrap();
    assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert!(!client.is_complete());
    assert_eq!(client.respond(server_final.as_bytes()).unwrap().len(), 0);
    assert!(client.is_complete());
}

#[test]
fn a_wrong_password_and_a_decoy_fail_alike() {
    for keys in [
        ScramKeys::derive("other", b"0123456789abcdef", 4096),
        ScramKeys::decoy("user", b"secret", 4096),
    ] {
        let mut client = ClientExchange::new(Mechanism::ScramSha256, credentials("user", "pencil"), String::from("abc"));
        let mut server = ScramServer::read_first(&client.initial_response().unwrap()).unwrap();
        let challenge = server.challenge(keys, "def");
        assert_eq!(
            server.read_final(&client.respond(challenge.as_bytes()).unwrap()),
            Err(SaslError::Proof)
        );
    }
    assert_eq!(ScramKeys::decoy("a", b"k", 4096), ScramKeys::decoy("a", b"k", 4096));
    assert_ne!(ScramKeys::decoy("a", b"k", 4096), ScramKeys::decoy("b", b"k", 4096));
    assert_eq!(ScramKeys::decoy("a", b"k", 4096).salt.len(), 16);
}

#[test]
fn a_server_that_does_not_know_the_password_is_not_believed() {
    let check = |challenge: &str, expect: ClientError| {
        let mut client = ClientExchange::new(Mechanism::ScramSha256, credentials("user", "pencil"), String::from("abc"));
        client.initial_response().unwrap();
        assert_eq!(client.respond(challenge.as_bytes()).unwrap_err(), expect, "{challenge}");
        assert!(!client.is_complete());
        assert_eq!(client.respond(b"").unwrap_err(), ClientError::Unexpected);
    };
    check("r=abc,s=MDEy,i=4096", ClientError::ServerProof);
    check("r=xyzdef,s=MDEy,i=4096", ClientError::ServerProof);
    check("r=abcdef,s=MDEy,i=1", ClientError::Iterations);
    check("r=abcdef,s=MDEy,i=4000000000", ClientError::Iterations);
    check("r=abcdef,s=*,i=4096", ClientError::Challenge);
    check("r=abcdef", ClientError::Challenge);
    let mut client = ClientExchange::new(Mechanism::ScramSha256, credentials("user", "pencil"), String::from("abc"));
    client.initial_response().unwrap();
    client.respond(b"r=abcdef,s=MDEy,i=4096").unwrap();
    assert_eq!(client.respond(b"v=AAAA").unwrap_err(), ClientError::ServerProof);
    assert!(!client.is_complete());
}

#[test]
fn scram_first_messages() {
    let check = |text: &str, expect: Result<(&str, &str), SaslError>| {
        let found = ScramServer::read_first(text.as_bytes());
        assert_eq!(found.as_ref().map(|s| (s.user(), s.authzid())).map_err(|e| *e), expect, "{text}");
    };
    check("n,,n=user,r=abc", Ok(("user", "")));
    check("y,,n=user,r=abc", Ok(("user", "")));
    check("n,a=other,n=us=2Cer=3D,r=abc", Ok(("us,er=", "other")));
    check("p=tls-unique,,n=user,r=abc", Err(SaslError::NotOffered));
    check("n,,m=ext,n=user,r=abc", Err(SaslError::NotOffered));
    check("n,,n=us=2Der,r=abc", Err(SaslError::Form));
    check("n,,n=,r=abc", Err(SaslError::Form));
    check("n,,n=user,r=", Err(SaslError::Form));
    check("n,,n=user", Err(SaslError::Form));
    check("n,x,n=user,r=abc", Err(SaslError::Form));
    check("", Err(SaslError::Form));
}

#[test]
fn scram_final_must_repeat_header_and_nonce() {
    let mut server = ScramServer::read_first(b"n,,n=user,r=abc").unwrap();
    server.challenge(ScramKeys::derive("pencil", b"salt", 4096), "def");
    let proof = STANDARD.encode([0; 32]);
    let check = |text: &str, expect: SaslError| assert_eq!(server.read_final(text.as_bytes()), Err(expect), "{text}");
    check(&format!("c=biws,r=abcdef,p={proof}"), SaslError::Proof);
    check(&format!("c=eSws,r=abcdef,p={proof}"), SaslError::NotOffered);
    check(&format!("c=biws,r=abcxyz,p={proof}"), SaslError::NotOffered);
    check("c=biws,r=abcdef,p=AAAA", SaslError::Form);
    check("c=biws,r=abcdef", SaslError::Form);
}

#[test]
fn plain_messages() {
    let check = |message: &[u8], expect: Result<(&str, &str, &str), SaslError>| {
        let found = read_plain(message);
        let found = found
            .as_ref()
            .map(|m| (m.authzid.as_str(), m.user.as_str(), m.password.as_str()))
            .map_err(|e| *e);
        assert_eq!(found, expect, "{}", message.escape_ascii());
    };
    check(b"\0ann\0secret", Ok(("", "ann", "secret")));
    check(b"bob\0ann\0secret", Ok(("bob", "ann", "secret")));
    check(b"\0ann", Err(SaslError::Form));
    check(b"\0\0secret", Err(SaslError::Form));
    check(b"\0ann\0", Err(SaslError::Form));
    check(b"\0ann\0secret\0", Err(SaslError::Form));
    check(b"\0ann\0\xff", Err(SaslError::Utf8));
}

#[test]
fn login_and_plain_clients() {
    let mut login = ClientExchange::new(Mechanism::Login, credentials("ann", "secret"), String::new());
    assert!(login.initial_response().is_none());
    assert_eq!(&**login.respond(b"Username:").unwrap(), b"ann");
    assert!(!login.is_complete());
    assert_eq!(&**login.respond(b"whatever").unwrap(), b"secret");
    assert!(login.is_complete());
    let mut plain = ClientExchange::new(Mechanism::Plain, credentials("ann", "secret"), String::new());
    assert_eq!(&**plain.initial_response().unwrap(), b"\0ann\0secret");
    assert!(plain.is_complete());
    assert_eq!(plain.respond(b"").unwrap_err(), ClientError::Unexpected);
}

#[test]
fn secrets_are_not_printed() {
    let shown = format!("{:?} {:?}", credentials("ann", "secret"), ScramKeys::derive("secret", b"salt", 1));
    assert!(!shown.contains("secret"), "{shown}");
    assert_ne!(nonce().unwrap(), nonce().unwrap());
}

proptest! {
    #[test]
    fn any_message_is_survived(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = read_plain(&octets);
        if let Ok(mut server) = ScramServer::read_first(&octets) {
            server.challenge(ScramKeys::decoy("x", b"k", 4096), "n");
            prop_assert!(server.read_final(&octets).is_err());
        }
    }
}
