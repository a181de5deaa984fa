//! The reference cases of routing, with real next hops A to D (domains-and-routing 4.3).

use serde_json::{Value, json};
use std::time::Duration;
use system::{World, event, message, next_hop, queue_id, row_with};
use testkit::peer::{Act, Peer, Stage};

struct Hops {
    world: World,
    hops: Vec<(&'static str, Peer)>,
    sent: usize,
}

impl Hops {
    /// Rows `(name, recipient, preference)`, each with a next hop of its own.
    async fn with(rows: &[(&'static str, &str, u32)]) -> Self {
        let world = World::start().await;
        let mut hops = Vec::new();
        let mut settings = Vec::new();
        for (name, recipient, preference) in rows {
            let hop = next_hop().await;
            settings.push(row_with(hop.address, json!({"recipient": recipient, "preference": preference})));
            hops.push((*name, hop));
        }
        world.rows(Value::Array(settings)).await;
        Self { world, hops, sent: 0 }
    }

    async fn of_the_table() -> Self {
        Self::with(&[("A", "*", 20), ("B", "john", 10), ("C", "sophie", 20), ("D", "taro", 50)]).await
    }

    fn hop(&self, name: &str) -> &Peer {
        self.hops.iter().find(|(n, _)| *n == name).map(|(_, hop)| hop).unwrap()
    }

    fn down(&self, name: &str) {
        self.hop(name)
            .script(|s| drop(s.acts.insert(Stage::Greeting, Act::Reply("421 4.3.2 down".into()))));
    }

    fn up(&self, name: &str) {
        self.hop(name).script(|s| s.acts.clear());
    }

    /// Sends one message to `who@a.example`; its 250 reply and its subject.
    async fn send(&mut self, who: &str) -> (String, String) {
        self.sent += 1;
        let subject = format!("case{}.", self.sent);
        let mut client = self.world.client().await;
        let reply = client
            .deliver("s@sender.example", &[&format!("{who}@a.example")], &message(&subject))
            .await
            .unwrap();
        (reply, subject)
    }

    /// Hops that acknowledged the message.
    fn holders(&self, subject: &str) -> Vec<&'static str> {
        let wanted = format!("Subject: {subject}\r\n");
        let has = |hop: &Peer| {
            hop.taken()
                .iter()
                .filter(|t| t.acknowledged && String::from_utf8_lossy(&t.data).contains(&wanted))
                .count()
        };
        self.hops
            .iter()
            .flat_map(|(name, hop)| std::iter::repeat_n(*name, has(hop)))
            .collect()
    }

    /// Sends one message after the other; who got each.
    async fn check(&mut self, who: &str, expect: &[&str]) {
        let mut got = Vec::new();
        for _ in expect {
            let (reply, subject) = self.send(who).await;
            self.world.events(&reply, "delivered").await;
            self.world
                .eventually("acknowledged", async || !self.holders(&subject).is_empty())
                .await;
            got.extend(self.holders(&subject));
        }
        assert_eq!(got, expect, "{who}");
        // Idle connections end, so that who is down is seen to be down.
        self.world.skip(Duration::from_secs(700)).await;
    }

    /// Sends one message that nobody takes: it waits, and reaches `who_then` by its first retry.
    async fn check_queued(&mut self, who: &str, who_then: &str) {
        let (reply, subject) = self.send(who).await;
        self.world.events(&reply, "deferred").await;
        let entry = self.world.entry(&reply, "waits", |e| e["attempts"] == 1).await;
        assert_eq!(entry["state"], "queued");
        let days = |e: &Value, f: &str| e[f].as_str().unwrap()[..10].to_owned();
        assert_eq!(
            (days(&entry, "received_at"), days(&entry, "expires_at")),
            ("2026-11-24".into(), "2026-12-04".into()),
            "10 days"
        );
        assert_eq!(self.holders(&subject), [""; 0]);
        self.up(who_then);
        self.world.pass(Duration::from_secs(335)).await;
        self.world.events(&reply, "delivered").await;
        assert_eq!(self.holders(&subject), [who_then]);
    }
}

/// John's own server comes first by its preference; when it is down, the server for everyone.
/// covers: domains/4.3/john-example-com
#[tokio::test]
async fn john() {
    let mut hops = Hops::of_the_table().await;
    hops.check("john", &["B", "B"]).await;
    hops.down("B");
    hops.check("john", &["A", "A"]).await;
    hops.up("B");
    hops.check("John", &["B"]).await;
    hops.world.stop().await;
}

/// Equal preferences take turns message by message, beginning with the upper row; one down: always the other.
/// covers: domains/4.3/sophie-example-com
#[tokio::test]
async fn sophie() {
    let mut hops = Hops::of_the_table().await;
    hops.check("sophie", &["A", "C", "A", "C"]).await;
    hops.down("C");
    hops.check("sophie", &["A", "A", "A"]).await;
    hops.up("C");
    hops.down("A");
    hops.check("sophie", &["C", "C", "C"]).await;
    hops.world.stop().await;
}

/// Preference 20 beats the exact row's 50, which is only the fallback.
/// covers: domains/4.3/taro-example-com
#[tokio::test]
async fn taro() {
    let mut hops = Hops::of_the_table().await;
    hops.check("taro", &["A", "A"]).await;
    hops.down("A");
    hops.check("taro", &["D", "D"]).await;
    hops.world.set_domain(json!({"route_match": "most-specific"})).await.unwrap();
    hops.up("A");
    hops.check("taro", &["D"]).await;
    hops.world.stop().await;
}

/// Whom only the row for everyone matches waits in the queue while it is down.
/// covers: domains/4.3/hanako-example-com
#[tokio::test]
async fn hanako() {
    let mut hops = Hops::of_the_table().await;
    hops.check("hanako", &["A"]).await;
    hops.down("A");
    hops.check_queued("hanako", "A").await;
    hops.world.stop().await;
}

/// Three rows in order: the next one at once, and the queue when all are down.
/// covers: domains/4.3/any-rows-m1-pref-10-m2-pref-20-m3-pref-30
#[tokio::test]
async fn three_in_order() {
    let mut hops = Hops::with(&[("m1", "*", 10), ("m2", "*", 20), ("m3", "*", 30)]).await;
    hops.check("u", &["m1", "m1"]).await;
    hops.down("m1");
    hops.check("u", &["m2"]).await;
    hops.down("m2");
    hops.check("u", &["m3"]).await;
    hops.down("m3");
    hops.check_queued("u", "m2").await;
    hops.world.stop().await;
}

/// Two equal rows take turns; one message to many counts once; one down: the other, and it does not lose its place in the turn.
/// covers: domains/4.3/any-rows-m1-and-m2-both-pref-10
#[tokio::test]
async fn two_equal() {
    let mut hops = Hops::with(&[("m1", "*", 10), ("m2", "*", 10)]).await;
    hops.check("u", &["m1", "m2", "m1", "m2"]).await;
    let mut client = hops.world.client().await;
    let reply = client
        .deliver(
            "s@sender.example",
            &["u@a.example", "v@a.example", "w@a.example"],
            &message("three"),
        )
        .await
        .unwrap();
    let events = hops.world.events(&reply, "delivered").await;
    assert_eq!(
        event(&events, "attempt")["recipients"],
        json!(["u@a.example", "v@a.example", "w@a.example"]),
        "{}",
        queue_id(&reply)
    );
    assert_eq!(hops.holders("three"), ["m1"], "one delivery for the three");
    hops.check("u", &["m2", "m1"]).await;
    hops.down("m1");
    hops.check("u", &["m2", "m2"]).await;
    hops.up("m1");
    hops.down("m2");
    hops.check("u", &["m1", "m1"]).await;
    hops.world.stop().await;
}

/// `%`, `!` and quoted local parts are never taken as routes; a source route is left out.
/// covers: domains/4.3/hanako-example-com
#[tokio::test]
async fn nothing_is_a_route() {
    let world = World::start().await;
    for (n, (given, leaves)) in [
        ("a%far.example@a.example", "a%far.example@a.example"),
        ("far.example!a@a.example", "far.example!a@a.example"),
        ("\"a@far.example\"@a.example", "\"a@far.example\"@a.example"),
        ("@far.example,@b.example:u@a.example", "u@a.example"),
    ]
    .into_iter()
    .enumerate()
    {
        world.send(&format!("r{n}"), &[given]).await;
        assert_eq!(world.peer.wait(n + 1).await[n].rcpts, [format!("RCPT TO:<{leaves}>")]);
    }
    world.stop().await;
}
