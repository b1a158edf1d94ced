//! Lists all there is, and then tells what changes, until it cannot be sure of that any more.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use ultrasimple_core::Clock;

use super::connection::{Etcd, MOST_BYTES};
use super::driver::Told;
use super::error::Failure;
use super::keys::Key;
use crate::ownership::{Change, Event, Request, Revision};

/// Ends when the watch does, having said so; or when nobody listens any more.
pub(super) async fn watch(
    etcd: Etcd,
    clock: Arc<dyn Clock>,
    quiet: Duration,
    events: mpsc::Sender<Told>,
) {
    let sent_at = clock.monotonic();
    let (revision, view) = match etcd.list().await {
        Ok(listed) => listed,
        Err(failure) => {
            tracing::warn!("etcd cannot be listed, and will be asked again: {failure}");
            let _ = events.send(Told::Event(Event::Failed(Request::List))).await;
            return;
        }
    };
    if events.send(Told::Event(Event::Listed { sent_at, revision, view })).await.is_err() {
        return;
    }
    let why = match follow(&etcd, revision, quiet, &events).await {
        // Nobody listens any more.
        Ok(()) => return,
        Err(why) => why,
    };
    tracing::info!("the watch on etcd has ended, all is listed again: {why}");
    let _ = events.send(Told::Event(Event::WatchLost)).await;
}

async fn follow(
    etcd: &Etcd,
    mut known: Revision,
    quiet: Duration,
    events: &mpsc::Sender<Told>,
) -> Result<(), Failure> {
    let mut stream = open(etcd, known).await?;
    let mut is_asked = false;
    loop {
        let response = match timeout(quiet, stream.message()).await {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => return Err(Failure::Unavailable("it was closed".to_owned())),
            Ok(Err(error)) => {
                let failure = Failure::of(&error);
                if failure.is_of_the_member() {
                    etcd.turn();
                }
                return Err(failure);
            }
            Err(_) if is_asked => {
                etcd.turn();
                return Err(Failure::Late(quiet));
            }
            Err(_) => {
                // Whether it is alive, where nothing changes.
                is_asked = true;
                let asked = timeout(quiet, stream.request_progress()).await;
                match asked {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => return Err(Failure::of(&error)),
                    Err(_) => return Err(Failure::Late(quiet)),
                }
            }
        };
        is_asked = false;
        if response.compact_revision() > 0 {
            return Err(Failure::Compacted);
        }
        if response.canceled() {
            return Err(Failure::Unavailable(response.cancel_reason().to_owned()));
        }
        for told in changed(etcd, &mut known, &response) {
            if events.send(told).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn open(etcd: &Etcd, known: Revision) -> Result<WatchStream, Failure> {
    let from = i64::try_from(known.0 + 1).unwrap_or(i64::MAX);
    let prefix = etcd.keys().prefix().to_owned();
    etcd.ask(etcd.request_timeout(), move |client: Client| {
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let prefix = prefix.clone();
        Box::pin(async move {
            let mut client = client.watch_client().max_decoding_message_size(MOST_BYTES);
            client.watch(prefix, Some(options)).await
        })
    })
    .await
}

/// What a response tells. One without events says nothing of what changed before: members of etcd up to 3.4.24 and
/// 3.5.7 may report progress to a revision ahead of changes that belong to it.
fn changed(etcd: &Etcd, known: &mut Revision, response: &WatchResponse) -> Vec<Told> {
    let mut told = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    let mut last = 0;
    for event in response.events() {
        let Some(kv) = event.kv() else { continue };
        last = last.max(kv.mod_revision());
        let is_put = event.event_type() == EventType::Put;
        if etcd.keys().parse(kv.key()) == Key::Fleet {
            told.push(Told::Fleet(is_put.then(|| kv.value().to_vec())));
        }
        changes.extend(if is_put { etcd.keys().put(kv) } else { etcd.keys().deleted(kv.key()) });
    }
    let revision = Revision(u64::try_from(last).unwrap_or(0));
    if revision <= *known {
        return told;
    }
    let after = std::mem::replace(known, revision);
    told.push(Told::Event(Event::Changed { after, revision, changes }));
    told
}
