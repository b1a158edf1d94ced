//! What etcd says that it has spent.

use std::time::Duration;

use anyhow::Result;
use ultrasimple_testkit::etcd::Etcd;
use ultrasimple_testkit::http;

use crate::machine;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Sums of all members since they started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    processor: f64,
    sent: f64,
    requests: f64,
}

/// What was spent between two looks, and what there is at the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Seconds.
    pub(crate) processor: f64,
    /// Bytes to clients.
    pub(crate) sent: f64,
    /// Calls of clients that were answered.
    pub(crate) requests: f64,
    /// Bytes of memory, of all members.
    pub(crate) resident: u64,
    /// Bytes on disk, of the greatest member.
    pub(crate) stored: f64,
}

impl Spent {
    pub(crate) fn now(etcd: &mut Etcd) -> Result<Self> {
        Ok(look(etcd)?.0)
    }

    pub(crate) fn until_now(self, etcd: &mut Etcd) -> Result<Used> {
        let (now, resident, stored) = look(etcd)?;
        Ok(Used {
            processor: now.processor - self.processor,
            sent: now.sent - self.sent,
            requests: now.requests - self.requests,
            resident,
            stored,
        })
    }
}

fn look(etcd: &mut Etcd) -> Result<(Spent, u64, f64)> {
    let (mut spent, mut resident, mut stored) = (Spent::default(), 0, 0_f64);
    for member in 0..etcd.members() {
        let port = etcd.ports(member)?.client;
        let answer = http::request(port, "GET", "/metrics", "", ANSWER_WITHIN)?;
        let sum = |name: &str| {
            let of_line = |line: &str| {
                let rest = line.strip_prefix(name)?;
                let is_whole = rest.starts_with([' ', '{']);
                is_whole.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
            };
            answer.body.lines().filter_map(of_line).sum::<f64>()
        };
        spent.processor += sum("process_cpu_seconds_total");
        spent.sent += sum("etcd_network_client_grpc_sent_bytes_total");
        spent.requests += sum("grpc_server_handled_total");
        stored = stored.max(sum("etcd_mvcc_db_total_size_in_bytes"));
        let process = etcd.pid(member)?;
        resident += machine::resident(process)?;
    }
    Ok((spent, resident, stored))
}
