//! testkit

pub mod bank;
pub mod etcd;
pub mod fault_proxy;
pub mod http;
pub mod link;
pub mod process;
pub mod recorder;
pub mod seaweed;
pub mod tree;
mod wire;
