//! What can go wrong with etcd, by what is to be done about it.

use std::error::Error;
use std::time::Duration;

use etcd_client::Error as ClientError;

/// Why etcd could not be asked, or the fleet not be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// The settings cannot be meant.
    #[error("etcd: {0}")]
    Settings(String),
    /// No member answered in time.
    #[error(
        "etcd does not answer: {0}; check that a majority of its members runs, that these addresses are \
         right, and that they can be reached from here"
    )]
    Unreachable(String),
    /// It wants to know who asks, or does not let them.
    #[error(
        "etcd refuses: {0}; check the user and the password, and that the user's role may read and write \
         the keys under {1}"
    )]
    Denied(String, String),
    /// One request failed, or its outcome is unknown.
    #[error("etcd: {0}")]
    Failed(String),
    /// The fleet is not one that this node can be part of.
    #[error("{0}")]
    Refused(String),
}

/// What a request to a member came to.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer in time: another member may do better.
    Late(Duration),
    /// This member cannot serve: another one may.
    Unavailable(String),
    /// The token has expired, or the rights have changed since it was given.
    StaleToken(String),
    /// The user is not known, or may not.
    Denied(String),
    /// There is no such lease.
    NoLease,
    /// What is to be read is compacted.
    Compacted,
    /// Anything else.
    Other(String),
}

/// What an error says, and what its causes say beyond that: of a connection only these are of use.
fn with_causes(text: &str, mut cause: Option<&(dyn Error + 'static)>) -> String {
    let mut all = text.to_owned();
    while let Some(error) = cause {
        let text = error.to_string();
        if !all.contains(&text) {
            all = format!("{all}: {text}");
        }
        cause = error.source();
    }
    all
}

impl Failure {
    pub(super) fn of(error: &ClientError) -> Self {
        let text = match error {
            ClientError::GRpcStatus(status) => with_causes(status.message(), status.source()),
            ClientError::TransportError(error) => with_causes(&error.to_string(), error.source()),
            other => other.to_string(),
        };
        let has = |part: &str| text.contains(part);
        if has("invalid auth token") || has("revision of auth store is old") {
            return Self::StaleToken(text);
        }
        if has("lease not found") {
            return Self::NoLease;
        }
        if has("required revision has been compacted") {
            return Self::Compacted;
        }
        let denied = ["permission denied", "authentication failed", "user name is empty"];
        if denied.iter().any(|part| has(part)) {
            return Self::Denied(text);
        }
        // Members without a leader, members that are ending, connections that break: the wording differs, and for
        // all of them another member may do better. What etcd says of a request itself begins with its name.
        let is_of_the_member = !has("etcdserver: ")
            || ["no leader", "timed out", "server stopped", "not capable", "leader changed"]
                .iter()
                .any(|part| has(part));
        if is_of_the_member { Self::Unavailable(text) } else { Self::Other(text) }
    }

    /// Another member may do better.
    pub(super) fn is_of_the_member(&self) -> bool {
        matches!(self, Self::Late(_) | Self::Unavailable(_))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "no answer within {limit:?}"),
            Self::NoLease => f.write_str("there is no such lease"),
            Self::Compacted => f.write_str("what is to be read is compacted"),
            Self::Unavailable(text)
            | Self::StaleToken(text)
            | Self::Denied(text)
            | Self::Other(text) => f.write_str(text),
        }
    }
}
