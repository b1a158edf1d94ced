//! The status page in a real browser: found with the keyboard, up to date by itself, quiet, and readable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::path::Path;

use serde_json::Value;
use ultrasimple_testkit::bank::BankOptions;
use ultrasimple_testkit::browser::{Browser, ENTER, TAB};
use ultrasimple_tests::{Daemon, Fleet, Yard, eventually};

const TOKEN: &str = "0123456789abcdefXYZ";

/// A daemon over some databases, one of which is none.
struct World {
    yard: Yard,
    daemon: Daemon,
}

impl World {
    fn new(words: &[&str]) -> Self {
        let yard = Yard::new();
        for name in ["acme/orders", "acme/users", "globex/orders", "globex/<b>users"] {
            yard.bank(format!("data/{name}.db"), &BankOptions::default(), 1);
        }
        let world = |yard: Yard| {
            let mut all = vec!["-pattern", "data/*/*.db", "-interval", "200ms", "-shards", "8"];
            all.extend(words);
            let daemon = Daemon::start(yard.daemon(&yard.bucket(), &all));
            Self { yard, daemon }
        };
        junk(&yard.path("data/acme/broken.db"));
        let world = world(yard);
        if !words.contains(&"-http-token-file") {
            world.daemon.settled(1);
        }
        world
    }

    fn address(&self) -> String {
        format!("http://{}/", self.daemon.address())
    }
}

/// No SQLite database, but as long as one.
fn junk(path: &Path) {
    std::fs::write(path, "This is not a database. ".repeat(400)).unwrap();
}

fn text(browser: &Browser, script: &str) -> String {
    match browser.run(script).unwrap() {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn headline(browser: &Browser) -> String {
    text(browser, "return document.querySelector('.headline').innerText")
}

#[test]
fn a_failing_database_is_seen_and_the_page_keeps_itself_up_to_date() {
    let mut world = World::new(&[]);
    let browser = Browser::start(1_200, 900).unwrap();
    browser.open(&world.address()).unwrap();
    assert!(headline(&browser).contains("1 database is failing"), "{}", headline(&browser));
    let failing = text(&browser, "return document.querySelector('.troubles').innerText");
    assert!(failing.contains("data/acme/broken.db") && failing.contains("since"), "{failing}");
    // Somebody types, unfolds and scrolls, and is not disturbed.
    browser
        .run(
            "window.stays = 1; document.querySelector('#fleet-table').open = true;\
             document.querySelector('#q').focus(); window.scrollTo(0, 120);",
        )
        .unwrap();
    browser.press("glo").unwrap();
    let before = browser.run("return window.scrollY").unwrap();
    world.yard.bank("data/acme/late.db", &BankOptions::default(), 1);
    std::fs::remove_file(world.yard.path("data/acme/broken.db")).unwrap();
    eventually("the page says that all is well", || {
        headline(&browser).contains("Every database is protected").then_some(())
    });
    let still = browser.run(
        "return [window.stays, document.querySelector('#q').value, document.activeElement.id,\
         document.querySelector('#fleet-table').open, document.querySelectorAll('.troubles').length]",
    );
    assert_eq!(still.unwrap(), serde_json::json!([1, "glo", "q", true, 0]));
    assert_eq!(browser.run("return window.scrollY").unwrap(), before);
    assert_eq!(browser.console().unwrap(), Vec::<String>::new());
    let origin = world.address();
    for address in browser.requests().unwrap() {
        // The page that a new window shows is the browser's own.
        let is_own =
            ["chrome:", "chrome-untrusted:", "data:"].iter().any(|own| address.starts_with(own));
        assert!(is_own || address.starts_with(&origin), "{address}");
    }
    // A node that is gone is not a node at which all is well.
    world.daemon.kill();
    eventually("the page says that nobody answers", || {
        let stale = text(&browser, "return document.querySelector('#stale').innerText");
        stale.contains("has not answered").then_some(())
    });
}

#[test]
fn a_database_is_found_by_the_keyboard_alone_with_its_hours() {
    let world = World::new(&[]);
    let browser = Browser::start(1_200, 900).unwrap();
    browser.open(&world.address()).unwrap();
    // Everything that can be reached is reached in the order of the page, and is seen to be.
    let mut seen = Vec::new();
    for _ in 0..12 {
        browser.press(TAB).unwrap();
        let at = browser.run(
            "const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();\
             return [it.id || it.innerText || it.name, style.outlineStyle, parseFloat(style.outlineWidth), box.width > 0]",
        );
        let at = at.unwrap();
        assert_eq!(at[1], "solid", "{at}");
        assert!(at[2].as_f64() >= Some(2.0) && at[3] == true, "{at}");
        let name = at[0].as_str().unwrap().to_owned();
        if name.contains("/stats") {
            break;
        }
        seen.push(name);
    }
    assert_eq!(&seen[..4], ["Skip to the content", "pause", "q", "Search"], "{seen:?}");
    assert!(seen.iter().any(|name| name.contains("broken.db")), "{seen:?}");
    // The first key leads past the header.
    browser.open(&world.address()).unwrap();
    browser.press(&format!("{TAB}{ENTER}")).unwrap();
    assert_eq!(text(&browser, "return document.activeElement.id"), "content");

    browser.run("document.querySelector('#q').focus()").unwrap();
    browser.press(&format!("globex*<B>{ENTER}")).unwrap();
    let found = eventually("something is found", || {
        let found = text(&browser, "return document.querySelector('.result')?.innerText ?? ''");
        (!found.is_empty()).then_some(found)
    });
    assert!(found.contains("1 of 5 databases") && found.contains("globex/<b>users.db"), "{found}");
    assert!(found.contains("protected"), "{found}");
    assert_eq!(text(&browser, "return document.querySelector('#q').value"), "globex*<B>");
    assert_eq!(browser.run("return document.querySelectorAll('b b, .path b').length").unwrap(), 0);
    browser.run("document.querySelector('.result .path').focus()").unwrap();
    browser.press(ENTER).unwrap();
    let one = eventually("it is shown", || {
        let one = text(
            &browser,
            "return document.querySelector('h2.path')?.parentElement.innerText ?? ''",
        );
        (!one.is_empty()).then_some(one)
    });
    assert!(one.contains("globex/<b>users.db") && one.contains("newest backup"), "{one}");
    assert!(one.contains("1 hour in the bucket") || one.contains("does not know it yet"), "{one}");
    assert_eq!(browser.console().unwrap(), Vec::<String>::new());
}

#[test]
fn it_fits_a_phone_and_the_dark_and_needs_no_script() {
    let world = World::new(&[]);
    let browser = Browser::start(360, 740).unwrap();
    for path in ["", "?q=.db", "?q=nothing-like-it"] {
        browser.open(&format!("{}{path}", world.address())).unwrap();
        let widths = browser.run(
            "for (const it of document.querySelectorAll('details')) it.open = true;\
             return [document.documentElement.scrollWidth, window.innerWidth]",
        );
        let widths = widths.unwrap();
        assert!(widths[0].as_u64() <= widths[1].as_u64() && widths[1] == 360, "{path}: {widths}");
    }
    let paper = "return getComputedStyle(document.body).backgroundColor";
    browser.prefers("light").unwrap();
    let light = text(&browser, paper);
    browser.prefers("dark").unwrap();
    assert_ne!(text(&browser, paper), light);
    browser.scripts(false).unwrap();
    browser.open(&world.address()).unwrap();
    assert!(headline(&browser).contains("1 database is failing"));
    assert_eq!(browser.run("return document.querySelector('#pause').hidden").unwrap(), true);
}

#[test]
fn a_browser_gets_in_with_the_token_as_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let world = World::new(&["-http-token-file", file.to_str().unwrap()]);
    let browser = Browser::start(1_000, 700).unwrap();
    let login = format!("http://anybody:{TOKEN}@{}/", world.daemon.address());
    browser.open(&login).unwrap();
    let before = text(&browser, "return document.querySelector('time').innerText");
    eventually("it updates itself with the token", || {
        (text(&browser, "return document.querySelector('time').innerText") != before).then_some(())
    });
    assert_eq!(browser.console().unwrap(), Vec::<String>::new());
    assert!(!text(&browser, "return document.documentElement.outerHTML").contains(TOKEN));
}

/// The pictures of `docs/images`, made by `cargo xtask screenshots`.
#[test]
#[ignore = "writes pictures"]
fn screenshots() {
    let target = std::env::var_os("ULTRASIMPLE_PICTURES").expect("where the pictures go");
    let target = Path::new(&target);
    let fleet = Fleet::new(256);
    let regions = ["north", "south", "east"];
    for region in regions {
        for tenant in 0..40 {
            std::fs::create_dir_all(fleet.yard.path(format!("data/{region}"))).unwrap();
            let name = format!("{region}/tenant-{tenant:03}");
            fleet.bank(&name, 1);
        }
    }
    for name in ["north/tenant-007", "east/tenant-031"] {
        junk(&fleet.yard.path(format!("data/{name}.db")));
    }
    let nodes: Vec<_> =
        ["db-1", "db-2", "db-3"].map(|name| fleet.node(name, &["-pattern", "data/*/*.db"])).into();
    fleet.until_owned_by(&nodes.iter().collect::<Vec<_>>());
    for node in &nodes {
        node.daemon.until("a few cycles", |stats| stats["scans"].as_u64() > Some(60));
    }
    let shown = nodes.iter().max_by_key(|node| node.daemon.count("failing")).unwrap();
    let address = format!("http://{}/", shown.daemon.address());
    let browser = Browser::start(1_200, 900).unwrap();
    let take = |path: &str, name: &str, scheme: &str, width: u32, height: u32| {
        // So that something waits, here and there.
        for tenant in (0..40).step_by(3) {
            fleet.bank(&format!("south/tenant-{tenant:03}"), 1);
        }
        browser.prefers(scheme).unwrap();
        browser.size(width, 400).unwrap();
        browser.open(&format!("{address}{path}")).unwrap();
        let whole = browser.run("return Math.ceil(document.body.getBoundingClientRect().height)");
        let height = u32::try_from(whole.unwrap().as_u64().unwrap()).unwrap().min(height);
        std::fs::write(target.join(name), browser.picture(width, height).unwrap()).unwrap();
    };
    take("", "status-light.png", "light", 1_120, 1_000);
    take("", "status-dark.png", "dark", 1_120, 1_000);
    take("", "status-phone.png", "light", 390, 1_500);
    take("?q=tenant-00", "status-search.png", "light", 1_120, 700);
}
