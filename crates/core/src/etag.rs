//! The store's tag of one version of an object.

use serde::{Deserialize, Serialize};

/// The store's tag of one version of an object: opaque, compared for equality, given back in
/// conditions. Kept as the store sent it, quotes and all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(pub Box<str>);
