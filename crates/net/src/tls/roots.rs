//! Whose signatures on certificates are believed?

use super::TlsError;
use super::certificate::read_certificates;
use mail::text::Text;
use rustls::RootCertStore;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the trusted roots come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootsSource {
    /// The system's, and the certificates in these files besides.
    System {
        /// PEM files; `tls.roots` of the node file.
        extra: Vec<PathBuf>,
    },
    /// The certificates in these PEM files and no others.
    Files(Vec<PathBuf>),
}

/// Trusted roots, read once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Roots(pub(super) Arc<RootCertStore>);

impl Roots {
    /// Reads them. What the system has and cannot be read is logged and left out; files that the settings name must be right.
    ///
    /// # Errors
    /// [`TlsError::File`], [`TlsError::Content`].
    pub fn load(source: &RootsSource) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        let files = match source {
            RootsSource::System { extra } => {
                let system = rustls_native_certs::load_native_certs();
                for error in &system.errors {
                    tracing::warn!(%error, "some of the system's trusted roots could not be read");
                }
                store.add_parsable_certificates(system.certs);
                extra
            }
            RootsSource::Files(files) => files,
        };
        for path in files {
            for certificate in read_certificates(path)? {
                store.add(certificate).map_err(|error| TlsError::Content {
                    path: path.clone(),
                    problem: Text::new("check.pem.root").with("why", error.to_string()),
                })?;
            }
        }
        if store.is_empty() {
            tracing::warn!("no trusted roots at all: every certificate counts as unverified");
        }
        Ok(Self(Arc::new(store)))
    }

    /// Number of roots.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
