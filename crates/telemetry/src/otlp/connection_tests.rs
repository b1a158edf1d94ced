//! What the variables say, and what is wrong with them.

use super::*;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const METRICS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

fn by(signal: &Signal, words: &[(&str, &str)]) -> Result<Option<Connection>, String> {
    let find = |name| {
        let word = words.iter().find(|(known, _)| *known == name);
        word.map(|(_, value)| (*value).to_owned())
    };
    Connection::by(signal, find).map_err(|error| error.to_string())
}

#[test]
fn it_is_off_unless_there_is_an_endpoint() {
    for off in [
        &[][..],
        &[(PROTOCOL, "grpc")],
        &[(ENDPOINT, "")],
        &[(METRICS_ENDPOINT, "http://c:4318")],
        &[(ENDPOINT, "http://c:4318"), ("OTEL_SDK_DISABLED", "True")],
        &[(ENDPOINT, "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        assert_eq!(by(&TRACES, off), Ok(None), "{off:?}");
    }
    let without_traces = [(ENDPOINT, "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")];
    assert!(by(&METRICS, &without_traces).unwrap().is_some());
}

#[test]
fn the_variables_say_how() {
    let http = Connection {
        protocol: Protocol::HttpBinary,
        timeout: TIMEOUT,
        endpoint: ENDPOINT,
        is_https: false,
        authorities: None,
    };
    assert_eq!(by(&METRICS, &[(ENDPOINT, "http://c:4318")]), Ok(Some(http)));
    let said = [
        (TRACES_ENDPOINT, "https://c:4317"),
        (ENDPOINT, "http://other"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        (PROTOCOL, "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
    ];
    let grpc = Connection {
        protocol: Protocol::Grpc,
        timeout: Duration::from_millis(1_500),
        endpoint: TRACES_ENDPOINT,
        is_https: true,
        authorities: None,
    };
    assert_eq!(by(&TRACES, &said), Ok(Some(grpc)));
    let metrics = by(&METRICS, &said).unwrap().unwrap();
    assert_eq!((metrics.protocol, metrics.endpoint), (Protocol::HttpBinary, ENDPOINT));
}

#[test]
fn what_cannot_be_done_is_said_by_its_name() {
    let endpoint = (ENDPOINT, "http://c:4318");
    for (bad, said) in [
        ((TRACES_ENDPOINT, "c:4317"), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: \"c:4317\""),
        ((PROTOCOL, "http/json"), "OTEL_EXPORTER_OTLP_PROTOCOL: \"http/json\""),
        (("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), "OTEL_EXPORTER_OTLP_TIMEOUT: \"10s\""),
        (("OTEL_TRACES_EXPORTER", "zipkin"), "OTEL_TRACES_EXPORTER: \"zipkin\""),
        (("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), "OTEL_EXPORTER_OTLP_COMPRESSION: "),
        (("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "k"), "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: "),
        (
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/ca.pem"),
            "OTEL_EXPORTER_OTLP_CERTIFICATE: cannot read /no/ca.pem: ",
        ),
    ] {
        let error = by(&TRACES, &[endpoint, bad]).unwrap_err();
        assert!(error.starts_with(said), "{error}");
    }
}

#[tokio::test]
async fn a_file_without_certificates_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "nothing").unwrap();
    let variable = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE";
    let said = [(ENDPOINT, "https://c:4318"), (variable, path.to_str().unwrap())];
    let connection = by(&TRACES, &said).unwrap().unwrap();
    let error = connection.way().err().unwrap();
    assert_eq!(error.variable, variable);
    assert!(error.reason.contains("no certificate"), "{error}");
}
