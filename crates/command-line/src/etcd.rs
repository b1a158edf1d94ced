//! From the settings of a fleet to what its etcd is reached with: reads the files that they name.

use std::path::Path;

use ultrasimple_cluster::etcd::EtcdSettings;
use ultrasimple_core::config::{FleetSettings, Setting};

use crate::secrets;

/// How etcd is reached.
///
/// # Errors
/// With the setting, the file, and why it cannot be read.
pub fn settings(fleet: &FleetSettings) -> Result<EtcdSettings, String> {
    let mut etcd = EtcdSettings::new(fleet.etcd.clone(), fleet.cluster.as_str());
    etcd.ca = fleet.ca.as_deref().map(|path| read(Setting::EtcdCa, path)).transpose()?;
    if let Some(identity) = &fleet.identity {
        etcd.certificate = Some(read(Setting::EtcdCert, &identity.certificate)?);
        etcd.key = Some(read(Setting::EtcdKey, &identity.key)?);
    }
    if let Some(login) = &fleet.login {
        let (user, password) = secrets::login(login)?;
        (etcd.user, etcd.password) = (Some(user), Some(password));
    }
    Ok(etcd)
}

fn read(setting: Setting, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        format!("{} {}: cannot read this file: {error}", setting.flag(), path.display())
    })
}
