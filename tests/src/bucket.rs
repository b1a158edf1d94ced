//! A bucket, as the programs are told of it and as anybody may look into it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use ultrasimple_core::ObjectKey;
use ultrasimple_store::{Body, ByteRange, Condition, S3Options, S3Store, Store as _};
use ultrasimple_testkit::seaweed::{ADMIN, Login, SeaweedFs};

use crate::unpack::copy_tree;

/// `-YYYYMMDD-HH0000.db.lz4`
const TAIL: usize = 23;

/// Where backups go.
#[derive(Debug, Clone)]
pub enum Bucket {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of an S3 server.
    S3 {
        /// The server.
        endpoint: String,
        /// The bucket's name.
        name: String,
        /// As whom.
        login: Login,
    },
}

impl Bucket {
    /// A directory; the daemon creates it.
    pub fn directory(path: &Path) -> Self {
        Self::Directory(path.to_owned())
    }

    /// A new bucket of this server.
    pub fn new_in(server: &SeaweedFs) -> Self {
        Self::S3 { endpoint: server.endpoint(), name: server.create_bucket(), login: ADMIN }
    }

    /// The same bucket, reached another way.
    #[must_use]
    pub fn through(&self, other_endpoint: String) -> Self {
        let mut same = self.clone();
        if let Self::S3 { endpoint, .. } = &mut same {
            *endpoint = other_endpoint;
        }
        same
    }

    /// The same bucket, as somebody else.
    #[must_use]
    pub fn as_user(&self, other: Login) -> Self {
        let mut same = self.clone();
        if let Self::S3 { login, .. } = &mut same {
            *login = other;
        }
        same
    }

    /// The flags that name it.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Directory(path) => vec!["-bucket".into(), format!("file://{}", path.display())],
            Self::S3 { endpoint, name, login } => [
                ["-bucket", name],
                ["-endpoint-url", endpoint],
                ["-access-key", login.access_key],
                ["-secret-key", login.secret_key],
            ]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        }
    }

    /// The keys of all backups, by what they share but for the hour; the newest hour last.
    pub fn backups(&self) -> BTreeMap<String, Vec<String>> {
        let mut backups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for key in self.keys() {
            if let Some(end) = key.len().checked_sub(TAIL).filter(|_| key.ends_with(".db.lz4")) {
                backups.entry(key[..end].to_owned()).or_default().push(key);
            }
        }
        backups
    }

    /// All keys, in their order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = match self {
            Self::Directory(path) => files(path, path),
            Self::S3 { .. } => self.with_store(async |store| {
                store.list("", None).map_ok(|object| object.key).try_collect().await.unwrap()
            }),
        };
        keys.sort();
        keys
    }

    /// Puts something there, behind the programs' back.
    pub fn put(&self, key: &str, bytes: Vec<u8>) {
        match self {
            Self::Directory(path) => std::fs::write(path.join(key), bytes).unwrap(),
            Self::S3 { .. } => self.with_store(async |store| {
                let (key, body) = (ObjectKey::new(key).unwrap(), Body::Bytes(bytes.into()));
                store.put(&key, body, Condition::Always).await.unwrap();
            }),
        }
    }

    /// What is there.
    pub fn get(&self, key: &str) -> Vec<u8> {
        match self {
            Self::Directory(path) => std::fs::read(path.join(key)).unwrap(),
            Self::S3 { .. } => self.with_store(async |store| {
                let found = store.get(&ObjectKey::new(key).unwrap(), ByteRange::Full).await;
                found.unwrap().unwrap().bytes(u64::MAX).await.unwrap().to_vec()
            }),
        }
    }

    /// Deletes something there, behind the programs' back.
    pub fn delete(&self, key: &str) {
        match self {
            Self::Directory(path) => std::fs::remove_file(path.join(key)).unwrap(),
            Self::S3 { .. } => self.with_store(async |store| {
                store.delete(&[ObjectKey::new(key).unwrap()]).await.unwrap();
            }),
        }
    }

    /// Copies everything in it into a new folder, as `cp -r` or `aws s3 sync` would.
    pub fn copy_to(&self, folder: &Path) {
        if let Self::Directory(path) = self {
            return copy_tree(path, folder);
        }
        for key in self.keys() {
            let path = folder.join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, self.get(&key)).unwrap();
        }
    }

    fn with_store<T>(&self, work: impl AsyncFnOnce(S3Store) -> T) -> T {
        let Self::S3 { endpoint, name, login } = self else { panic!("not on a server") };
        let options = S3Options {
            bucket: name.clone(),
            endpoint_url: Some(endpoint.clone()),
            access_key: Some(login.access_key.to_owned()),
            secret_key: Some(login.secret_key.to_owned()),
            ..S3Options::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { work(S3Store::connect(options).await.unwrap()).await })
    }
}

fn files(folder: &Path, root: &Path) -> Vec<String> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            if path.is_dir() {
                return files(&path, root);
            }
            vec![path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()]
        })
        .collect()
}
