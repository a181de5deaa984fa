//! Which certificates do we show, and where do they come from?
//!
//! In: PEM files, or nothing at all on the first run. Out: certified keys by name, with the facts that the console shows.
//! Invariants: a key that we write is readable by its owner only; a file that is too large or does not fit its key is refused whole.

use super::peer::{hex, names};
use super::{TlsError, provider};
use mail::Timestamp;
use mail::text::Text;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificate files are a few kilobytes; root bundles a few hundred.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long a certificate that we make ourselves is valid. Nobody trusts it, so nobody renews it.
const SELF_SIGNED_YEARS: i32 = 10;

/// A certificate chain and its key, as the settings name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Names for which it is shown (SNI), `*.` for one label; those in the certificate when empty.
    pub names: Vec<String>,
    /// PEM: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Makes a certificate of our own where no other is configured, so that STARTTLS works from the first start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfSigned {
    /// Folder of the two files; made when absent.
    pub directory: PathBuf,
    /// DNS names, the first one being the host's.
    pub names: Vec<String>,
}

/// What the console shows of a certificate of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Names for which it is shown.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: Timestamp,
    /// Its issuer is itself.
    pub is_self_signed: bool,
    /// SHA-256 of the key, hex.
    pub spki_sha256: String,
    /// The file.
    pub file: PathBuf,
}

/// A certificate ready to be shown.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: CertificateFacts,
}

impl SelfSigned {
    /// Where the two files lie.
    #[must_use]
    pub fn files(&self) -> CertificateFiles {
        CertificateFiles {
            names: Vec::new(),
            certificate: self.directory.join("self-signed.crt"),
            key: self.directory.join("self-signed.key"),
        }
    }

    /// Keeps the files that are there if they are made out to the same names and not near their end; writes new ones otherwise.
    pub(super) fn ensure(&self, now: Timestamp) -> Result<CertificateFiles, TlsError> {
        let files = self.files();
        if let Ok(loaded) = load(&files) {
            let is_lasting = loaded.facts.not_after.since(now) > std::time::Duration::from_secs(30 * 86_400);
            if is_lasting
                && self
                    .names
                    .iter()
                    .all(|name| loaded.facts.names.contains(&name.to_ascii_lowercase()))
            {
                return Ok(files);
            }
        }
        let setup = |error: rcgen::Error| TlsError::Setup(format!("make a certificate: {error}"));
        let mut params = rcgen::CertificateParams::new(self.names.clone()).map_err(setup)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(host) = self.names.first() {
            params.distinguished_name.push(rcgen::DnType::CommonName, host.as_str());
        }
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let (start, end) = validity_dates(now);
        params.not_before = rcgen::date_time_ymd(start.0, start.1, start.2);
        params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
        let key = rcgen::KeyPair::generate().map_err(setup)?;
        let certificate = params.self_signed(&key).map_err(setup)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { path, source }
        };
        fs::create_dir_all(&self.directory).map_err(failed(&self.directory))?;
        // The key first: a crash in between leaves a pair that does not load, and the next start makes both anew.
        write_file(&files.key, key.serialize_pem().as_bytes(), 0o600).map_err(failed(&files.key))?;
        write_file(&files.certificate, certificate.pem().as_bytes(), 0o644).map_err(failed(&files.certificate))?;
        Ok(files)
    }
}

/// Year, month, day: from the day before, since the other side's clock may be behind, for ten years.
fn validity_dates(now: Timestamp) -> ((i32, u8, u8), (i32, u8, u8)) {
    let date = jiff::tz::Offset::UTC
        .to_datetime(jiff::Timestamp::from_millisecond(now.0).unwrap_or_default())
        .date();
    let start = date.yesterday().unwrap_or(date);
    let (year, month, day) = (i32::from(start.year()), start.month().unsigned_abs(), start.day().unsigned_abs());
    // 29 February has no fellow in most years.
    ((year, month, day), (year + SELF_SIGNED_YEARS, month, day.min(28)))
}

/// Writes beside and renames, so that no reader sees half a file.
fn write_file(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    // A left-over of a crash may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Reads a whole file, bounded.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(failed)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::Content {
            path: path.to_owned(),
            problem: Text::new("check.pem.large"),
        });
    }
    Ok(bytes)
}

/// All certificates of a PEM file; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(path, &read_file(path)?)
}

fn certificates_in(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |problem: Text| TlsError::Content {
        path: path.to_owned(),
        problem,
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(Text::new("check.pem.form").with("why", error.to_string())))?;
    if certificates.is_empty() {
        Err(wrong(Text::new("check.pem.no-certificate")))
    } else {
        Ok(certificates)
    }
}

/// Reads a certificate and its key and checks that they fit.
pub(super) fn load(files: &CertificateFiles) -> Result<Loaded, TlsError> {
    let wrong = |path: &Path, problem: Text| TlsError::Content {
        path: path.to_owned(),
        problem,
    };
    let chain = read_certificates(&files.certificate)?;
    let key_pem = zeroize::Zeroizing::new(read_file(&files.key)?);
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|error| wrong(&files.key, Text::new("check.pem.no-key").with("why", error.to_string())))?;
    let first = chain
        .first()
        .cloned()
        .ok_or_else(|| wrong(&files.certificate, Text::new("check.pem.no-certificate")))?;
    let (_, parsed) = X509Certificate::from_der(&first)
        .map_err(|error| wrong(&files.certificate, Text::new("check.pem.no-x509").with("why", error.to_string())))?;
    let certified = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| wrong(&files.key, Text::new("check.pem.mismatch").with("why", error.to_string())))?;
    let shown = if files.names.is_empty() {
        names(&parsed)
    } else {
        files.names.iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    let facts = CertificateFacts {
        names: shown,
        not_after: Timestamp(parsed.validity().not_after.timestamp().saturating_mul(1000)),
        is_self_signed: parsed.issuer() == parsed.subject(),
        spki_sha256: hex(&Sha256::digest(parsed.public_key().raw)),
        file: files.certificate.clone(),
    };
    Ok(Loaded {
        key: Arc::new(certified),
        facts,
    })
}

/// Tells whether a file may have changed: replaced (inode), rewritten (time, length), gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, i64, i64, u64)>);

pub(super) fn stamp(path: &Path) -> Stamp {
    Stamp(
        fs::metadata(path)
            .ok()
            .map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len())),
    )
}
