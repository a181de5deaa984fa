//! The control plane's way to SQL: one text for both engines.
//!
//! Texts use `?1 ?2 …` (rewritten to `$1 $2 …` for PostgreSQL), BIGINT epoch milliseconds, SMALLINT 0/1, TEXT JSON.
//! They stand in `sql/*.sql`; a test prepares every one on both engines.

use crate::{Pending, StoreError};
use std::sync::{Arc, Mutex};

/// A value that goes in or comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// BIGINT, SMALLINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// BYTEA, BLOB.
    Bytes(Vec<u8>),
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// Integer of column `i`.
    ///
    /// # Errors
    /// [`StoreError::Data`] when it is something else.
    pub fn int(&self, i: usize) -> Result<i64, StoreError> {
        match self.0.get(i) {
            Some(Value::Int(n)) => Ok(*n),
            other => Err(StoreError::Data(format!("column {i}: expected a number, found {other:?}"))),
        }
    }
    /// Text of column `i`.
    ///
    /// # Errors
    /// [`StoreError::Data`] when it is something else.
    pub fn text(&self, i: usize) -> Result<&str, StoreError> {
        match self.0.get(i) {
            Some(Value::Text(t)) => Ok(t),
            other => Err(StoreError::Data(format!("column {i}: expected text, found {other:?}"))),
        }
    }
    /// Bytes of column `i`.
    ///
    /// # Errors
    /// [`StoreError::Data`] when it is something else.
    pub fn bytes(&self, i: usize) -> Result<&[u8], StoreError> {
        match self.0.get(i) {
            Some(Value::Bytes(b)) => Ok(b),
            other => Err(StoreError::Data(format!("column {i}: expected bytes, found {other:?}"))),
        }
    }
    /// Integer, or `None` for NULL.
    #[must_use]
    pub fn int_opt(&self, i: usize) -> Option<i64> {
        if let Some(Value::Int(n)) = self.0.get(i) { Some(*n) } else { None }
    }
    /// Text, or `None` for NULL.
    #[must_use]
    pub fn text_opt(&self, i: usize) -> Option<&str> {
        if let Some(Value::Text(t)) = self.0.get(i) { Some(t) } else { None }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}
impl From<&str> for Value {
    fn from(t: &str) -> Self {
        Self::Text(t.to_owned())
    }
}
impl From<String> for Value {
    fn from(t: String) -> Self {
        Self::Text(t)
    }
}
impl From<Vec<u8>> for Value {
    fn from(b: Vec<u8>) -> Self {
        Self::Bytes(b)
    }
}
impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Self::Null, Into::into)
    }
}

/// A transaction of the control plane. Blocking: jobs run on the engine's own threads.
pub trait Tx {
    /// Runs a statement; how many rows it touched.
    ///
    /// # Errors
    /// Of the engine; a violated unique key is [`StoreError::Engine`] with `unique` in it.
    fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError>;
    /// Runs a query.
    ///
    /// # Errors
    /// Of the engine.
    fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError>;
}

/// A job with its types taken away, so that it passes through `dyn MailStore`. Err rolls back.
pub type Job = Box<dyn FnOnce(&mut dyn Tx) -> Result<(), StoreError> + Send>;

/// Carries a typed job through the untyped door.
pub(crate) async fn run<'s, T, E>(
    job: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    door: impl FnOnce(Job) -> Pending<'s, ()>,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let slot: Arc<Mutex<Option<Result<T, E>>>> = Arc::new(Mutex::new(None));
    let inner = Arc::clone(&slot);
    let outcome = door(Box::new(move |tx| {
        let result = job(tx);
        let undo = result.is_err();
        *inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
        if undo {
            Err(StoreError::Engine("rolled back".into()))
        } else {
            Ok(())
        }
    }))
    .await;
    let result = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match (outcome, result) {
        (Ok(()), Some(result)) | (Err(_), Some(result @ Err(_))) => result,
        (Err(e), _) => Err(E::from(e)),
        (Ok(()), None) => Err(E::from(StoreError::Engine("job did not run".into()))),
    }
}
