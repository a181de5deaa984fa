//! What the demonstration is made of: its node file, tenant, domain, routes, recipients.

use super::{DOMAIN, Ports, TENANT};
use crate::client::{Api, Door, Problem};
use crate::say;
use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The node file: loopback, high ports, a static zone instead of DNS.
pub(super) fn node_file(ports: Ports) -> String {
    let Ports {
        mx,
        submission,
        submissions,
        api,
        web,
        ..
    } = ports;
    format!(
        r#"# Made by `mitsuke demo`, written anew at each start.
base = "mitsuke.localhost"
hostname = "gate.mitsuke.localhost"
public_url = "http://127.0.0.1:{web}"
data_dir = "data"

[[listeners]]
address = "127.0.0.1:{mx}"
role = "mx"

[[listeners]]
address = "127.0.0.1:{submission}"
role = "submission"

[[listeners]]
address = "127.0.0.1:{submissions}"
role = "submissions"

[[listeners]]
address = "127.0.0.1:{api}"
role = "api"

[[listeners]]
address = "127.0.0.1:{web}"
role = "web"

[net]
allowed_private = ["127.0.0.0/8"]

# A small zone answered before any resolver: no network is needed.
[[dns.static]]
name = "example"
type = "ZONE"

[[dns.static]]
name = "{DOMAIN}"
type = "MX"
value = "10 {TENANT}.in.mitsuke.localhost"

[[dns.static]]
name = "{TENANT}.in.mitsuke.localhost"
type = "A"
value = "127.0.0.1"

[[dns.static]]
name = "sender.example"
type = "A"
value = "127.0.0.1"

[[dns.static]]
name = "sender.example"
type = "TXT"
value = "v=spf1 ip4:127.0.0.0/8 -all"

[[dns.static]]
name = "far.example"
type = "A"
value = "127.0.0.1"
"#
    )
}

/// Makes the tenant with everything, or finds it; the owner's key.
pub(super) async fn tenant(operator: &Api, folder: &Path, ports: Ports) -> Result<String> {
    let key_file = folder.join("owner.key");
    match operator.get(&format!("/api/v1/tenants/{TENANT}")).await {
        Ok(_) => {}
        Err(e) if e.downcast_ref::<Problem>().is_some_and(|p| p.status == 404) => {
            operator
                .post("/api/v1/tenants", &json!({"name": TENANT, "title": "デモ / Demonstration"}))
                .await?;
            let made = operator
                .post(
                    &format!("/api/v1/tenants/{TENANT}/keys"),
                    &json!({"name": "first owner", "role": "owner"}),
                )
                .await?;
            keep(
                &key_file,
                made.get("secret")
                    .and_then(Value::as_str)
                    .with_context(|| say::text("cli.demo.no-key", &[]))?,
            )?;
        }
        Err(e) => return Err(e),
    }
    let key = std::fs::read_to_string(&key_file)
        .with_context(|| say::about_file("cli.error.read", &key_file))?
        .trim()
        .to_owned();
    let owner = Api::new(Door::Url {
        url: format!("http://127.0.0.1:{}", ports.api),
        key: key.clone(),
    });
    settings(&owner, ports).await?;
    Ok(key)
}

/// Domain, route and recipients as they must be for the ports of this start.
async fn settings(owner: &Api, ports: Ports) -> Result<()> {
    let path = format!("/api/v1/tenants/{TENANT}/domains/{DOMAIN}");
    let settings = json!({
        "services": ["inbound", "outbound"],
        "recipient_mode": "directory",
        "outbound_enabled": true,
        "outbound_networks": ["127.0.0.1/32"],
        "inbound_servers": [{"host": "127.0.0.1", "port": ports.sink}],
        "outbound_routes": [{"domain": "far.example", "target": {"to": "smarthost", "host": "127.0.0.1", "port": ports.down}}],
    });
    match owner.get(&path).await {
        Ok(_) => drop(owner.json(Method::PATCH, &path, Some(&json!({"settings": settings}))).await?),
        Err(e) if e.downcast_ref::<Problem>().is_some_and(|p| p.status == 404) => {
            owner
                .post(
                    &format!("/api/v1/tenants/{TENANT}/domains"),
                    &json!({"name": DOMAIN, "settings": settings}),
                )
                .await?;
            let list = "address,display_name\r\ntaro@castle.example,山田太郎\r\nhanako@castle.example,佐藤花子\r\n";
            owner
                .send(
                    Method::POST,
                    &format!("{path}/recipients/import?origin=demo.csv"),
                    "text/csv",
                    list.as_bytes().to_vec(),
                )
                .await?;
        }
        Err(e) => return Err(e),
    }
    for _ in 0..100 {
        let view = owner.get(&path).await?;
        if matches!(view.get("state").and_then(Value::as_str), Some("verified" | "active")) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{}", say::text("cli.demo.not-proven", &[("domain", DOMAIN)]))
}

/// The key's file, for its owner's eyes only.
fn keep(path: &Path, key: &str) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{key}").with_context(|| say::about_file("cli.error.write", path))
}
