//! A real browser: Chromium without a screen, driven through its `chromedriver` by the `WebDriver` protocol.
//!
//! Owns the two processes, which end with it. What is asked of a page is `JavaScript`, run in it.
#![expect(clippy::indexing_slicing, reason = "what a JSON document lacks is null")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::base64;
use crate::http;
use crate::process::{ServerProcess, free_ports};

/// How long a browser may take to start, on a machine with much else to do.
const START: Duration = Duration::from_mins(2);
/// How long any step may take.
const STEP: Duration = Duration::from_mins(1);

/// A browser with one window.
#[derive(Debug)]
pub struct Browser {
    port: u16,
    session: String,
    _driver: ServerProcess,
    _folder: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium; the driver is killed after that.
        let _ = self.call("DELETE", "", &json!({}));
    }
}

impl Browser {
    /// Starts one, in a window of this size.
    ///
    /// # Errors
    /// When `chromedriver` or `chromium` is missing, or does not start.
    pub fn start(width: u32, height: u32) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ultrasimple-browser-").tempdir()?;
        let [port] = free_ports::<1>();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", folder.path());
        command.env("TMPDIR", folder.path());
        let mut driver = ServerProcess::spawn(command, &folder.path().join("driver.log"))?;
        driver.wait_ready(START, || {
            http::request(port, "GET", "/status", "", STEP).is_ok_and(|it| it.status == 200)
        })?;
        let profile = folder.path().join("profile");
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-first-run".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": 60_000, "pageLoad": 60_000},
        }}});
        let answer = http::request(port, "POST", "/session", &wanted.to_string(), START)?;
        let answer: Value = serde_json::from_str(&answer.body)?;
        let session = answer["value"]["sessionId"].as_str();
        let session = session.with_context(|| format!("no session: {answer}"))?.to_owned();
        let browser = Self { port, session, _driver: driver, _folder: folder };
        browser.size(width, height)?;
        Ok(browser)
    }

    /// Goes to an address, and waits until its page is loaded.
    ///
    /// # Errors
    /// When it cannot.
    pub fn open(&self, address: &str) -> anyhow::Result<()> {
        self.call("POST", "/url", &json!({"url": address})).map(drop)
    }

    /// Runs the body of a function in the page, and gives what it returns.
    ///
    /// # Errors
    /// When it throws.
    pub fn run(&self, script: &str) -> anyhow::Result<Value> {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Presses keys, one after the other, wherever the focus is: letters, or [`TAB`] and such.
    ///
    /// # Errors
    /// When it cannot.
    pub fn press(&self, keys: &str) -> anyhow::Result<()> {
        let actions: Vec<_> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|what| json!({"type": what, "value": key})))
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]});
        self.call("POST", "/actions", &actions).map(drop)
    }

    /// Makes the page's area this large, in CSS pixels.
    ///
    /// # Errors
    /// When it cannot.
    pub fn size(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.tell("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// Whoever looks prefers `light` or `dark`.
    ///
    /// # Errors
    /// When it cannot.
    pub fn prefers(&self, scheme: &str) -> anyhow::Result<()> {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tell("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// Whether JavaScript runs in pages that are opened from now on.
    ///
    /// # Errors
    /// When it cannot.
    pub fn scripts(&self, run: bool) -> anyhow::Result<()> {
        self.tell("Emulation.setScriptExecutionDisabled", &json!({"value": !run})).map(drop)
    }

    /// A picture of the page's first `height` pixels, as PNG.
    ///
    /// # Errors
    /// When it cannot.
    pub fn picture(&self, width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let wanted = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let taken = self.tell("Page.captureScreenshot", &wanted)?;
        Ok(base64::decode(taken["data"].as_str().context("no picture")?))
    }

    /// What the page has said on its console since this was asked last.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn console(&self) -> anyhow::Result<Vec<String>> {
        let log = self.call("POST", "/se/log", &json!({"type": "browser"}))?;
        let lines = log.as_array().context("no log")?.iter();
        Ok(lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// The addresses that pages have asked for since this was asked last.
    ///
    /// # Errors
    /// When they cannot be told.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let log = self.call("POST", "/se/log", &json!({"type": "performance"}))?;
        let mut addresses = Vec::new();
        for line in log.as_array().context("no log")? {
            let event: Value = serde_json::from_str(line["message"].as_str().unwrap_or("null"))?;
            let event = &event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                let address = event["params"]["request"]["url"].as_str().unwrap_or_default();
                addresses.push(address.to_owned());
            }
        }
        Ok(addresses)
    }

    /// A command of Chromium's own protocol.
    fn tell(&self, command: &str, parameters: &Value) -> anyhow::Result<Value> {
        self.call("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let target = format!("/session/{}{path}", self.session);
        let answer = http::request(self.port, method, &target, &body.to_string(), STEP)?;
        let mut told: Value = serde_json::from_str(&answer.body)
            .with_context(|| format!("{method} {path}: {}", answer.body))?;
        if answer.status != 200 {
            bail!("{method} {path}: {}", told["value"]["message"]);
        }
        Ok(told["value"].take())
    }
}

/// The tabulator key, for [`Browser::press`].
pub const TAB: &str = "\u{e004}";
/// The enter key.
pub const ENTER: &str = "\u{e007}";
