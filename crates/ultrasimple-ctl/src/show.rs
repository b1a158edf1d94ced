//! What people see: tables that fit the terminal, sizes, times; and the one way out to stdout.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use jiff::tz::TimeZone;
use serde::Serialize;
use ultrasimple_core::Timestamp;

/// Between two columns.
const GAP: usize = 2;
/// A column that gives way keeps so many characters.
const LEAST: usize = 12;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    is_number: bool,
    gives_way: bool,
}

impl Column {
    /// Text that is never cut.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self { title, is_number: false, gives_way: false }
    }

    /// Aligned to the right.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, is_number: true, gives_way: false }
    }

    /// Text of which the middle is left out where the terminal is too narrow.
    pub(crate) const fn long(title: &'static str) -> Self {
        Self { title, is_number: false, gives_way: true }
    }
}

/// Renders rows, each with as many cells as there are columns, within `width` characters where that can
/// be done.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut widths: Vec<_> = columns.iter().map(|column| column.title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(width) = width {
        shrink(columns, &mut widths, width);
    }
    let mut text = String::new();
    let titles: Vec<_> = columns.iter().map(|column| column.title.to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let start = text.len();
        for ((column, &width), cell) in columns.iter().zip(&widths).zip(row) {
            if text.len() > start {
                text.push_str("  ");
            }
            let cell = elide(&cell.replace(char::is_control, " "), width);
            let _ = if column.is_number {
                write!(text, "{cell:>width$}")
            } else {
                write!(text, "{cell:<width$}")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Takes what is too much from the columns that give way, always from the widest.
fn shrink(columns: &[Column], widths: &mut [usize], limit: usize) {
    loop {
        let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let widest = columns.iter().zip(widths.iter_mut()).filter(|(column, _)| column.gives_way);
        let widest = widest.map(|(_, width)| width).max_by_key(|width| **width);
        match widest {
            Some(width) if total > limit && *width > LEAST => *width -= 1,
            _ => return,
        }
    }
}

/// At most `width` characters of `text`: its middle is left out.
fn elide(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    // The end, with the database's name, tells more than the beginning.
    let (head, tail) = ((width.saturating_sub(1)) / 3, width.saturating_sub(1));
    let tail = tail - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{start}…{end}")
}

/// `1.50 MiB`
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// `1 database`, `2 databases`
pub(crate) fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// To the second, in UTC: `2024-01-15 13:05:07Z`.
pub(crate) fn time(time: Timestamp) -> String {
    TimeZone::UTC.to_datetime(time).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The width of the terminal on stdout; `None` when it is not one.
pub(crate) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|&width| width > 0)
}

/// Writes to stdout. A reader who has seen enough (`| head`) is no error.
///
/// # Errors
/// When stdout cannot be written (a full disk).
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_more(text).map(|_| ())
}

/// Writes to stdout; whether there is still somebody who reads.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_more(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

/// Writes one JSON document to stdout.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(document: &impl Serialize) -> io::Result<()> {
    print(&(serde_json::to_string_pretty(document)? + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table() {
        let columns = [Column::long("DATABASE"), Column::number("BACKUPS"), Column::text("NEWEST")];
        let row = |name: &str, n: &str| vec![name.to_owned(), n.to_owned(), "now".to_owned()];
        let rows = [row("a", "1"), row("acme/users/main/tenant-1/tenant-1", "720")];
        assert_eq!(
            table(&columns, &rows, Some(40)),
            "DATABASE                 BACKUPS  NEWEST\n\
             a                              1  now\n\
             acme/us…nant-1/tenant-1      720  now\n"
        );
        assert!(
            table(&columns, &rows, None).contains("acme/users/main/tenant-1/tenant-1      720")
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(cell in ".{0,60}", width in 40usize..100) {
            let columns = [Column::long("DATABASE"), Column::number("BACKUPS")];
            let text = table(&columns, &[vec![cell, "1".to_owned()]], Some(width));
            prop_assert!(text.lines().all(|line| line.chars().count() <= width));
            prop_assert_eq!(text.lines().count(), 2);
        }
    }
}
