//! The testkit's fault proxy for tests that are not async.

use tokio::runtime::Runtime;
use ultrasimple_testkit::fault_proxy::{Fault, FaultProxy, Rule};

/// A proxy in front of a server, with threads of its own.
#[derive(Debug)]
pub struct Proxy {
    // Dropped in this order.
    proxy: FaultProxy,
    runtime: Runtime,
}

impl Proxy {
    /// Starts one in front of this port on loopback, without a fault.
    pub fn start(upstream: u16) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let proxy = runtime.block_on(FaultProxy::start(upstream)).unwrap();
        Self { proxy, runtime }
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        self.proxy.endpoint()
    }

    /// From now on this befalls the requests that it fits.
    pub fn set(&mut self, rule: Rule) {
        self.runtime.block_on(self.proxy.set_rule(rule)).unwrap();
    }

    /// No fault from now on.
    pub fn heal(&mut self) {
        self.set(Rule::new(Fault::None));
    }

    /// The requests that it holds now, as `METHOD target`.
    pub fn held(&self) -> Vec<String> {
        self.proxy.held()
    }

    /// Lets all requests go on that it holds now.
    pub fn release(&self) {
        self.proxy.release();
    }

    /// How many requests have come, of all methods.
    pub fn requests(&self) -> u64 {
        ["PUT", "GET", "HEAD", "POST", "DELETE"].map(|m| self.proxy.requests(m)).iter().sum()
    }

    /// How many requests of this method have come.
    pub fn requests_of(&self, method: &str) -> u64 {
        self.proxy.requests(method)
    }
}
