//! What only the machine can tell of a node file: files, ports, folders, the database. All problems together.
//!
//! In: the checked node file. Out: every problem, with its path and what to do. Changes nothing and makes nothing.

use config::node::StoreChoice;
use config::{Node, Problem, ProblemKind};
use mail::Timestamp;
use mail::text::Text;
use net::tls::{CertificateFiles, Roots, RootsSource, SelfSigned, ServerTls, ServerTlsSettings};
use std::path::Path;

/// Everything.
#[must_use]
pub fn machine(node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut tell = |at: &str, kind, text: Text| problems.push(Problem::new(at, kind, text));
    for wrong in net::resolver::StaticZone::parse(&super::static_entries(node))
        .err()
        .unwrap_or_default()
    {
        let at = format!("dns.static[{}]", wrong.row.saturating_sub(1));
        tell(&at, ProblemKind::Malformed, wrong.problem);
    }
    for (at, folder) in [("data_dir", &node.data_dir), ("blobs", &node.blobs)] {
        if let Err(e) = writable(folder) {
            tell(
                at,
                ProblemKind::Missing,
                Text::new("check.node.folder")
                    .with("folder", folder.display().to_string())
                    .with("why", Text::of_io(&e)),
            );
        }
    }
    match Roots::load(&RootsSource::System {
        extra: node.tls_roots.clone(),
    }) {
        Err(e) => tell("tls.roots", ProblemKind::Malformed, Text::from(&e)),
        Ok(roots) if !node.tls.is_empty() => {
            for (i, files) in node.tls.iter().enumerate() {
                let settings = ServerTlsSettings {
                    certificates: vec![CertificateFiles {
                        names: Vec::new(),
                        certificate: files.certificate.clone(),
                        key: files.key.clone(),
                    }],
                    self_signed: SelfSigned {
                        directory: node.data_dir.join("tls"),
                        names: Vec::new(),
                    },
                    roots: roots.clone(),
                };
                if let Err(e) = ServerTls::load(settings, now()) {
                    tell(&format!("tls.files[{i}]"), ProblemKind::Malformed, Text::from(&e));
                }
            }
        }
        Ok(_) => {}
    }
    // A running server has its own ports.
    if std::os::unix::net::UnixStream::connect(&node.control_socket).is_err() {
        for (i, listener) in node.listeners.iter().enumerate() {
            if let Err(e) = std::net::TcpListener::bind(listener.address) {
                tell(
                    &format!("listeners[{i}].address"),
                    ProblemKind::Conflict,
                    Text::new("check.about")
                        .with("what", listener.address.to_string())
                        .with("why", Text::of_io(&e)),
                );
            }
        }
        if let Some(text) = database(node) {
            tell("store", ProblemKind::Missing, text);
        }
    }
    problems
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Whether the folder can be written, or be made where it is not there yet. Asks, and makes nothing.
fn writable(folder: &Path) -> std::io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let here = std::path::absolute(folder)?;
    let there = here.ancestors().find(|p| p.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    if !std::fs::metadata(there)?.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(Into::into)
}

/// Whether PostgreSQL answers and is new enough, and the blob folder is the one the other nodes use.
fn database(node: &Node) -> Option<Text> {
    let StoreChoice::Postgres(url) = &node.store else { return None };
    store::pg::probe(url, &node.blobs)
        .err()
        .map(|e| Text::new("check.node.database").with("why", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(folder: &Path, more: &str) -> Node {
        let file = folder.join("mitsuke.toml");
        let text = format!(
            "base = \"mitsuke.localhost\"\nhostname = \"gate.mitsuke.localhost\"\npublic_url = \"http://127.0.0.1:1\"\ndata_dir = \"a/b\"\n\
             [[listeners]]\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n{more}"
        );
        std::fs::write(&file, text).unwrap();
        Node::load(&file).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_look_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(machine(&node(folder.path(), "")), Vec::new());
        assert_eq!(names(folder.path()), ["mitsuke.toml"]);
        // A file stands where a folder would have to be made.
        std::fs::write(folder.path().join("a"), "").unwrap();
        let told = machine(&node(folder.path(), ""));
        assert!(
            told.iter().any(|p| p.at == "data_dir" && p.kind == ProblemKind::Missing),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn a_bad_certificate_is_found_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let bad = "[[tls.files]]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n";
        for name in ["chain.pem", "key.pem"] {
            std::fs::write(folder.path().join(name), "no certificate").unwrap();
        }
        let node = node(folder.path(), bad);
        let told = machine(&node);
        assert!(told.iter().any(|p| p.at == "tls.files[0]"), "{told:?}");
        let Err(told) = super::super::start(node, net::clock::Clock::system()).await else {
            panic!("started");
        };
        assert!(format!("{told:#}").contains("chain.pem"), "{told:#}");
        assert_eq!(names(folder.path()), ["chain.pem", "key.pem", "mitsuke.toml"]);
    }
}
