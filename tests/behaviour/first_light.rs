//! The thinnest true way: a message comes in, is promised, arrives, and its trace tells of it.

use system::{World, kinds, message};

/// A message of a stranger reaches the domain's inbound server unchanged apart from our trace field.
/// covers: domains/10/accepted
#[tokio::test]
async fn a_message_arrives() {
    let world = World::start().await;
    let mut client = world.client().await;
    let sent = message("first light");
    let reply = client.deliver("s@sender.example", &["u@a.example"], &sent).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 Accepted, queue id "), "{reply}");
    let taken = world.peer.wait(1).await;
    let arrived = String::from_utf8_lossy(&taken[0].data).into_owned();
    assert!(arrived.starts_with("Received: from client.sender.example"), "{arrived}");
    assert!(taken[0].data.ends_with(&sent), "{arrived}");
    let events = world.events(&reply, "delivered").await;
    for kind in ["connected", "mail-from", "rcpt", "accepted", "decided", "queued", "attempt", "delivered"] {
        assert!(kinds(&events).contains(&kind), "{kind} is missing: {:?}", kinds(&events));
    }
    world.stop().await;
}
