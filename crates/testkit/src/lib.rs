//! testkit

pub mod bank;
pub mod etcd;
pub mod fault_proxy;
pub mod http;
pub mod process;
pub mod seaweed;
pub mod tree;
