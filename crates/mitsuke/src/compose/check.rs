//! What only the machine can tell of a node file: files, ports, folders, the database. All problems together.
//!
//! In: the checked node file. Out: every problem, with its path and what to do. Changes nothing but for an empty file that it takes away again.

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

fn writable(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let probe = folder.join(".mitsuke-check");
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

/// Whether PostgreSQL answers and is new enough, and the blob folder is the one the other nodes use.
fn database(node: &Node) -> Option<Text> {
    let StoreChoice::Postgres(url) = &node.store else { return None };
    store::pg::probe(url, &node.blobs)
        .err()
        .map(|e| Text::new("check.node.database").with("why", e.to_string()))
}
