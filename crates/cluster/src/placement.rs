//! Which node should own a shard: weighted rendezvous hashing.
//!
//! Each node of each build must come to the same answer, so everything here is exact: XXH3, whose output is fixed
//! by its specification, and a logarithm in software (the C library's differ in the last bit).
