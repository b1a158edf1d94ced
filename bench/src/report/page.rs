//! The page as text.

use std::fmt::Write;

use serde_json::Value;

use super::Record;
use crate::figures::{Figure, Goal, short};

/// What a bench is about.
#[derive(Debug)]
pub(super) struct About {
    pub(super) bench: &'static str,
    title: &'static str,
    /// What is measured, and how.
    how: &'static str,
}

/// In the order of the page.
pub(super) const BENCHES: &[About] = &[
    About {
        bench: "first",
        title: "First backup",
        how: "Closed databases of 16 KiB, none of which has a backup, into an empty bucket of one S3 server on the same \
              machine, for which the server has its storage file (it makes one at the first object, which takes 0.2 s). \
              They hold the same words again and again, so compressed they are small; on loopback that hardly \
              matters. *ultrasimple* is `ultrasimple -once` with its defaults, from its start to its end; it captures, \
              checks and compresses. `rclone copy` and `s5cmd cp` copy the files as they are, which is a backup only \
              where nobody writes; these programs take turns, medians. *Litestream* and *walrust* replicate from then \
              on; their time is from their start until the last database has its first object, once, each on databases \
              of its own. Both keep several files of each database open, and walrust takes its databases one after the \
              other: so several processes share them (`--processes`; Litestream by folders of a thousand). \
              All databases are looked for in the bucket afterwards. What is *stopped* took longer than it says.",
    },
    About {
        bench: "steady",
        title: "Changes",
        how: "A row is added to each of some closed databases of 16 KiB between two scans, others each time. The \
              processor's time is all that the daemon uses from one cycle's end to another's: scan, captures, checks, \
              compression, requests, and the catalogs that it writes. A cycle is from the beginning of its scan until \
              all that it found is stored; until the scan, a change waits for up to the interval.",
    },
    About {
        bench: "large",
        title: "A large database",
        how: "One database in WAL mode, rows of 1 KiB of which one half is random and the other one repeats itself, and a \
              writer that commits a row at a steady pace with `synchronous = normal`. `ultrasimple -once` with its \
              defaults, `rclone copy` of the file with parts of the same size, once with as many parts at once and once \
              with its default, and the writer alone take turns; medians. rclone is told not to mind the writes: what it \
              copies is no state of the database, and without the WAL. The time of a commit counts from when it was due, \
              or from its thread's waking where it slept until then. Memory is the most that was resident.",
    },
    About {
        bench: "restore",
        title: "Restore",
        how: "Databases of 16 KiB from a bucket to an empty folder on the disk that they came from. *ultrasimple-ctl* is \
              `restore --all`, which checks each database with SQLite and flushes it to the disk; *no check* is the same \
              with `--no-check`. What they restored is compared with the databases afterwards. *rclone copy, lz4* copies \
              the same objects and then decompresses them, with one `lz4` for each core and 200 files each; it neither \
              checks nor flushes, and leaves names with the hour in them. These take turns, medians. *Litestream* needs \
              one `litestream restore` for each database, as many at once as there are cores; it restores some, and the \
              time of all is reckoned from theirs in proportion.",
    },
    About {
        bench: "writers",
        title: "Writers",
        how: "Databases in WAL mode, written to at a steady pace with `synchronous = normal`, one row a commit, each watched \
              for the same time after all of them have been stored once. No backup, the daemon with its defaults and \
              Litestream with its defaults take turns, forth and back, each with new databases and an empty bucket; \
              medians of the turns. The time of a commit counts from when it was due, or from its thread's waking where \
              it slept until then: a writer that falls behind is not forgiven. The S3 server shares the cores.",
    },
    About {
        bench: "rest",
        title: "At rest",
        how: "Databases of 16 KiB of which none changes. *Reference loop*: one glob and one `stat` per match into a map, \
              in Go, with nothing but its standard library. *Bare calls*: the `statx` calls that cannot be done without \
              (one per database, relative to an open directory, and one per directory), on as many threads as the \
              daemon has. The three take turns in one run, the daemon paused meanwhile; medians. A cycle of the daemon \
              is from its beginning to its report. *Litestream* watches its databases in a run of its own.",
    },
    About {
        bench: "memory",
        title: "Memory",
        how: "Resident memory of the daemon at rest with half of the databases and with all of them, on one machine, in \
              one run; the difference divided by the number of databases between the two. Paths, fingerprints and what is \
              known of the backups are in it.",
    },
    About {
        bench: "endurance",
        title: "Endurance",
        how: "Databases of 16 KiB of which some change all the time, scanned at a much shorter interval than one would choose: \
              first until each has changed at least once, then so many cycles. Resident memory is the median over the \
              hundred cycles at the beginning and at the end; connections are no open files.",
    },
    About {
        bench: "fleet",
        title: "A fleet",
        how: "Real daemons, etcd and the S3 server on one machine, whose cores they share: times are those of a bad day.",
    },
    About {
        bench: "etcd",
        title: "etcd",
        how: "The real driver, many times in one process, each with connections of its own, and one etcd. Shards have no \
              databases: what is measured is etcd and the driver.",
    },
    About {
        bench: "placement",
        title: "Placement",
        how: "Who should own what, computed on one core. A node does so once after each change of the membership.",
    },
    About {
        bench: "micro",
        title: "Parts",
        how: "What a cycle is made of, each part alone and on one core, by criterion; medians. Scans are of a warm tree of \
              10,000 small files on the disk, a thousand in each directory, one in ten with a `-wal`. Captures include the \
              quick check; the open database belongs to another process. Images are half noise. Catalogs have eight \
              backups of each database.",
    },
    About {
        bench: "instructions",
        title: "Instructions",
        how: "The instructions that the same parts take, counted by valgrind's callgrind, which cannot run the captures: \
              without the kernel's, and the same on a busy machine. They depend on the compiled code, so on the compiler \
              and its options; BLAKE3's on what the processor can do; and a little on chance, where hash tables are seeded \
              with it. The command fails, and records nothing, when a part takes a tenth more than is recorded here \
              (`--accept` where that is meant).",
    },
];

/// A bench and what it found.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) about: &'static About,
    pub(super) record: Record,
    pub(super) remarks: String,
}

impl Section {
    /// The file name of a chart.
    pub(super) fn chart(&self, number: usize) -> String {
        format!("{}-{}.svg", self.about.bench, number + 1)
    }
}

const HEAD: &str = "\
# Performance

<!-- Written by `cargo xtask bench`: change docs/performance/*.md or the bench instead. -->

Every figure here comes from `cargo xtask bench NAME`, which measures both sides of a comparison in one run on one machine.
Seconds are that machine's, ratios travel better. Run it on yours: the command is given with each table.

";

/// The whole page.
pub(super) fn text(sections: &[Section]) -> String {
    let mut page = HEAD.to_owned();
    let goals: Vec<_> = sections
        .iter()
        .flat_map(|section| section.record.figures.goals.iter().map(move |goal| (section, goal)))
        .collect();
    if !goals.is_empty() {
        page.push_str("## Goals\n\n| what | goal | measured | |\n| --- | --- | --- | --- |\n");
        for (section, goal) in goals {
            row(&mut page, section, goal);
        }
        page.push('\n');
    }
    for section in sections {
        write_section(&mut page, section);
    }
    page
}

fn row(page: &mut String, section: &Section, goal: &Goal) {
    let reached = if goal.is_reached() { "reached" } else { "**not reached**" };
    let anchor = section.about.title.to_lowercase().replace(' ', "-");
    let measured = measure(goal.value, &goal.unit);
    // Writing to a string cannot fail.
    let _ = writeln!(
        page,
        "| {} | {} | {measured} | [{reached}](#{anchor}) |",
        goal.name,
        goal.wanted()
    );
}

fn write_section(page: &mut String, section: &Section) {
    let Section { about, record, remarks } = section;
    let _ = write!(page, "## {}\n\n{}\n\n", about.title, about.how);
    let built_by = record.built_by.as_ref().map(|by| format!(", built by {by}"));
    let _ = write!(
        page,
        "`cargo xtask bench {}`, {}, of {}{}.\n\n",
        record.order,
        machine(&record.machine),
        record.source,
        built_by.unwrap_or_default()
    );
    for (number, chart) in record.figures.charts.iter().enumerate() {
        let _ = write!(
            page,
            "**{}**\n\n![{}](performance/{})\n\n",
            chart.title,
            chart.title,
            section.chart(number)
        );
    }
    if !record.figures.figures.is_empty() {
        page.push_str("| | |\n| --- | ---: |\n");
        for Figure { name, value, unit } in &record.figures.figures {
            let indent = if name.starts_with(' ') { "&emsp;" } else { "" };
            let _ = writeln!(page, "| {indent}{} | {} |", name.trim(), measure(*value, unit));
        }
        page.push('\n');
    }
    if !remarks.is_empty() {
        let _ = write!(page, "{}\n\n", remarks.trim());
    }
}

fn measure(value: f64, unit: &str) -> String {
    format!("{} {unit}", short(value)).trim_end().to_owned()
}

fn machine(facts: &Value) -> String {
    let text = |name: &str| facts.get(name).map(|fact| fact.to_string().replace('"', ""));
    let text = |name| text(name).unwrap_or_default();
    format!(
        "{} cores of {}, {}, Linux {}, load before {}",
        text("cores"),
        text("processor"),
        text("memory"),
        text("kernel"),
        text("load")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::figures::{Bound, Figures};

    #[test]
    fn a_section_has_its_goals_figures_charts_and_remarks() {
        let mut figures = Figures::default();
        figures.add("a start", 1.5, "s");
        figures.goal("faster than the loop", 6.0, "×", Bound::AtLeast(5.0));
        figures.goal("small", 200.0, "B", Bound::AtMost(128.0));
        figures.compare("a cycle", "ms", [("ultrasimple", 60.0), ("reference loop", 400.0)]);
        let record = Record {
            bench: "rest".to_owned(),
            order: "rest --databases 7".to_owned(),
            source: "abc".to_owned(),
            built_by: Some("rustc 1".to_owned()),
            machine: json!({ "cores": 2, "processor": "X", "memory": "1 kB", "kernel": "6", "load": "0.1" }),
            figures,
        };
        let about = BENCHES.iter().find(|about| about.bench == "rest").unwrap();
        let text = text(&[Section { about, record, remarks: "Because.\n".to_owned() }]);
        for part in [
            "| faster than the loop | ≥ 5 × | 6.00 × | [reached](#at-rest) |",
            "| small | ≤ 128 B | 200 B | [**not reached**](#at-rest) |",
            "`cargo xtask bench rest --databases 7`, 2 cores of X, 1 kB, Linux 6, load before 0.1, of abc, \
             built by rustc 1.",
            "![a cycle](performance/rest-1.svg)",
            "| a start | 1.50 s |",
            "Because.",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
