//! What every store promises, checked against each of them: one suite, so that they stay alike.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod checks;
mod support;

use std::sync::Arc;

use ultrasimple_store::{DirectoryStore, Store};

/// Every check, as a test of its own, against the stores that `$open` makes.
macro_rules! conformance {
    ($name:ident, $open:expr) => {
        mod $name {
            use super::*;
            conformance!(@tests $open;
                what_is_put_is_got,
                what_is_not_there,
                odd_keys,
                long_keys,
                ends_of_objects,
                a_write_if_absent,
                a_write_if_matching,
                one_of_many_writers_wins_an_absent_key,
                one_of_many_writers_wins_a_known_object,
                each_version_has_its_tag,
                a_tag_is_the_same_wherever_it_is_told,
                the_time_is_told,
                many_folders_are_listed,
                a_listing_goes_on_behind_a_key,
                long_listings,
                many_are_deleted,
                streamed_bodies_of_any_size,
                conditions_hold_for_streamed_bodies,
                a_producer_that_fails_stores_nothing,
                a_write_that_is_not_waited_for,
                slow_producers_do_not_disturb_others,
                probing
            );
        }
    };
    (@tests $open:expr; $($check:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                // A directory that lives as long as the test, where one is needed.
                let (store, _folder): (Arc<dyn Store>, _) = $open.await;
                checks::$check(store).await;
            }
        )*
    };
}

async fn directory() -> (Arc<dyn Store>, Option<tempfile::TempDir>) {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path().join("backups"), true).await.unwrap();
    (Arc::new(store), Some(folder))
}

async fn seaweed(prefix: &str) -> (Arc<dyn Store>, Option<tempfile::TempDir>) {
    (support::seaweed(prefix).await, None)
}

conformance!(in_a_directory, directory());
conformance!(in_seaweedfs, seaweed(""));
conformance!(in_seaweedfs_under_a_prefix, seaweed("team/back ups"));
