//! `cargo xtask dashboards`: writes the Grafana dashboards in `deploy/observability/dashboards` anew.
//!
//! One file here for each dashboard says what is on it; [`panel`] and [`board`] give all of them the same units,
//! legends, variables and links. A test says when the committed files are stale.

mod bill;
mod board;
mod cycles;
mod exposure;
mod fleet;
mod node;
mod panel;

use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use board::Board;

/// Where they are, in the workspace.
const FOLDER: &str = "deploy/observability/dashboards";

fn all() -> [Board; 5] {
    [fleet::board(), cycles::board(), exposure::board(), bill::board(), node::board()]
}

/// Writes them.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for board in all() {
        let path = folder.join(board.file());
        fs::write(&path, board.text()).with_context(|| format!("write {}", path.display()))?;
        println!("{}", workspace.show(&path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The committed files are these, and no others are there.
    #[test]
    fn what_is_committed_is_up_to_date() {
        let folder = Workspace::find().unwrap().root.join(FOLDER);
        for board in all() {
            let committed = fs::read_to_string(folder.join(board.file())).unwrap_or_default();
            assert!(
                committed == board.text(),
                "{} is stale: run `cargo xtask dashboards`",
                board.file()
            );
        }
        let there = fs::read_dir(&folder).unwrap();
        let there: BTreeSet<_> =
            there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(there, all().iter().map(Board::file).collect());
    }
}
