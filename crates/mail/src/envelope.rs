//! The envelope: return address, recipients and their parameters, apart from content.

use crate::{Address, ReversePath};
use serde::{Deserialize, Serialize};

/// BODY= of RFC 6152. BINARYMIME is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyType {
    /// `7BIT`, also when the client said nothing.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// RET= of RFC 3461 §4.3: what a failure DSN brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ret {
    /// The whole message.
    Full,
    /// The header section.
    Headers,
}

/// NOTIFY= of RFC 3461 §4.1. Absent: failures and, as we choose, delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notify {
    /// Not given by the client.
    Default,
    /// `NEVER`.
    Never,
    /// One or more of SUCCESS, FAILURE, DELAY.
    When {
        /// Tell delivery or relaying.
        success: bool,
        /// Tell failure.
        failure: bool,
        /// Tell delay.
        delay: bool,
    },
}

impl Notify {
    /// Whether the sender wants to hear of a failure.
    #[must_use]
    pub fn on_failure(self) -> bool {
        matches!(self, Self::Default | Self::When { failure: true, .. })
    }
    /// Whether the sender wants to hear of a delay.
    #[must_use]
    pub fn on_delay(self) -> bool {
        matches!(self, Self::Default | Self::When { delay: true, .. })
    }
    /// Whether the sender asked to hear of success.
    #[must_use]
    pub fn on_success(self) -> bool {
        matches!(self, Self::When { success: true, .. })
    }
}

/// Parameters of MAIL FROM.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MailParams {
    /// SIZE= of RFC 1870, octets.
    pub size: Option<u64>,
    /// BODY=.
    pub body: BodyType,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET=.
    pub ret: Option<Ret>,
    /// ENVID=, decoded from xtext (RFC 3461 §4.4), at most 100 characters.
    pub envid: Option<String>,
}

/// One RCPT TO, accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub address: Address,
    /// NOTIFY=.
    pub notify: Notify,
    /// ORCPT= as `type;address`, decoded (RFC 3461 §4.2).
    pub orcpt: Option<String>,
}

/// All that was said before DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// Its parameters.
    pub params: MailParams,
    /// RCPT TO, each accepted.
    pub recipients: Vec<Recipient>,
}
