//! What a small PUT costs this process: 2,000 objects of 8 KiB, 100 in flight, to a SeaweedFS here.
//!
//! ```text
//! cargo run --release -p ultrasimple-store --example put_cost
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use ultrasimple_core::{Clock, ObjectKey, SystemClock};
use ultrasimple_store::{Body, Condition, S3Options, S3Store, Store};
use ultrasimple_testkit::seaweed::{ADMIN, SeaweedFs};

const OBJECTS: usize = 2_000;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let server = SeaweedFs::start().unwrap();
    for size in [8 * 1024, 64 * 1024] {
        for round in 0..ROUNDS {
            let store = S3Store::connect(S3Options {
                bucket: server.create_bucket(),
                endpoint_url: Some(server.endpoint()),
                access_key: Some(ADMIN.access_key.to_owned()),
                secret_key: Some(ADMIN.secret_key.to_owned()),
                ..S3Options::default()
            });
            let store = store.await.unwrap();
            let body = Bytes::from(vec![b'x'; size]);
            let (cpu, start) = (cpu_time(), SystemClock.monotonic());
            stream::iter(0..OBJECTS)
                .for_each_concurrent(100, |number| {
                    let (store, body) = (store.clone(), body.clone());
                    async move {
                        let key = ObjectKey::new(format!("tenants/t{number}/t{number}.db.lz4"));
                        let body = Body::Bytes(body);
                        let put =
                            async move { store.put(&key.unwrap(), body, Condition::Absent).await };
                        tokio::spawn(put).await.unwrap().unwrap();
                    }
                })
                .await;
            let took = SystemClock.monotonic().saturating_sub(start);
            let cpu = cpu_time().saturating_sub(cpu);
            let each = cpu / u32::try_from(OBJECTS).unwrap();
            println!("{size} bytes, round {round}: {each:?} of CPU per PUT, {took:?} in all");
        }
    }
}

/// User and system time of this process, to the tick (10 ms).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 =
        fields.iter().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
