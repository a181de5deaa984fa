//! PostgreSQL for tests: a private cluster on a free loopback port, in a temporary folder, gone when dropped.
//!
//! In:  the server programs of the machine. Out: an address; start, stop, restart, kill.
//! Invariants: commits are synced (tests of durability need it); only loopback is listened on; the server runs as `postgres` when the test
//! runs as root, since it refuses to run as root.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start or an orderly stop may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where Debian puts the programs, newest first.
const FOLDERS: &[&str] = &[
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
];

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Not installed.
    #[error("PostgreSQL is not installed (looked in {0}): apt-get install postgresql-15")]
    Missing(String),
    /// A program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        output: String,
    },
    /// It does not answer.
    #[error("PostgreSQL did not come up within {PATIENCE:?}: {0}")]
    Silent(String),
    /// Of the file system or process table.
    #[error("{what}")]
    Io {
        /// While doing what.
        what: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

fn doing(what: &'static str) -> impl Fn(io::Error) -> PostgresError {
    move |source| PostgresError::Io { what, source }
}

/// A cluster of its own. Dropping it kills the server and removes the data.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    server: Option<Child>,
}

/// How to end the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers from the log.
    Immediate,
    /// kill -9 to every process of it: as if the machine had failed, but for the disk.
    Kill,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self, PostgresError> {
        Self::start_with(&[])
    }

    /// The same with settings, `name=value` each.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start_with(settings: &[&str]) -> Result<Self, PostgresError> {
        let programs = FOLDERS
            .iter()
            .map(Path::new)
            .find(|f| f.join("initdb").exists() && f.join("postgres").exists());
        let programs = programs.ok_or_else(|| PostgresError::Missing(FOLDERS.join(", ")))?.to_owned();
        let folder = tempfile::Builder::new()
            .prefix("mitsuke-pg-")
            .tempdir()
            .map_err(doing("make a temporary folder"))?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).map_err(doing("open the temporary folder"))?;
        let data = folder.path().join("data");
        fs::create_dir(&data).map_err(doing("make the data folder"))?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).map_err(doing("close the data folder"))?;
        if let Some((uid, gid)) = server_user()? {
            std::os::unix::fs::chown(&data, Some(uid), Some(gid)).map_err(doing("give the data folder to postgres"))?;
        }
        let mut cluster = Self {
            folder,
            programs,
            port: free_port()?,
            server: None,
        };
        cluster.init(settings)?;
        cluster.up()?;
        Ok(cluster)
    }

    /// The same with TLS: `certificate` and `key` are PEM. [`Postgres::url`] does without; see [`Postgres::url_with`].
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start_tls(certificate: &str, key: &str) -> Result<Self, PostgresError> {
        let mut cluster = Self::start()?;
        cluster.down(Stop::Fast)?;
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = cluster.data().join(name);
            fs::write(&file, text).map_err(doing("write the certificate"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(doing("close the key"))?;
            if let Some((uid, gid)) = server_user()? {
                std::os::unix::fs::chown(&file, Some(uid), Some(gid)).map_err(doing("give the key to postgres"))?;
            }
        }
        let file = cluster.data().join("postgresql.auto.conf");
        let settings = fs::read_to_string(&file).map_err(doing("read the settings"))?;
        fs::write(&file, settings + "ssl = on\n").map_err(doing("write the settings"))?;
        cluster.up()?;
        Ok(cluster)
    }

    /// Where to connect: `postgresql://…`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same by another port: through a proxy.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        format!("postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// The same by a name of this machine and with other parameters: `sslmode=require`.
    #[must_use]
    pub fn url_with(&self, host: &str, parameters: &str) -> String {
        format!("postgresql://postgres@{host}:{}/postgres?{parameters}", self.port)
    }

    /// The address of database `name` of this cluster, made by the caller.
    #[must_use]
    pub fn url_of(&self, name: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    /// The port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn init(&self, settings: &[&str]) -> Result<(), PostgresError> {
        let mut command = self.program("initdb")?;
        command
            .arg("-D")
            .arg(self.data())
            .args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        let output = command.output().map_err(doing("run initdb"))?;
        if !output.status.success() {
            return Err(PostgresError::Program {
                program: "initdb",
                output: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nfsync = on\nsynchronous_commit = on\nfull_page_writes = on\n\
             shared_buffers = 64MB\nmax_connections = 100\nlogging_collector = off\n",
            self.port
        );
        for setting in settings {
            text.push_str(setting);
            text.push('\n');
        }
        let file = self.data().join("postgresql.auto.conf");
        fs::write(&file, text).map_err(doing("write the settings"))
    }

    fn program(&self, name: &str) -> Result<Command, PostgresError> {
        let mut command = Command::new(self.programs.join(name));
        command.env("LC_ALL", "C").current_dir("/");
        if let Some((uid, gid)) = server_user()? {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }

    /// Starts the server when it does not run; comes back when it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self) -> Result<(), PostgresError> {
        if self.server.is_some() {
            return Ok(());
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(doing("open the log"))?;
        let again = log.try_clone().map_err(doing("open the log"))?;
        let mut command = self.program("postgres")?;
        command.arg("-D").arg(self.data()).stdin(Stdio::null()).stdout(log).stderr(again);
        // Ctrl-C on the test is not for it.
        command.process_group(0);
        self.server = Some(command.spawn().map_err(doing("start postgres"))?);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.answers() {
                return Ok(());
            }
            if let Some(server) = &mut self.server
                && let Ok(Some(_)) = server.try_wait()
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(PostgresError::Silent(fs::read_to_string(self.log()).unwrap_or_default()))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Whether it takes connections: the first answer to a start-up packet is not an error.
    fn answers(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let _ = socket.set_read_timeout(Some(Duration::from_secs(2)));
        let body = b"user\0postgres\0database\0postgres\0\0";
        let mut packet = Vec::new();
        packet.extend_from_slice(&(8 + body.len() as u32).to_be_bytes());
        packet.extend_from_slice(&196_608_u32.to_be_bytes());
        packet.extend_from_slice(body);
        let mut first = [0];
        socket.write_all(&packet).is_ok() && socket.read_exact(&mut first).is_ok() && first == *b"R"
    }

    /// Ends the server.
    ///
    /// # Errors
    /// When it does not end.
    pub fn down(&mut self, how: Stop) -> Result<(), PostgresError> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let id = server.id().to_string();
        match how {
            Stop::Fast => signal("-INT", &[id])?,
            Stop::Immediate => signal("-QUIT", &[id])?,
            Stop::Kill => {
                // Held still, so that it makes no more children while they are counted.
                signal("-STOP", std::slice::from_ref(&id))?;
                let mut all = children(&id);
                all.push(id);
                signal("-KILL", &all)?;
                server.wait().map_err(doing("wait for postgres"))?;
                let until = Instant::now() + PATIENCE;
                while all.iter().any(|id| Path::new("/proc").join(id).join("exe").exists()) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(5));
                }
                // Its number may be given to somebody else, which would keep the next one from starting.
                let _ = fs::remove_file(self.data().join("postmaster.pid"));
                return Ok(());
            }
        }
        server.wait().map_err(doing("wait for postgres"))?;
        Ok(())
    }

    /// Ends it and starts it again.
    ///
    /// # Errors
    /// As [`Postgres::down`] and [`Postgres::up`].
    pub fn restart(&mut self, how: Stop) -> Result<(), PostgresError> {
        self.down(how)?;
        self.up()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.down(Stop::Kill) {
            eprintln!("PostgreSQL of a test was not stopped: {error}");
        }
    }
}

fn signal(name: &str, ids: &[String]) -> Result<(), PostgresError> {
    // A child may be gone already: only what is left counts.
    let output = Command::new("kill")
        .arg(name)
        .arg("--")
        .args(ids)
        .output()
        .map_err(doing("signal postgres"))?;
    if !output.status.success() && ids.len() == 1 {
        return Err(PostgresError::Program {
            program: "kill",
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(())
}

/// Processes whose parent is `id`.
fn children(id: &str) -> Vec<String> {
    let all = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    all.filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter(|name| {
            let stat = fs::read_to_string(format!("/proc/{name}/stat")).unwrap_or_default();
            // The second field is in brackets and may have anything in it.
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.split_whitespace().nth(1) == Some(id))
        })
        .collect()
}

/// As whom the server runs: `postgres` when we are root.
fn server_user() -> Result<Option<(u32, u32)>, PostgresError> {
    let status = fs::read_to_string("/proc/self/status").map_err(doing("read /proc/self/status"))?;
    let is_root = status
        .lines()
        .any(|l| l.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0")));
    if !is_root {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(doing("read /etc/passwd"))?;
    let fields = users
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| f.first() == Some(&"postgres"));
    let ids = fields.and_then(|f| Some((f.get(2)?.parse().ok()?, f.get(3)?.parse().ok()?)));
    ids.map(Some)
        .ok_or_else(|| PostgresError::Missing("/etc/passwd: no user postgres".into()))
}

fn free_port() -> Result<u16, PostgresError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(doing("find a free port"))?;
    Ok(listener.local_addr().map_err(doing("find a free port"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_comes_up_after_every_kind_of_end() {
        let mut cluster = Postgres::start().unwrap();
        for how in [Stop::Fast, Stop::Immediate, Stop::Kill] {
            cluster.down(how).unwrap();
            assert!(!cluster.answers(), "{how:?}");
            cluster.up().unwrap();
            assert!(cluster.answers(), "{how:?}");
        }
    }
}
