#![expect(clippy::unchecked_time_subtraction, reason = "of times that a test knows")]

mod claims;
mod fences;
mod leases;
mod moves;
mod random;
mod watching;
mod world;
