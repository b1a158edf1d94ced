//! Restores with our tool, as an operator would, and proves what comes out.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use ultrasimple_testkit::bank;
use ultrasimple_testkit::seaweed::ADMIN;

use crate::bucket::LIKE_OURS;
use crate::run::Order;
use crate::stage::{BUCKET, Stage};
use crate::tenants::Account;

/// Restores the newest backup of every database, and proves that it has its last commit. Gives how many.
pub(crate) fn restore_all(
    order: &Order,
    stage: &Stage,
    data: &Path,
    accounts: &BTreeMap<String, Account>,
) -> Result<usize> {
    let to = order.folder.join("restored");
    let mut command = Command::new(&order.ctl);
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    command.args(["restore", "--all", "--to"]).arg(&to).args(["-bucket", BUCKET]);
    command.args(["-endpoint-url", &stage.store.endpoint()]);
    command.args(["-access-key", ADMIN.access_key, "-secret-key", ADMIN.secret_key]);
    let ran = command.output().with_context(|| format!("run {}", order.ctl.display()))?;
    // What is not a backup cannot be restored, and is named.
    let said = String::from_utf8_lossy(&ran.stderr);
    let others = said.lines().filter(|line| !line.contains(LIKE_OURS));
    if !matches!(ran.status.code(), Some(0 | 3)) || others.clone().next().is_some() {
        let others: Vec<_> = others.collect();
        bail!("restore --all ended with {}: {}", ran.status, others.join("\n"));
    }
    let data = data.canonicalize()?;
    let mut restored = 0;
    for (name, account) in accounts.iter().filter(|(_, account)| account.gone.is_none()) {
        let copy = to.join(data.strip_prefix("/")?).join(format!("{name}.db"));
        let commits = bank::verify(&copy).map_err(anyhow::Error::msg);
        let commits = commits.with_context(|| format!("prove {}", copy.display()))?;
        let last = account.commits.len();
        ensure!(
            usize::try_from(commits) == Ok(last),
            "the restored {name} has {commits} commits of {last}"
        );
        restored += 1;
    }
    Ok(restored)
}
