//! Connections to the members of etcd, one client for each, and requests with a deadline.
//!
//! A client that balances over all members sends each of them its share, the one that hangs included, and waits.
//! Here all goes to one member as long as that one answers, and to the next when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, Error as ClientError, Identity, TlsOptions,
};
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::error::{EtcdError, Failure};
use super::keys::Keys;
use super::settings::EtcdSettings;

/// A connection that says nothing for so long is asked whether it is alive. etcd allows for one ping in 5 s.
const PING_AFTER: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(5);

/// Lists of many claims are larger than gRPC's 4 MiB.
pub(super) const MOST_BYTES: usize = 64 * 1_024 * 1_024;

/// The connections to etcd's members. Clones share them.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    members: Vec<Member>,
    /// The member that is asked.
    current: AtomicUsize,
    keys: Keys,
    request_timeout: Duration,
}

struct Member {
    url: String,
    options: ConnectOptions,
    client: Mutex<Option<Client>>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<_> = self.inner.members.iter().map(|member| &member.url).collect();
        f.debug_struct("Etcd").field("members", &urls).finish_non_exhaustive()
    }
}

impl Member {
    /// Its client. With authentication, the first call asks it for a token.
    async fn client(&self) -> Result<Client, ClientError> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = Client::connect([&self.url], Some(self.options.clone())).await?;
        Ok(client.insert(made).clone())
    }
}

impl Etcd {
    /// Connects, and waits until a member has answered.
    ///
    /// # Errors
    /// When the settings cannot be meant, none has answered by the deadline, or all refuse.
    pub async fn connect(settings: &EtcdSettings, deadline: Duration) -> Result<Self, EtcdError> {
        if let Some(problem) = settings.problem() {
            return Err(EtcdError::Settings(problem));
        }
        let options = connect_options(settings);
        let member = |url: &String| Member {
            url: url.clone(),
            options: options.clone(),
            client: Mutex::default(),
        };
        let inner = Inner {
            members: settings.endpoints.iter().map(member).collect(),
            current: AtomicUsize::new(0),
            keys: Keys::new(&settings.cluster),
            request_timeout: settings.request_timeout,
        };
        let etcd = Self { inner: Arc::new(inner) };
        etcd.wait_for_an_answer(deadline).await?;
        Ok(etcd)
    }

    async fn wait_for_an_answer(&self, deadline: Duration) -> Result<(), EtcdError> {
        let end = Instant::now() + deadline;
        let mut said = vec![String::new(); self.inner.members.len()];
        loop {
            let at = self.inner.current.load(Ordering::Relaxed);
            let left = end.saturating_duration_since(Instant::now());
            let limit = self.inner.request_timeout.min(left).max(Duration::from_millis(1));
            let key = self.keys().name();
            match self.ask(limit, move |mut client| get_one(&mut client, key.clone())).await {
                Ok(_) => return Ok(()),
                Err(failure @ (Failure::Denied(_) | Failure::StaleToken(_))) => {
                    return Err(self.error(&failure));
                }
                Err(failure) => {
                    if let (Some(said), Some(member)) =
                        (said.get_mut(at), self.inner.members.get(at))
                        // A reason says more than that time was short at the end.
                        && (said.is_empty() || !matches!(failure, Failure::Late(_)))
                    {
                        *said = format!("{}: {failure}", member.url);
                    }
                    self.turn_from(at);
                }
            }
            if Instant::now() >= end {
                said.retain(|said| !said.is_empty());
                return Err(EtcdError::Unreachable(said.join("; ")));
            }
            // Refused connections fail at once: not as fast as the processor allows.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// How long one request may take.
    pub(super) fn request_timeout(&self) -> Duration {
        self.inner.request_timeout
    }

    pub(super) fn error(&self, failure: &Failure) -> EtcdError {
        match failure {
            Failure::Denied(text) | Failure::StaleToken(text) => {
                EtcdError::Denied(text.clone(), self.keys().prefix().to_owned())
            }
            other => EtcdError::Failed(other.to_string()),
        }
    }

    fn turn_from(&self, at: usize) {
        let next = (at + 1) % self.inner.members.len().max(1);
        // Of several requests that fail together, one turns.
        let _ = self.inner.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Stops asking the member that is asked now.
    pub(super) fn turn(&self) {
        self.turn_from(self.inner.current.load(Ordering::Relaxed));
    }

    /// One request to the member that is asked now; where the token has expired, with a new one. The next request
    /// goes to another member when this one does not answer.
    pub(super) async fn ask<T, F>(&self, limit: Duration, request: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> BoxFuture<'static, Result<T, ClientError>>,
    {
        let at = self.inner.current.load(Ordering::Relaxed);
        let Some(member) = self.inner.members.get(at) else {
            return Err(Failure::Unavailable("no endpoint".to_owned()));
        };
        let attempt = async {
            let client = member.client().await?;
            match request(client.clone()).await {
                Err(error) if matches!(Failure::of(&error), Failure::StaleToken(_)) => {
                    client.refresh_token().await?;
                    request(client).await
                }
                result => result,
            }
        };
        let result = match timeout(limit, attempt).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::Late(limit),
        };
        if result.is_of_the_member() {
            tracing::debug!(member = member.url, "etcd: {result}");
            self.turn_from(at);
        }
        Err(result)
    }

    /// A request that may be made twice without harm: to each member in turn, until one answers.
    pub(super) async fn ask_all<T, F>(&self, limit: Duration, request: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> BoxFuture<'static, Result<T, ClientError>>,
    {
        let mut result = self.ask(limit, &request).await;
        for _ in 1..self.inner.members.len() {
            match &result {
                Err(failure) if failure.is_of_the_member() => {
                    result = self.ask(limit, &request).await;
                }
                _ => break,
            }
        }
        result
    }
}

/// A linearizable read of one key.
pub(super) fn get_one(
    client: &mut Client,
    key: String,
) -> BoxFuture<'static, Result<Option<etcd_client::KeyValue>, ClientError>> {
    let mut client = client.clone();
    Box::pin(async move { Ok(client.get(key, None).await?.take_kvs().pop()) })
}

fn connect_options(settings: &EtcdSettings) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(settings.request_timeout)
        .with_keep_alive(PING_AFTER, PONG_WITHIN)
        .with_keep_alive_while_idle(true)
        // A member that is cut off from the others says so, and ends watches.
        .with_require_leader(true);
    if let (Some(user), Some(password)) = (&settings.user, &settings.password) {
        options = options.with_user(user.clone(), password.clone());
    }
    if settings.endpoints.iter().any(|url| url.starts_with("https://")) {
        let mut tls = TlsOptions::new();
        tls = match &settings.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
            None => tls.with_native_roots(),
        };
        if let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        options = options.with_tls(tls);
    }
    options
}
