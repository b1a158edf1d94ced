//! testkit

pub mod bank;
mod base64;
pub mod browser;
pub mod collector;
pub mod etcd;
pub mod fault_proxy;
pub mod http;
pub mod link;
pub mod mount;
pub mod process;
pub mod recorder;
pub mod seaweed;
pub mod tree;
pub mod turned_clock;
mod wire;
