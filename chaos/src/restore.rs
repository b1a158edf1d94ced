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

/// Makes the catalogs anew from the objects.
pub(crate) fn rebuild_catalogs(order: &Order, stage: &Stage) -> Result<()> {
    ctl(order, stage, &["catalog", "rebuild"]).map(drop)
}

/// Runs our tool on the bucket. What is not a backup may be named, and nothing else.
fn ctl(order: &Order, stage: &Stage, words: &[&str]) -> Result<String> {
    let mut command = Command::new(&order.ctl);
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    command.args(words).args(["-bucket", BUCKET, "-endpoint-url", &stage.store.endpoint()]);
    command.args(["-access-key", ADMIN.access_key, "-secret-key", ADMIN.secret_key]);
    let ran = command.output().with_context(|| format!("run {}", order.ctl.display()))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let others: Vec<_> = said.lines().filter(|line| !line.contains(LIKE_OURS)).collect();
    let is_fine = match ran.status.code() {
        Some(0) => true,
        Some(3) => others.is_empty(),
        _ => false,
    };
    if !is_fine {
        bail!("{words:?} ended with {}: {}", ran.status, others.join("\n"));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// Restores the newest backup of every database, and proves that it has its last commit. Gives how many.
pub(crate) fn restore_all(
    order: &Order,
    stage: &Stage,
    data: &Path,
    accounts: &BTreeMap<String, Account>,
) -> Result<usize> {
    let to = order.folder.join("restored");
    let text = to.to_str().context("the folder's name")?;
    ctl(order, stage, &["restore", "--all", "--to", text])?;
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
