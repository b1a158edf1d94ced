//! The parts, in the order in which a cycle needs them.

pub(crate) mod capture;
mod catalog;
mod held;
mod object;
mod placement;
mod scan;

use crate::part::Part;

const fn part(
    name: &'static str,
    title: &'static str,
    (items, item): (u32, &'static str),
    make: fn(&std::path::Path) -> anyhow::Result<Box<dyn crate::part::Workload>>,
) -> Part {
    Part { name, title, items, item, is_counted: true, make }
}

/// One that valgrind cannot run: it reads the clock, and rustix does not find the kernel's own code for that there.
const fn uncounted(part: Part) -> Part {
    Part { is_counted: false, ..part }
}

const TREE: (u32, &str) = (scan::DATABASES, "database");
const HELD: (u32, &str) = (held::DATABASES, "database");
const IMAGE: (u32, &str) = (1, "image");
const FEW: (u32, &str) = (catalog::FEW, "database");
const MANY: (u32, &str) = (catalog::MANY, "database");
const SHARDS: (u32, &str) = (placement::SHARDS, "shard");

pub(crate) const PARTS: &[Part] = &[
    part("scan-rest", "scan of 10000 databases: none changed", TREE, scan::rest),
    part("scan-first", "scan of 10000 databases: all new", TREE, scan::first),
    part("table-new", "table: 10000 new databases taken in", TREE, scan::take_new),
    part("table-again", "table: 10000 known databases listed again", TREE, scan::take_again),
    part("table-path", "table: the path looked up", TREE, scan::look_up),
    part("held-insert", "held: 10000 backups learned", HELD, held::insert),
    part("held-get", "held: a backup looked up", HELD, held::get),
    part("held-merge", "held: 1000 new backups put in order with 10000", HELD, held::merge),
    uncounted(part("capture-closed", "capture of 16 KiB, closed", IMAGE, capture::closed)),
    uncounted(part("capture-live", "capture of 16 KiB, open, with a WAL", IMAGE, capture::live)),
    uncounted(part("capture-large", "capture of 4 MiB, closed", IMAGE, capture::large)),
    part("hash-small", "BLAKE3 of 16 KiB", IMAGE, object::hash_small),
    part("hash-large", "BLAKE3 of 4 MiB", IMAGE, object::hash_large),
    part("compress-small", "object made of 16 KiB", IMAGE, object::compress_small),
    part("compress-large", "object made of 4 MiB", IMAGE, object::compress_large),
    part("catalog-write-400", "catalog of 400 written", FEW, catalog::write_few),
    part("catalog-write-4000", "catalog of 4000 written", MANY, catalog::write_many),
    part("catalog-read-400", "catalog of 400 read", FEW, catalog::read_few),
    part("catalog-read-4000", "catalog of 4000 read", MANY, catalog::read_many),
    part("catalog-edit", "catalog of 4000: each changed", MANY, catalog::edit),
    part("placement-equal", "placement among 20 equal nodes", SHARDS, placement::equal),
    part("placement-unequal", "placement among 20 unequal nodes", SHARDS, placement::unequal),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_part_has_a_name_and_a_title_of_its_own() {
        let names: BTreeSet<_> = PARTS.iter().map(|part| part.name).collect();
        let titles: BTreeSet<_> = PARTS.iter().map(|part| part.title).collect();
        assert_eq!((names.len(), titles.len()), (PARTS.len(), PARTS.len()));
    }
}
