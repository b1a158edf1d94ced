//! The testkit's turned clock for a test in its yard.

use std::process::Command;

use crate::yard::Yard;

/// A clock; programs started with it see its time.
#[derive(Debug)]
pub struct TurnedClock(ultrasimple_testkit::turned_clock::TurnedClock);

impl TurnedClock {
    /// Makes one in this yard.
    ///
    /// # Panics
    /// When it cannot be compiled.
    pub fn new(yard: &Yard, time: &str) -> Self {
        let clock = ultrasimple_testkit::turned_clock::TurnedClock::new(&yard.path("")).unwrap();
        clock.set(time).unwrap();
        Self(clock)
    }

    /// Sets it (RFC 3339). It goes on from there.
    pub fn set(&self, time: &str) {
        self.0.set(time).unwrap();
    }

    /// Lets this command see it.
    pub fn command(&self, command: Command) -> Command {
        self.0.command(command)
    }
}
