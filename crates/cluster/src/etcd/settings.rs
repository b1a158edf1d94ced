//! How etcd is reached.

use std::fmt;
use std::time::Duration;

/// How etcd is reached, and where in it the fleet is.
#[derive(Clone)]
pub struct EtcdSettings {
    /// `http://host:2379` or `https://…`: one for each member, so that any of them may be down.
    pub endpoints: Vec<String>,
    /// The name of the fleet: what `/ultrasimple/<cluster>/` has.
    pub cluster: String,
    /// The certificates that etcd's are signed by (PEM). Without it, those that the system trusts.
    pub ca: Option<Vec<u8>>,
    /// This client's certificate (PEM), where etcd asks for one. With [`Self::key`].
    pub certificate: Option<Vec<u8>>,
    /// Its key (PEM).
    pub key: Option<Vec<u8>>,
    /// The user, where etcd has authentication enabled. With [`Self::password`].
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

impl EtcdSettings {
    /// Without TLS and authentication.
    pub fn new(endpoints: Vec<String>, cluster: impl Into<String>) -> Self {
        Self {
            endpoints,
            cluster: cluster.into(),
            ca: None,
            certificate: None,
            key: None,
            user: None,
            password: None,
            request_timeout: Duration::from_secs(5),
        }
    }

    /// What is wrong with them, if anything is: for people.
    pub(super) fn problem(&self) -> Option<String> {
        let is_tls = |url: &String| url.starts_with("https://");
        let has_tls = self.ca.is_some() || self.certificate.is_some() || self.key.is_some();
        if self.endpoints.is_empty() {
            return Some("no endpoint is given".to_owned());
        }
        for url in &self.endpoints {
            if !is_tls(url) && !url.starts_with("http://") {
                return Some(format!("{url:?} begins neither with http:// nor with https://"));
            }
            if has_tls && !is_tls(url) {
                return Some(format!("certificates are given, but {url} is not https://"));
            }
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Some("a client's certificate and its key are given together".to_owned());
        }
        if self.user.is_some() != self.password.is_some() {
            return Some("a user and a password are given together".to_owned());
        }
        None
    }
}

/// Without the secrets.
impl fmt::Debug for EtcdSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSettings")
            .field("endpoints", &self.endpoints)
            .field("cluster", &self.cluster)
            .field("user", &self.user)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}
