//! Hashes of secrets: Argon2id (19 MiB, 2 passes) in a small pool, so that a flood of log-ins costs waiting and not memory.
//!
//! In:  secrets. Out: hashes in PHC form; whether a secret fits one.
//! Invariants: at most [`AT_ONCE`] hashes at a time, [`WAITING_MAX`] in line; an unknown login costs the same as a wrong secret;
//! of successes only a keyed hash is remembered, for [`REMEMBERED_FOR`], in memory.

use crate::keys::{Keys, Purpose};
use crate::{RandomError, mac};
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use mail::{TenantId, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Hashes at a time.
pub const AT_ONCE: usize = 2;
/// Who comes when so many wait is told to come again.
pub const WAITING_MAX: usize = 64;
/// How long a success is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(300);
const REMEMBERED_MAX: usize = 10_000;
/// Longer secrets are refused before hashing.
pub const SECRET_BYTES_MAX: usize = 1_024;
const SECRET_LETTERS: usize = 32;

/// Why a secret was neither hashed nor looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many wait: come again.
    #[error("too many log-ins at once")]
    Busy,
    /// The hash could not be computed.
    #[error("hashing failed")]
    Failed,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// The pool.
#[derive(Debug)]
pub struct Passwords {
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
    remembered: Mutex<HashMap<[u8; 32], Timestamp>>,
    key: Zeroizing<[u8; 32]>,
    /// Hash of a secret that nobody knows.
    decoy: String,
}

/// A new secret of 32 letters and digits (190 bits), to be shown once.
///
/// # Errors
/// [`RandomError`].
pub fn new_secret() -> Result<Zeroizing<String>, RandomError> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut secret = Zeroizing::new(String::with_capacity(SECRET_LETTERS));
    while secret.len() < SECRET_LETTERS {
        let mut bytes = Zeroizing::new([0_u8; 64]);
        crate::fill_random(bytes.as_mut())?;
        // Bytes beyond the last whole multiple of 62 would make some letters likelier.
        let letters = bytes.iter().filter(|b| **b < 248).filter_map(|b| LETTERS.get(usize::from(b % 62)));
        let missing = SECRET_LETTERS - secret.len();
        secret.extend(letters.map(|l| char::from(*l)).take(missing));
    }
    Ok(secret)
}

impl Passwords {
    /// A pool.
    ///
    /// # Errors
    /// [`HashError`].
    pub fn new(keys: &Keys) -> Result<Self, HashError> {
        Ok(Self {
            seats: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            remembered: Mutex::default(),
            key: keys.derive(TenantId::OPERATOR, Purpose::LoginCache),
            decoy: decoy()?,
        })
    }

    /// Hashes a secret, in PHC form.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn hash(&self, secret: Zeroizing<String>) -> Result<String, HashError> {
        self.in_pool(move || hash_now(&secret)).await?
    }

    /// Whether `secret` fits the hash; with no hash (an unknown login) it does not, after the same time.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn verify(&self, secret: &str, hash: Option<&str>, now: Timestamp) -> Result<bool, HashError> {
        if secret.len() > SECRET_BYTES_MAX {
            return Ok(false);
        }
        let ticket = self.ticket(secret, hash.unwrap_or(&self.decoy));
        if hash.is_some() && self.is_remembered(&ticket, now) {
            return Ok(true);
        }
        let (owned, stored) = (Zeroizing::new(secret.to_owned()), hash.unwrap_or(&self.decoy).to_owned());
        let fits = self.in_pool(move || fits_now(&owned, &stored)).await?;
        if fits && hash.is_some() {
            self.remember(ticket, now);
        }
        Ok(fits && hash.is_some())
    }

    async fn in_pool<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let line = Line::join(&self.waiting)?;
        let seat = Arc::clone(&self.seats).acquire_owned().await.map_err(|_| HashError::Busy)?;
        drop(line);
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(seat);
            result
        });
        done.await.map_err(|_| HashError::Failed)
    }

    /// What stands for "this secret fits this hash" in memory.
    fn ticket(&self, secret: &str, hash: &str) -> [u8; 32] {
        mac(
            self.key.as_ref(),
            &Zeroizing::new([hash.as_bytes(), &[0], secret.as_bytes()].concat()),
        )
    }

    fn is_remembered(&self, ticket: &[u8; 32], now: Timestamp) -> bool {
        self.lock()
            .get(ticket)
            .is_some_and(|at| at.after(REMEMBERED_FOR) > now && *at <= now)
    }

    fn remember(&self, ticket: [u8; 32], now: Timestamp) {
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, at| at.after(REMEMBERED_FOR) > now);
        }
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(ticket, now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Timestamp>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in line; leaves when dropped, also when the client went away.
struct Line<'a>(&'a AtomicUsize);

impl<'a> Line<'a> {
    fn join(waiting: &'a AtomicUsize) -> Result<Self, HashError> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let line = Self(waiting);
        if before >= WAITING_MAX { Err(HashError::Busy) } else { Ok(line) }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hash_now(secret: &str) -> Result<String, HashError> {
    let hash: PasswordHash = Argon2::default().hash_password(secret.as_bytes()).map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

/// A hash that looks like any other and that no secret is known to fit. Nothing is hashed for it: that would cost each start its time, and
/// 19 MiB that the allocator keeps.
fn decoy() -> Result<String, RandomError> {
    let mut random = [0_u8; 48];
    crate::fill_random(&mut random)?;
    let (salt, hash) = random.split_at(16);
    let engine = Argon2::default();
    let costs = engine.params();
    let (memory, passes, lanes) = (costs.m_cost(), costs.t_cost(), costs.p_cost());
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Ok(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}"))
}

fn fits_now(secret: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    #[tokio::test]
    async fn secrets_fit_their_hash_only() {
        let passwords = Passwords::new(&Keys::from_secret(&[1; 32])).unwrap();
        let hash = passwords.hash(Zeroizing::new("right".into())).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(passwords.verify("right", Some(&hash), T0).await, Ok(true));
        assert_eq!(passwords.verify("wrong", Some(&hash), T0).await, Ok(false));
        assert_eq!(passwords.verify("right", None, T0).await, Ok(false));
        assert_eq!(passwords.verify("right", Some("no hash"), T0).await, Ok(false));
        assert_eq!(passwords.verify(&"x".repeat(2_000), Some(&hash), T0).await, Ok(false));
    }

    #[test]
    fn the_decoy_costs_what_a_hash_costs() {
        let (decoy, real) = (decoy().unwrap(), hash_now("secret").unwrap());
        let costs = |text: &str| text.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(costs(&decoy), costs(&real));
        let parsed = PasswordHash::new(&decoy).unwrap();
        assert_eq!(
            parsed.hash.map(|h| h.len()),
            PasswordHash::new(&real).unwrap().hash.map(|h| h.len())
        );
        assert!(!fits_now("secret", &decoy));
        let start = std::time::Instant::now();
        assert!(fits_now("secret", &real));
        let of_real = start.elapsed();
        let start = std::time::Instant::now();
        assert!(!fits_now("secret", &decoy));
        assert!(
            start.elapsed() > of_real / 10,
            "a decoy that is refused before hashing tells who exists"
        );
    }

    #[tokio::test]
    async fn successes_are_remembered_for_five_minutes() {
        let passwords = Passwords::new(&Keys::from_secret(&[1; 32])).unwrap();
        let hash = passwords.hash(Zeroizing::new("right".into())).await.unwrap();
        assert_eq!(passwords.verify("right", Some(&hash), T0).await, Ok(true));
        let ticket = passwords.ticket("right", &hash);
        assert!(passwords.is_remembered(&ticket, T0.after(Duration::from_secs(299))));
        assert!(!passwords.is_remembered(&ticket, T0.after(REMEMBERED_FOR)));
        // A new secret has a new hash: the old success says nothing about it.
        let other = passwords.hash(Zeroizing::new("other".into())).await.unwrap();
        assert_eq!(passwords.verify("right", Some(&other), T0).await, Ok(false));
    }

    #[tokio::test]
    async fn a_full_line_is_busy() {
        let passwords = Passwords::new(&Keys::from_secret(&[1; 32])).unwrap();
        passwords.waiting.store(WAITING_MAX, Ordering::Relaxed);
        assert_eq!(passwords.verify("x", None, T0).await, Err(HashError::Busy));
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), WAITING_MAX);
    }

    #[test]
    fn secrets_are_32_letters_and_differ() {
        let (a, b) = (new_secret().unwrap(), new_secret().unwrap());
        assert!(a.len() == 32 && a.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }
}
