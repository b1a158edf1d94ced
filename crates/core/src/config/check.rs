//! From the words to the settings: every check, in one place. Those of what concerns other nodes and other hosts
//! are in `fleet`.

mod fleet;

use std::path::PathBuf;
use std::time::Duration;

use super::raw::Given;
use super::settings::{
    Bucket, CheckLevel, Credentials, KeepSettings, LogFormat, LogSettings, NodeSettings, RunMode,
    ScanSettings, Secret, Settings, StoreSettings, UploadSettings,
};
use super::{Kind, Origin, Problem, Problems, RawSettings, Setting, places, words};
use crate::NodeName;
use crate::pattern::{Pattern, PatternSet};
use crate::retention::{DEFAULT_RETENTION_DAYS, RetentionRules};
use crate::template::PathTemplate;

/// What the checks need to know of the host and of the stores.
#[derive(Debug, Clone)]
pub struct Context {
    /// Relative patterns are below it. Absolute, without links, as the operating system gives it.
    pub current_directory: PathBuf,
    /// `$TMPDIR` or `/tmp`.
    pub temp_directory: PathBuf,
    /// The user id that the program runs as.
    pub user: u32,
    /// The host's name.
    pub host_name: String,
    /// Reads what `-bucket` takes: the directory, when it is one, or why it does not do.
    pub read_bucket: fn(&str) -> Result<Option<PathBuf>, String>,
}

impl Settings {
    /// Checks everything.
    ///
    /// # Errors
    /// With all problems, in the order of the table.
    pub fn check(raw: &RawSettings, context: &Context) -> Result<Self, Problems> {
        let mut checker = Checker { raw, context, problems: raw.problems() };
        let run = checker.run_mode();
        let scan = checker.scan();
        let store = checker.store(run, &scan.patterns);
        let keep = checker.keep();
        let upload = checker.upload(&scan.patterns);
        let node = checker.node(&scan.patterns);
        let fleet = checker.fleet(run, &scan.patterns, &upload.template);
        let http = checker.http(run);
        let format = checker.choice(Setting::LogFormat, &[LogFormat::Text, LogFormat::Json]);
        let log = LogSettings { format };
        match (node, checker.problems) {
            (Some(node), problems) if problems.is_empty() => {
                Ok(Self { scan, store, keep, upload, node, fleet, http, log, run })
            }
            (_, problems) => Err(problems),
        }
    }
}

/// Each of its methods notes the problem and returns something harmless where a word does not do.
struct Checker<'a> {
    raw: &'a RawSettings,
    context: &'a Context,
    problems: Problems,
}

impl<'a> Checker<'a> {
    fn given(&self, setting: Setting) -> Option<&'a Given> {
        self.raw.get(setting)
    }

    /// The word of a setting, or its default, and where it comes from.
    fn word(&self, setting: Setting) -> Option<(Origin, &'a str)> {
        match self.given(setting) {
            Some(given) => Some((given.origin.clone(), given.words.first().map_or("", |w| w))),
            None => setting.default_word().map(|word| (Origin::Default, word)),
        }
    }

    /// Reads the word of a setting that is given or has a default.
    fn read<T, E: std::fmt::Display>(
        &mut self,
        setting: Setting,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let (origin, word) = self.word(setting)?;
        let result = match word {
            "" => Err("it is empty".to_owned()),
            _ => read(word).map_err(|error| error.to_string()),
        };
        result.map_err(|why| self.refuse(setting, &origin, word, why)).ok()
    }

    fn refuse(&mut self, setting: Setting, origin: &Origin, word: &str, why: impl Into<String>) {
        self.problems.push(Problem::value(setting, origin, word, why.into()));
    }

    fn duration(&mut self, setting: Setting) -> Duration {
        self.read(setting, |word| words::duration(setting, word)).unwrap_or_default()
    }

    fn size(&mut self, setting: Setting) -> u64 {
        self.read(setting, |word| words::size(setting, word)).unwrap_or_default()
    }

    fn count(&mut self, setting: Setting) -> Option<u64> {
        self.read(setting, |word| words::count(setting, word))
    }

    fn switch(&mut self, setting: Setting) -> bool {
        self.read(setting, words::switch).unwrap_or_default()
    }

    /// The one of `values` that stands where the word stands in the table's list.
    fn choice<T: Copy + Default>(&mut self, setting: Setting, values: &[T]) -> T {
        let Kind::Choice(choices) = setting.kind() else {
            return T::default();
        };
        let position = self.read(setting, |word| {
            let position = choices.iter().position(|&choice| choice == word.trim());
            position.ok_or_else(|| format!("it must be {}", setting.expected()))
        });
        position.and_then(|at| values.get(at)).copied().unwrap_or_default()
    }

    fn run_mode(&mut self) -> RunMode {
        let (dry, once) = (self.switch(Setting::DryRun), self.switch(Setting::Once));
        if once && let Some(given) = self.given(Setting::PutBudget) {
            // Each start begins with a day's worth, and the cycle would wait for the next day's.
            let name = given.origin.name(Setting::PutBudget);
            let flag = Setting::Once.flag();
            self.problems.push(Problem::other(format!(
                "{name} has no meaning with {flag}, which ends when all is stored: leave one of them out"
            )));
        }
        match (dry, once) {
            (true, _) => RunMode::DryRun,
            (false, true) => RunMode::Once,
            (false, false) => RunMode::Forever,
        }
    }

    fn scan(&mut self) -> ScanSettings {
        let includes = self.patterns(Setting::Pattern);
        let excludes = self.patterns(Setting::Exclude);
        let interval = self.duration(Setting::Interval);
        ScanSettings { patterns: PatternSet::new(includes, excludes), interval }
    }

    fn patterns(&mut self, setting: Setting) -> Vec<Pattern> {
        let (origin, words): (_, Vec<&str>) = match self.given(setting) {
            Some(given) => (given.origin.clone(), given.words.iter().map(|w| &**w).collect()),
            None => (Origin::Default, setting.default_word().into_iter().collect()),
        };
        if words.is_empty() && setting.default_word().is_some() {
            self.refuse(setting, &origin, "", "it has no pattern in it");
        }
        // The scanner counts patterns in 16 bits.
        if words.len() > 10_000 {
            self.refuse(setting, &origin, "…", "there are more than 10,000 of them");
            return Vec::new();
        }
        let mut patterns = Vec::new();
        for word in words {
            let pattern = places::absolute_pattern(word, &self.context.current_directory)
                .and_then(|word| Pattern::parse(&word).map_err(|error| error.to_string()));
            match pattern {
                Ok(pattern) => patterns.push(pattern),
                Err(why) => self.refuse(setting, &origin, word, why),
            }
        }
        patterns
    }

    fn store(&mut self, run: RunMode, patterns: &PatternSet) -> StoreSettings {
        let read_bucket = self.context.read_bucket;
        let bucket = self.read(Setting::Bucket, |word| {
            read_bucket(word).map(|directory| Bucket { text: word.to_owned(), directory })
        });
        if self.given(Setting::Bucket).is_none() && run != RunMode::DryRun {
            self.problems.push(Problem::other(
                "-bucket is missing: say where the backups go, as in -bucket my-backups, \
                 -bucket s3://my-backups/prefix or -bucket file:///srv/backups \
                 (only -dry-run does without)",
            ));
        }
        let region = self.read(Setting::Region, places::check_region).unwrap_or_default();
        let endpoint_url = self.read(Setting::EndpointUrl, places::check_url);
        let credentials = self.credentials();
        if let Some(Bucket { text, directory: Some(directory) }) = &bucket {
            self.no_meaning_for_a_directory();
            if places::matches_backups_in(patterns, directory) {
                let origin =
                    self.word(Setting::Bucket).map_or(Origin::Default, |(origin, _)| origin);
                let why = "a -pattern would find the backups there and back them up again: choose \
                           another directory, or exclude this one with -exclude";
                self.refuse(Setting::Bucket, &origin, text, why);
            }
        }
        StoreSettings { bucket, region, endpoint_url, credentials }
    }

    fn keep(&mut self) -> KeepSettings {
        let days = self.count(Setting::RetentionDays).and_then(|days| u32::try_from(days).ok());
        let keep = self.read(Setting::Keep, str::parse);
        let rules = RetentionRules::new(days.unwrap_or(DEFAULT_RETENTION_DAYS), keep);
        let retention = rules.unwrap_or_default();
        KeepSettings {
            retention,
            verify_percent_per_day: self
                .read(Setting::VerifyPercentPerDay, str::parse)
                .unwrap_or_default(),
            reconcile_requests: self.count(Setting::ReconcileRequests).unwrap_or_default(),
        }
    }

    fn credentials(&mut self) -> Option<Credentials> {
        let secret = |word: &str| Ok::<_, String>(Secret::new(word.to_owned()));
        let (access, secret_key) = (Setting::AccessKey, Setting::SecretKey);
        for (setting, other) in [(access, secret_key), (secret_key, access)] {
            if let (Some(given), None) = (self.given(setting), self.given(other)) {
                let (name, other) = (given.origin.name(setting), other.flag());
                self.problems.push(Problem::other(format!(
                    "{name} is set, but {other} is not: give both, or none to use the AWS variables, \
                     files and roles"
                )));
            }
        }
        let access_key = self.read(Setting::AccessKey, secret)?;
        let secret_key = self.read(Setting::SecretKey, secret)?;
        Some(Credentials { access_key, secret_key })
    }

    /// R12: what was asked for explicitly and can have no effect.
    fn no_meaning_for_a_directory(&mut self) {
        for setting in
            [Setting::Region, Setting::EndpointUrl, Setting::AccessKey, Setting::SecretKey]
        {
            if let Some(given) = self.given(setting) {
                let name = given.origin.name(setting);
                self.problems.push(Problem::other(format!(
                    "{name} has no meaning with -bucket file://…: leave it out, or name a bucket"
                )));
            }
        }
    }

    fn upload(&mut self, patterns: &PatternSet) -> UploadSettings {
        let template =
            self.read(Setting::Path, PathTemplate::parse).unwrap_or_else(PathTemplate::standard);
        let concurrent = self.count(Setting::Concurrent).unwrap_or_default();
        UploadSettings {
            template,
            concurrent: usize::try_from(concurrent).unwrap_or(usize::MAX),
            min_upload_interval: self.duration(Setting::MinUploadInterval),
            put_budget: self.count(Setting::PutBudget),
            check: self
                .choice(Setting::Check, &[CheckLevel::Off, CheckLevel::Quick, CheckLevel::Full]),
            memory_budget: self.size(Setting::MemoryBudget),
            scratch: self.scratch(patterns),
            spool_limit: self.size(Setting::SpoolLimit),
            drain_timeout: self.duration(Setting::DrainTimeout),
        }
    }

    /// The scratch directory: copies of databases in it must never look like databases to the scanner.
    fn scratch(&mut self, patterns: &PatternSet) -> PathBuf {
        let Context { current_directory, temp_directory, user, .. } = self.context;
        let default = current_directory.join(temp_directory).join(format!("ultrasimple-{user}"));
        let scratch = match self.given(Setting::Scratch) {
            Some(_) => self.read(Setting::Scratch, |word| {
                places::no_tilde(word).map(|word| current_directory.join(word))
            }),
            None => Some(default),
        };
        let Some(scratch) = scratch else {
            return PathBuf::new();
        };
        if places::may_match_below(patterns, &scratch) {
            let (origin, word) = self.word(Setting::Scratch).unwrap_or((Origin::Default, ""));
            let shown = if word.is_empty() { scratch.to_string_lossy() } else { word.into() };
            let why = "a -pattern looks for databases there, and would find the copies: choose \
                       another directory, or exclude this one with -exclude";
            self.refuse(Setting::Scratch, &origin, &shown, why);
        }
        scratch
    }

    fn node(&mut self, patterns: &PatternSet) -> Option<NodeSettings> {
        let node = if self.given(Setting::Node).is_some() {
            self.read(Setting::Node, str::parse::<NodeName>)
        } else {
            let host = &self.context.host_name;
            let node = places::node_name(host).parse();
            node.map_err(|_| self.refuse(Setting::Node, &Origin::Default, host, "not a name")).ok()
        };
        let shards = self.count(Setting::Shards);
        let shards = shards.map(|shards| u32::try_from(shards).unwrap_or(u32::MAX));
        let volumes = self.volumes(shards.unwrap_or(1), patterns);
        Some(NodeSettings { node: node?, volumes: volumes.filter(|_| shards.is_some())? })
    }
}
