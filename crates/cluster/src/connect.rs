//! How etcd is reached: addresses, certificates, a user; and what is said when it is not.

use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// How long connecting to a member may take.
const CONNECT: Duration = Duration::from_secs(3);
/// A member that does not answer a ping for so long is given up, so that requests go to another.
const PING: Duration = Duration::from_secs(3);

/// How etcd is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Its members: all `http://host:port`, or all `https://host:port`.
    pub members: Vec<String>,
    /// Certificates (PEM) of who signs those of the members. `None`: those that this host trusts.
    pub ca: Option<Vec<u8>>,
    /// Certificate and key (PEM) to show.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// User and password.
    pub login: Option<(String, String)>,
}

/// Without secrets.
impl std::fmt::Debug for EtcdSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdSettings").field("members", &self.members).finish_non_exhaustive()
    }
}

/// Why etcd did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("etcd at {members}: {reason}")]
pub struct EtcdError {
    members: String,
    reason: String,
}

impl EtcdSettings {
    /// Makes an error of what went wrong.
    pub fn error(&self, reason: impl Into<String>) -> EtcdError {
        EtcdError { members: self.members.join(", "), reason: reason.into() }
    }

    /// A client. Without a login nothing is sent yet.
    ///
    /// # Errors
    /// When what was set does not do, or etcd does not know the user.
    pub async fn connect(&self) -> Result<Client, EtcdError> {
        let connecting = Client::connect(&self.members, Some(self.options()));
        within(REQUEST, connecting).await.map_err(|reason| self.error(reason))
    }

    fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(REQUEST)
            .with_keep_alive(PING, PING)
            .with_keep_alive_while_idle(true);
        if self.members.iter().any(|member| member.starts_with("https://")) {
            let tls = match &self.ca {
                Some(pem) => TlsOptions::new().ca_certificate(Certificate::from_pem(pem)),
                None => TlsOptions::new().with_native_roots(),
            };
            options = options.with_tls(match &self.identity {
                Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
                None => tls,
            });
        }
        match &self.login {
            Some((user, password)) => {
                options.with_user(user, password).with_auto_token_refresh(true)
            }
            None => options,
        }
    }
}

/// The result of a request within a deadline, or what is to be said of it.
pub(crate) async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result.map_err(|error| explain(&error)),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

/// etcd's own words, with the cause: its outer errors say nothing but that there is one.
fn explain(error: &Error) -> String {
    let mut text = match error {
        Error::GRpcStatus(status) if !status.message().is_empty() => status.message().to_owned(),
        error => error.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
