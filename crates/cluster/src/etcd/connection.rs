//! Connections to the members of etcd, one client for each, and requests with a deadline.
//!
//! A client that balances over all members sends each of them its share, the one that hangs included, and waits.
//! Here all goes to one member as long as that one answers, and to the next when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

/// Refused connections fail at once; they are not tried again as fast as the processor allows.
const PAUSE: Duration = Duration::from_millis(100);

/// Lists of many claims are larger than gRPC's 4 MiB.
pub(super) const MOST_BYTES: usize = 64 * 1_024 * 1_024;

/// The connections to etcd's members. Clones share them.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    members: Vec<Arc<Member>>,
    /// The member that is asked.
    current: AtomicUsize,
    /// So that an outage is told once, and its end.
    is_failing: AtomicBool,
    keys: Keys,
    request_timeout: Duration,
}

struct Member {
    url: String,
    options: ConnectOptions,
    within: Duration,
    client: Mutex<Option<Client>>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<_> = self.inner.members.iter().map(|member| &member.url).collect();
        f.debug_struct("Etcd").field("members", &urls).finish_non_exhaustive()
    }
}

impl Member {
    /// Its client. With authentication, the first call asks it for a token: that may take longer than a caller
    /// has time, and goes on without one.
    async fn client(self: &Arc<Self>) -> Result<Client, Failure> {
        if let Ok(client) = self.client.try_lock()
            && let Some(client) = &*client
        {
            return Ok(client.clone());
        }
        let member = Arc::clone(self);
        let made = tokio::spawn(async move {
            let mut client = member.client.lock().await;
            if let Some(client) = &*client {
                return Ok(client.clone());
            }
            let made = Client::connect([&member.url], Some(member.options.clone()));
            match timeout(member.within, made).await {
                Ok(Ok(made)) => Ok(client.insert(made).clone()),
                Ok(Err(error)) => Err(Failure::of(&error)),
                Err(_) => Err(Failure::Late(member.within)),
            }
        });
        made.await.unwrap_or_else(|error| Err(Failure::Other(error.to_string())))
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
        let member = |url: &String| {
            Arc::new(Member {
                url: url.clone(),
                options: options.clone(),
                within: settings.request_timeout,
                client: Mutex::default(),
            })
        };
        let inner = Inner {
            members: settings.endpoints.iter().map(member).collect(),
            current: AtomicUsize::new(0),
            is_failing: AtomicBool::new(false),
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
            tokio::time::sleep(PAUSE).await;
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
        self.ask_member(self.inner.current.load(Ordering::Relaxed), limit, &request).await
    }

    async fn ask_member<T, F>(&self, at: usize, limit: Duration, request: &F) -> Result<T, Failure>
    where
        F: Fn(Client) -> BoxFuture<'static, Result<T, ClientError>>,
    {
        let Some(member) = self.inner.members.get(at) else {
            return Err(Failure::Unavailable("no endpoint".to_owned()));
        };
        let attempt = async {
            let client = member.client().await?;
            let mut result = request(client.clone()).await.map_err(|error| Failure::of(&error));
            if matches!(result, Err(Failure::StaleToken(_))) {
                client.refresh_token().await.map_err(|error| Failure::of(&error))?;
                result = request(client).await.map_err(|error| Failure::of(&error));
            }
            result
        };
        let result = timeout(limit, attempt).await.unwrap_or(Err(Failure::Late(limit)));
        match &result {
            Err(failure) if failure.is_of_the_member() => {
                if self.inner.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::debug!(member = member.url, "etcd: {failure}");
                } else {
                    tracing::warn!(member = member.url, "etcd does not answer: {failure}");
                }
                self.turn_from(at);
            }
            _ => {
                if self.inner.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(member = member.url, "etcd answers");
                }
            }
        }
        result
    }

    /// A request that may be made twice without harm: to each member in turn, until one answers, for as long as each
    /// of them may take. Members that refuse at once, as while they choose a leader, are asked again.
    pub(super) async fn ask_all<T, F>(&self, limit: Duration, request: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> BoxFuture<'static, Result<T, ClientError>>,
    {
        // In turn, whichever is asked by others meanwhile.
        let first = self.inner.current.load(Ordering::Relaxed);
        let members = self.inner.members.len().max(1);
        let end = Instant::now() + limit * u32::try_from(members).unwrap_or(u32::MAX);
        let mut tries = 0;
        loop {
            let result = self.ask_member((first + tries) % members, limit, &request).await;
            tries += 1;
            let is_over = tries >= members && Instant::now() + PAUSE >= end;
            match &result {
                Err(failure) if failure.is_of_the_member() && !is_over => {}
                _ => return result,
            }
            if tries % members == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
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
