//! TLS and authentication.

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use ultrasimple_cluster::etcd::{Etcd, EtcdError, EtcdSettings};
use ultrasimple_testkit::etcd::{self, call};
use ultrasimple_testkit::process::{ServerProcess, clean_command, find_tool, free_ports};

use crate::fleet::{Node, SHARDS, SOON, connect, settings, settled};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key (PEM).
fn certificate(authority: &Issuer, name: &str) -> [String; 2] {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    [params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem()]
}

/// An etcd that wants TLS, and certificates of its clients.
fn start_tls(folder: &Path, authority: &Issuer) -> (ServerProcess, String) {
    let [client, peer] = free_ports();
    let [certificate, key] = certificate(authority, "127.0.0.1");
    for (name, pem) in [("ca", authority.pem()), ("certificate", certificate), ("key", key)] {
        std::fs::write(folder.join(name), pem).unwrap();
    }
    let path = |name: &str| folder.join(name).display().to_string();
    let url = format!("https://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let mut command = clean_command(find_tool("etcd", "ULTRASIMPLE_ETCD").unwrap());
    command.args([
        format!("--data-dir={}", path("data")),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        format!("--cert-file={}", path("certificate")),
        format!("--key-file={}", path("key")),
        format!("--trusted-ca-file={}", path("ca")),
        "--client-cert-auth".to_owned(),
        "--logger=zap".to_owned(),
        "--log-outputs=stderr".to_owned(),
    ]);
    (ServerProcess::spawn(command, &folder.join("log")).unwrap(), url)
}

#[tokio::test]
async fn etcd_is_reached_with_tls_both_ways() {
    let folder = TempDir::new().unwrap();
    let authority = authority();
    let (_server, url) = start_tls(folder.path(), &authority);
    let [certificate, key] = certificate(&authority, "client").map(String::into_bytes);
    let good = EtcdSettings {
        ca: Some(authority.pem().into_bytes()),
        certificate: Some(certificate),
        key: Some(key),
        ..settings(vec![url.clone()])
    };
    let etcd = Etcd::connect(&good, SOON).await.unwrap();
    let a = Node::join(&etcd, "a").await;
    settled(&[&a], |all| all[0] == SHARDS as usize).await;

    let short = Duration::from_secs(1);
    let system = EtcdSettings { ca: None, ..good.clone() };
    let error = Etcd::connect(&system, short).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let nobody = EtcdSettings { certificate: None, key: None, ..good.clone() };
    let error = Etcd::connect(&nobody, short).await.unwrap_err().to_string();
    assert!(error.contains(&url), "{error}");
    let half = EtcdSettings { key: None, ..good.clone() };
    let error = Etcd::connect(&half, short).await.unwrap_err();
    assert!(matches!(error, EtcdError::Settings(_)), "{error}");
    let plain = EtcdSettings { endpoints: vec![url.replace("https", "http")], ..good.clone() };
    let error = Etcd::connect(&plain, short).await.unwrap_err().to_string();
    assert!(error.contains("is not https://"), "{error}");
    let garbage = EtcdSettings { ca: Some(b"no certificate".to_vec()), ..good };
    let error = Etcd::connect(&garbage, short).await.unwrap_err().to_string();
    assert!(error.contains("etcd"), "{error}");
}

/// Two users: one that may do all, and one that may use the fleet's keys.
fn enable_authentication(port: u16) {
    let ask = |method: &str, request: Value| call(port, method, &request).unwrap();
    for user in ["root", "fleet"] {
        let password = format!("{user}'s");
        ask("/v3/auth/user/add", json!({ "name": user, "password": password }));
        ask("/v3/auth/role/add", json!({ "name": user }));
        ask("/v3/auth/user/grant", json!({ "user": user, "role": user }));
    }
    // "/ultrasimple/test/", and the first key after all of those.
    let permission = json!({
        "permType": "READWRITE",
        "key": "L3VsdHJhc2ltcGxlL3Rlc3Qv",
        "range_end": "L3VsdHJhc2ltcGxlL3Rlc3Qw",
    });
    ask("/v3/auth/role/grant", json!({ "name": "fleet", "perm": permission }));
    ask("/v3/auth/enable", json!({}));
}

#[tokio::test]
async fn etcd_is_used_as_a_user_and_tokens_are_renewed() {
    let mut server = etcd::Etcd::start_one().unwrap();
    enable_authentication(server.ports(0).unwrap().client);
    let endpoints = server.endpoints();
    let with = |user: &str, password: &str| EtcdSettings {
        user: Some(user.to_owned()),
        password: Some(password.to_owned()),
        ..settings(endpoints.clone())
    };
    for bad in [with("fleet", "wrong"), with("nobody", "x"), settings(server.endpoints())] {
        let error = Etcd::connect(&bad, SOON).await.unwrap_err();
        assert!(matches!(error, EtcdError::Denied(..)), "{error}");
        let text = error.to_string();
        assert!(text.contains("/ultrasimple/test/") && text.contains("password"), "{text}");
    }
    let elsewhere = EtcdSettings { cluster: "elsewhere".to_owned(), ..with("fleet", "fleet's") };
    let error = Etcd::connect(&elsewhere, SOON).await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");

    let etcd = Etcd::connect(&with("fleet", "fleet's"), SOON).await.unwrap();
    let a = Node::join(&etcd, "a").await;
    settled(&[&a], |all| all[0] == SHARDS as usize).await;
    // It has forgotten all tokens when it is back.
    server.kill(0).unwrap();
    server.restart(0).unwrap();
    let b = Node::join(&Etcd::connect(&with("fleet", "fleet's"), SOON).await.unwrap(), "b").await;
    settled(&[&a, &b], |all| all.iter().all(|share| *share > 0)).await;
    etcd.drain(&"a".parse().unwrap(), ultrasimple_core::Timestamp::UNIX_EPOCH).await.unwrap();
    settled(&[&a, &b], |all| all[0] == 0).await;
    a.leave().await;
    assert_eq!(etcd.state().await.unwrap().view.nodes.len(), 1);
}

#[tokio::test]
async fn what_is_given_is_not_told() {
    let settings = EtcdSettings { password: Some("secret".into()), ..settings(vec![]) };
    assert!(!format!("{settings:?}").contains("secret"));
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    assert!(format!("{etcd:?}").contains(&server.endpoints()[0]));
}
