//! The built binary as a process of its own: started on a node file, killed, stopped, started again.

use mitsuke::client::{Api, Door};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A node of the built binary. Killed when dropped.
pub struct Process {
    child: Option<Child>,
    file: PathBuf,
    /// SMTP door.
    pub smtp: SocketAddr,
    /// The operator's API.
    pub api: Api,
    socket: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has at this moment, below those that the system gives to outgoing connections: a server that is killed and started
/// again must find it free.
pub fn free_port() -> u16 {
    for _ in 0..1_000 {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).expect("random bytes");
        let port = 20_000 + u16::from_le_bytes(bytes) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from 20,000 to 32,000");
}

/// Where cargo put the binary: beside the tests.
pub fn binary() -> PathBuf {
    let mut folder = std::env::current_exe().expect("this test's file");
    folder.pop();
    folder.pop();
    let binary = folder.join("mitsuke");
    assert!(binary.exists(), "{} is not there: cargo build -p mitsuke", binary.display());
    binary
}

impl Process {
    /// Writes a node file into `folder` and starts a server on it. `store`: PostgreSQL instead of the embedded store; `zone`: lines for the static zone.
    pub fn start(folder: &Path, name: &str, store: Option<&str>, more: &str) -> Self {
        let smtp = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let data = folder.join(name);
        std::fs::create_dir_all(&data).expect("data folder");
        let store = store
            .map(|url| format!("store = \"{url}\"\nblobs = \"{}\"\n", folder.join("blobs").display()))
            .unwrap_or_default();
        let text = format!(
            "base = \"mitsuke.example\"\nhostname = \"{name}.mitsuke.example\"\npublic_url = \"http://127.0.0.1:1\"\ndata_dir = \"{}\"\n{store}\n[[listeners]]\naddress = \"{smtp}\"\nrole = \"mx\"\n\n\
             [net]\nallowed_private = [\"127.0.0.0/8\"]\n\n\
             [[dns.static]]\nname = \"example\"\ntype = \"ZONE\"\n\n[[dns.static]]\nname = \"sender.example\"\ntype = \"A\"\nvalue = \"127.0.0.1\"\n\n\
             [[dns.static]]\nname = \"a.example\"\ntype = \"MX\"\nvalue = \"10 alpha.in.mitsuke.example\"\n\n[[dns.static]]\nname = \"alpha.in.mitsuke.example\"\ntype = \"A\"\nvalue = \"127.0.0.1\"\n\n{more}",
            data.display()
        );
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, text).expect("node file");
        let socket = data.join("control.sock");
        let mut process = Self {
            child: None,
            file,
            smtp,
            api: Api::new(Door::Socket(socket.clone())),
            socket,
        };
        process.run();
        process
    }

    /// Starts it (again) and waits until its doors are open.
    pub fn run(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.file.with_extension("log"))
            .expect("log");
        let child = Command::new(binary())
            .args(["serve", "-c"])
            .arg(&self.file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("start the binary"));
        let begun = Instant::now();
        while std::net::TcpStream::connect(self.smtp).is_err() || std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten()) {
                panic!("the server ended at once ({status}): {}", self.log());
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the server does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file.with_extension("log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("runs").id()
    }

    /// Sends it a signal by name: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks it to stop and waits.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let mut child = self.child.take().expect("runs");
        let status = child.wait().expect("wait");
        assert!(status.success(), "the server did not stop in order: {}", self.log());
    }

    /// Tenant `alpha` with `a.example` routed to `next_hop`, limits out of the way, retries after a second.
    pub async fn set_up(&self, next_hop: SocketAddr) {
        let system = json!({
            "limits": {
                "connections_per_address": 10_000, "connections_per_network": 10_000, "messages_per_connection": 1_000_000,
                "rate_client_inbound": {"messages": 100_000_000, "per_s": 60}, "rate_recipient": {"messages": 100_000_000, "per_s": 60},
            },
            "queue": {"schedule_s": [1], "next_hop_concurrency": 50},
        });
        let patch = json!({"document": system});
        self.api
            .json(hyper::Method::PATCH, "/api/v1/settings/system", Some(&patch))
            .await
            .expect("system settings");
        self.api.post("/api/v1/tenants", &json!({"name": "alpha"})).await.expect("tenant");
        let key: Value = self
            .api
            .post("/api/v1/tenants/alpha/keys", &json!({"name": "owner", "role": "owner"}))
            .await
            .expect("key");
        let secret = key["secret"].as_str().expect("secret").to_owned();
        let settings = json!({"inbound_servers": [{"host": next_hop.ip().to_string(), "port": next_hop.port(), "connections_max": 50}]});
        let owner = self.api.with_key(&secret);
        owner
            .post("/api/v1/tenants/alpha/domains", &json!({"name": "a.example", "settings": settings}))
            .await
            .expect("domain");
        self.api
            .post("/api/v1/tenants/alpha/domains/a.example/confirm", &json!({"reason": "test"}))
            .await
            .expect("confirm");
    }

    /// Entries in the queue.
    pub async fn queued(&self) -> u64 {
        let told = self.api.get("/api/v1/queue/count").await;
        told.ok().and_then(|t| t["count"].as_u64()).unwrap_or(u64::MAX)
    }
}
