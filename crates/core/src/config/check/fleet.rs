//! Checks of what concerns other nodes and other hosts: volumes, etcd, HTTP.

use std::path::Path;
use std::time::Duration;

use super::Checker;
use crate::config::places;
use crate::config::settings::{
    EtcdIdentity, EtcdLogin, FleetSettings, HttpSettings, Password, RunMode, Secret,
};
use crate::config::{Group, Origin, Problem, Setting};
use crate::pattern::{Pattern, PatternSet};
use crate::template::PathTemplate;
use crate::{ClusterName, Volume, Volumes};

impl Checker<'_> {
    /// Every word of a repeatable setting, or its default, and where they come from.
    fn words(&self, setting: Setting) -> (Origin, Vec<String>) {
        match self.given(setting) {
            Some(given) => (given.origin.clone(), given.words.clone()),
            None => {
                (Origin::Default, setting.default_word().map(str::to_owned).into_iter().collect())
            }
        }
    }

    pub(super) fn volumes(&mut self, shards: u32, patterns: &PatternSet) -> Option<Volumes> {
        let (origin, words) = self.words(Setting::Volume);
        let mut volumes = Vec::new();
        let mut all_fit = true;
        for word in &words {
            match word.parse::<Volume>() {
                Ok(volume) => volumes.push(volume),
                Err(error) => {
                    self.refuse(Setting::Volume, &origin, word, error.to_string());
                    all_fit = false;
                }
            }
        }
        let volumes = Some(volumes).filter(|_| all_fit)?;
        match Volumes::new(volumes, shards) {
            Ok(volumes) => {
                self.volumes_and_patterns(&origin, &volumes, patterns);
                Some(volumes)
            }
            Err(error) => {
                self.refuse(Setting::Volume, &origin, &words.join(" "), error.to_string());
                None
            }
        }
    }

    /// R12: a directory in which no pattern looks, and a pattern whose databases would be on no volume.
    fn volumes_and_patterns(&mut self, origin: &Origin, volumes: &Volumes, patterns: &PatternSet) {
        let is_absolute = |word: &String| word.starts_with('/');
        if patterns.includes().is_empty() || !self.words(Setting::Pattern).1.iter().all(is_absolute)
        {
            // They depend on the current directory, which is not the daemon's where others check its file.
            return;
        }
        let reaches = |pattern: &Pattern, directory: &Path| {
            let alone = PatternSet::new(vec![pattern.clone()], Vec::new());
            places::may_match_below(&alone, directory)
        };
        for volume in volumes.iter() {
            let Some(root) = &volume.root else { continue };
            if !patterns.includes().iter().any(|pattern| reaches(pattern, root.as_path())) {
                let why = "no -pattern looks for databases in its directory";
                self.refuse(Setting::Volume, origin, &volume.to_string(), why);
            }
        }
        let is_seen = |pattern: &Pattern, volume: &Volume| match &volume.root {
            Some(root) => reaches(pattern, root.as_path()),
            None => true,
        };
        let (origin, _) = self.words(Setting::Pattern);
        for pattern in patterns.includes() {
            if !volumes.iter().any(|volume| is_seen(pattern, volume)) {
                let why = "it finds no database in the directory of any -volume: what it finds would not \
                           be backed up. Add a -volume NAME for all the rest";
                self.refuse(Setting::Pattern, &origin, pattern.as_str(), why);
            }
        }
    }

    /// What is said of the fleet is checked in any case, and refused where there is none.
    pub(super) fn fleet(
        &mut self,
        run: RunMode,
        patterns: &PatternSet,
        template: &PathTemplate,
    ) -> Option<FleetSettings> {
        let etcd = self.etcd();
        let cluster = self.read(Setting::Cluster, str::parse::<ClusterName>);
        let capacity = self.read(Setting::Capacity, str::parse).unwrap_or_default();
        let lease_ttl = self.lease_ttl();
        let allow_unfenced = self.switch(Setting::AllowUnfenced);
        let advertise = self.read(Setting::Advertise, places::check_advertised);
        let ca = self.read(Setting::EtcdCa, places::file);
        let identity = self.identity();
        let login = self.login();
        let Some(etcd) = etcd else {
            self.no_meaning_without_etcd(allow_unfenced);
            return None;
        };
        self.no_meaning_in_a_fleet(run, patterns, template);
        self.certificates_fit(&etcd);
        let cluster = cluster?;
        Some(FleetSettings {
            etcd,
            cluster,
            capacity,
            lease_ttl,
            allow_unfenced,
            advertise,
            ca,
            identity,
            login,
        })
    }

    /// The members of etcd; `None` where none was given. Those that will not do are left out.
    fn etcd(&mut self) -> Option<Vec<String>> {
        let given = self.given(Setting::Etcd)?;
        let mut members = Vec::new();
        // As etcd's own tools take them: several in a word, with commas.
        for word in given.words.iter().flat_map(|word| word.split(',')) {
            match places::check_etcd(word.trim()) {
                Ok(member) => members.push(member),
                Err(why) => self.refuse(Setting::Etcd, &given.origin, word, why),
            }
        }
        if given.words.is_empty() {
            self.refuse(Setting::Etcd, &given.origin, "", "it has no address in it");
        }
        Some(members)
    }

    /// etcd counts in seconds.
    fn lease_ttl(&mut self) -> Duration {
        let ttl = self.duration(Setting::LeaseTtl);
        if ttl.subsec_nanos() != 0
            && let Some((origin, word)) = self.word(Setting::LeaseTtl)
        {
            self.refuse(Setting::LeaseTtl, &origin, word, "it must be whole seconds, such as 10s");
        }
        ttl
    }

    fn identity(&mut self) -> Option<EtcdIdentity> {
        let certificate = self.read(Setting::EtcdCert, places::file);
        let key = self.read(Setting::EtcdKey, places::file);
        self.belong_together(Setting::EtcdCert, &[Setting::EtcdKey]);
        self.belong_together(Setting::EtcdKey, &[Setting::EtcdCert]);
        Some(EtcdIdentity { certificate: certificate?, key: key? })
    }

    fn login(&mut self) -> Option<EtcdLogin> {
        let user = self.read(Setting::EtcdUser, |word| {
            let fits = !word.chars().any(|c| c.is_control() || c.is_whitespace());
            fits.then(|| word.to_owned()).ok_or("it must be a user's name, without spaces")
        });
        let secret = |word: &str| Ok::<_, String>(Secret::new(word.to_owned()));
        let given = self.read(Setting::EtcdPassword, secret).map(Password::Given);
        let file = self.read(Setting::EtcdPasswordFile, places::file).map(Password::File);
        let passwords = [Setting::EtcdPassword, Setting::EtcdPasswordFile];
        self.belong_together(Setting::EtcdUser, &passwords);
        for password in passwords {
            self.belong_together(password, &[Setting::EtcdUser]);
        }
        self.exclude_each_other(Setting::EtcdPassword, Setting::EtcdPasswordFile);
        Some(EtcdLogin { user: user?, password: given.or(file)? })
    }

    /// `setting` is given, but none of `others`.
    fn belong_together(&mut self, setting: Setting, others: &[Setting]) {
        let Some(given) = self.given(setting) else { return };
        if others.iter().all(|&other| self.given(other).is_none()) {
            let others: Vec<_> = others.iter().map(|other| other.flag()).collect();
            let (name, others) = (given.origin.name(setting), others.join(" or "));
            let text = format!("{name} is set, but {others} is not: give both, or neither");
            self.problems.push(Problem::other(text));
        }
    }

    fn exclude_each_other(&mut self, one: Setting, other: Setting) {
        if let (Some(a), Some(b)) = (self.given(one), self.given(other)) {
            let (a, b) = (a.origin.name(one), b.origin.name(other));
            let text = format!("{a} and {b} are both set: leave one of them out");
            self.problems.push(Problem::other(text));
        }
    }

    /// R12: what was asked for explicitly and can have no effect.
    fn no_meaning_without_etcd(&mut self, allow_unfenced: bool) {
        let of_fleet = Setting::ALL.iter().filter(|setting| setting.group() == Group::Fleet);
        for &setting in
            of_fleet.filter(|&&setting| setting != Setting::AllowUnfenced || allow_unfenced)
        {
            if let Some(given) = self.given(setting) {
                let name = given.origin.name(setting);
                let text = format!(
                    "{name} has no meaning without -etcd: leave it out, or say which etcd the fleet \
                     shares"
                );
                self.problems.push(Problem::other(text));
            }
        }
    }

    fn no_meaning_in_a_fleet(
        &mut self,
        run: RunMode,
        patterns: &PatternSet,
        template: &PathTemplate,
    ) {
        if run == RunMode::Once
            && let Some(given) = self.given(Setting::Once)
        {
            let name = given.origin.name(Setting::Once);
            let text = format!(
                "{name} has no meaning with -etcd: a node would give its shards back as soon as it had \
                 them. Leave one of them out"
            );
            self.problems.push(Problem::other(text));
        }
        let is_captured = |pattern: &Pattern| pattern.as_str().contains("{{node}}");
        if template.names("node")
            && !patterns.includes().iter().all(is_captured)
            && let Some((origin, word)) = self.word(Setting::Path)
        {
            let why = "{{node}} has no meaning with -etcd: a database would have other keys whenever \
                       another node backs it up. Use {{volume}}";
            self.refuse(Setting::Path, &origin, word, why);
        }
    }

    fn certificates_fit(&mut self, etcd: &[String]) {
        let secure = etcd.iter().filter(|member| member.starts_with("https://")).count();
        if secure != 0 && secure != etcd.len() {
            let (origin, words) = self.words(Setting::Etcd);
            let why =
                "some are http:// and some https://: etcd's members must all be one of the two";
            self.refuse(Setting::Etcd, &origin, &words.join(" "), why);
        }
        for setting in [Setting::EtcdCa, Setting::EtcdCert, Setting::EtcdKey] {
            if let (0, Some(given)) = (secure, self.given(setting)) {
                let name = given.origin.name(setting);
                let text = format!(
                    "{name} has no meaning with -etcd http://…: leave it out, or use https://"
                );
                self.problems.push(Problem::other(text));
            }
        }
    }

    pub(super) fn http(&mut self, run: RunMode) -> HttpSettings {
        let given = self.given(Setting::Http).is_some();
        let daemon = self.read(Setting::Http, places::http_address).flatten();
        let token_file = self.read(Setting::HttpTokenFile, places::file);
        let open = self.switch(Setting::HttpOpen);
        if open {
            self.exclude_each_other(Setting::HttpOpen, Setting::HttpTokenFile);
        }
        match daemon {
            Some(address) if !address.ip().is_loopback() => {
                if token_file.is_none()
                    && !open
                    && self.given(Setting::HttpTokenFile).is_none()
                    && let Some((origin, word)) = self.word(Setting::Http)
                {
                    let port = address.port();
                    let why = format!(
                        "other hosts reach this address: it needs a token (-http-token-file FILE), or \
                         -http-open where anybody may read; or use 127.0.0.1:{port}"
                    );
                    self.refuse(Setting::Http, &origin, word, why);
                }
            }
            None if given => self.no_meaning_without_http(open),
            _ => {}
        }
        let wanted = match run {
            RunMode::Forever => true,
            RunMode::Once => given,
            RunMode::DryRun => false,
        };
        let limit = self.duration(Setting::ExposureLimit);
        let exposure_limit = Some(limit).filter(|limit| !limit.is_zero());
        HttpSettings { address: daemon.filter(|_| wanted), daemon, token_file, exposure_limit }
    }

    fn no_meaning_without_http(&mut self, open: bool) {
        if self.word(Setting::Http).is_none_or(|(_, word)| word != "off") {
            return;
        }
        for setting in [Setting::HttpTokenFile, Setting::HttpOpen, Setting::Advertise] {
            if let Some(given) = self.given(setting)
                && given.origin != Origin::Default
                && (setting != Setting::HttpOpen || open)
            {
                let name = given.origin.name(setting);
                let text = format!("{name} has no meaning with -http off: leave one of them out");
                self.problems.push(Problem::other(text));
            }
        }
    }
}
