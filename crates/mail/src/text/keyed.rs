//! A text by its key: what is to be said, before it is known in which language.
//!
//! In: a key of the catalogue and its values, or words that another program said. Out: the text in a language, when somebody reads it.
//! Invariants: what is said about a fault travels as [`Text`] up to its reader; only then it becomes a string.

use super::{Lang, Noun, get};
use crate::address::AddressError;
use crate::domain::DomainError;
use crate::id::IdError;
use crate::reason::{Reason, UnknownReason};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A text that waits for its language. `Display` and JSON are English: for logs, and for readers who named no language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Box<Form>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Of the catalogue.
    Keyed {
        key: Cow<'static, str>,
        values: Vec<(&'static str, Value)>,
    },
    /// As it is in every language.
    Verbatim(String),
    /// One after the other.
    List(Vec<Text>),
}

/// What stands in a `{name}` place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The same in every language: a number, a name.
    Plain(String),
    /// A text itself: a noun, the reason behind.
    Text(Text),
}

macro_rules! plain {
    ($($from:ty),+) => { $(impl From<$from> for Value {
        fn from(value: $from) -> Self {
            Self::Plain(value.to_string())
        }
    })+ };
}
plain!(&str, &String, u16, u32, u64, i64, usize);

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Plain(value)
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

macro_rules! text {
    ($($from:ty),+) => { $(impl From<$from> for Value {
        fn from(value: $from) -> Self {
            Self::Text(value.into())
        }
    })+ };
}
text!(Noun, DomainError, AddressError, IdError, UnknownReason);

impl Text {
    /// The text of this key.
    #[must_use]
    pub fn new(key: &'static str) -> Self {
        Self::keyed(Cow::Borrowed(key))
    }

    fn keyed(key: Cow<'static, str>) -> Self {
        Self(Box::new(Form::Keyed { key, values: Vec::new() }))
    }

    /// Why, in the words of the page of refusals.
    #[must_use]
    pub fn why(reason: Reason) -> Self {
        Self::keyed(Cow::Owned(format!("reason.{}.why", reason.as_str().to_ascii_lowercase())))
    }

    /// With `value` in the place `{name}`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        if let Form::Keyed { values, .. } = &mut *self.0 {
            values.push((name, value.into()));
        }
        self
    }

    /// What somebody else said: a library, the system, a file. It is the same in every language.
    #[must_use]
    pub fn verbatim(words: impl Into<String>) -> Self {
        Self(Box::new(Form::Verbatim(words.into())))
    }

    /// Several texts, one after the other.
    #[must_use]
    pub fn list(texts: Vec<Self>) -> Self {
        Self(Box::new(Form::List(texts)))
    }

    /// In this language.
    #[must_use]
    pub fn render(&self, lang: Lang) -> String {
        match &*self.0 {
            Form::Verbatim(words) => words.clone(),
            Form::List(texts) => {
                // Japanese texts are sentences with their full stop, English ones are not.
                let between = match lang {
                    Lang::Ja => " ",
                    Lang::En => "; ",
                };
                texts.iter().map(|t| t.render(lang)).collect::<Vec<_>>().join(between)
            }
            Form::Keyed { key, values } => {
                let said: Vec<(&str, String)> = values
                    .iter()
                    .map(|(name, value)| match value {
                        Value::Plain(words) => (*name, words.clone()),
                        Value::Text(text) => (*name, text.render(lang)),
                    })
                    .collect();
                let said: Vec<(&str, &str)> = said.iter().map(|(name, words)| (*name, words.as_str())).collect();
                get(lang, key, &said)
            }
        }
    }

    /// The same text, fixed in this language.
    #[must_use]
    pub fn fixed(&self, lang: Lang) -> Self {
        Self::verbatim(self.render(lang))
    }

    /// What the system says of a file, a folder or a port.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::NotFound => Self::new("check.io.not-found"),
            ErrorKind::PermissionDenied => Self::new("check.io.permission"),
            ErrorKind::AddrInUse => Self::new("check.io.port-taken"),
            ErrorKind::AddrNotAvailable => Self::new("check.io.no-such-address"),
            ErrorKind::StorageFull => Self::new("check.io.full"),
            ErrorKind::ReadOnlyFilesystem => Self::new("check.io.read-only"),
            ErrorKind::NotADirectory => Self::new("check.io.not-a-folder"),
            ErrorKind::IsADirectory => Self::new("check.io.is-a-folder"),
            _ => Self::verbatim(error.to_string()),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Lang::En))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_waits_for_its_language() {
        let text = Text::new("api.not-found").with("what", Noun::Tenant);
        assert_eq!(text.to_string(), "no such tenant");
        assert_eq!(text.render(Lang::Ja), "テナントが見つかりません。");
        assert_eq!(text.fixed(Lang::Ja).to_string(), "テナントが見つかりません。");
        assert_eq!(serde_json::to_string(&text).unwrap(), "\"no such tenant\"");
        let braces = Text::new("api.not-found").with("what", "{what} {x}");
        assert_eq!(braces.to_string(), "no such {what} {x}", "a value has no places");
        let both = Text::list(vec![text.clone(), Text::verbatim("x")]);
        assert_eq!(both.render(Lang::En), "no such tenant; x");
        assert_eq!(both.render(Lang::Ja), "テナントが見つかりません。 x");
    }

    #[test]
    fn errors_say_the_same_as_their_english_texts() {
        for error in [DomainError::Empty, DomainError::TooLong, DomainError::Character] {
            assert_eq!(Text::from(error).to_string(), error.to_string());
        }
        for error in [
            AddressError::Form,
            AddressError::LocalTooLong,
            AddressError::LocalCharacter,
            AddressError::Literal,
            AddressError::Domain(DomainError::Empty),
        ] {
            assert_eq!(Text::from(error).to_string(), error.to_string());
        }
        let id = "x".parse::<crate::QueueId>().unwrap_err();
        assert_eq!(Text::from(id).to_string(), id.to_string());
        let reason = "x".parse::<crate::Reason>().unwrap_err();
        assert_eq!(Text::from(reason).to_string(), reason.to_string());
    }
}
