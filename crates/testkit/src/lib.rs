//! testkit

pub mod bank;
pub mod fault_proxy;
pub mod process;
pub mod seaweed;
pub mod tree;
