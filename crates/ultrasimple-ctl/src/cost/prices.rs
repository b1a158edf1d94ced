//! Price lists: what a provider charges. Data in TOML, the built-in ones in `prices.toml`.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ultrasimple_core::config::nearest;

use super::model::Kind;
use crate::Usage;

const BUILT_IN: &str = include_str!("../../prices.toml");
const DEFAULT_PROVIDER: &str = "aws-us-east-1";

/// What one provider charges; see `prices.toml` for each field.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prices {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) as_of: String,
    pub(crate) source: String,
    pub(crate) currency: String,
    pub(crate) put_per_1000: f64,
    pub(crate) list_per_1000: f64,
    pub(crate) get_per_1000: f64,
    pub(crate) delete_per_1000: f64,
    pub(crate) storage_per_gb_month: f64,
    pub(crate) bytes_per_gb: f64,
    #[serde(default)]
    pub(crate) minimum_storage_days: f64,
    #[serde(default)]
    pub(crate) minimum_storage_gb: f64,
    #[serde(default)]
    pub(crate) note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    provider: Vec<Prices>,
}

impl Prices {
    /// For 1,000 requests of this kind.
    pub(crate) fn per_1000(&self, kind: Kind) -> f64 {
        match kind {
            Kind::Put => self.put_per_1000,
            Kind::List => self.list_per_1000,
            Kind::Get => self.get_per_1000,
            Kind::Delete => self.delete_per_1000,
        }
    }

    /// Why it cannot be reckoned with.
    fn problem(&self) -> Option<String> {
        let numbers = [
            ("put_per_1000", self.put_per_1000),
            ("list_per_1000", self.list_per_1000),
            ("get_per_1000", self.get_per_1000),
            ("delete_per_1000", self.delete_per_1000),
            ("storage_per_gb_month", self.storage_per_gb_month),
            ("minimum_storage_days", self.minimum_storage_days),
            ("minimum_storage_gb", self.minimum_storage_gb),
        ];
        let bad = numbers.into_iter().find(|(_, n)| !(0.0..=1e9).contains(n));
        if let Some((field, number)) = bad {
            return Some(format!("{field} = {number} must be from 0 to 1,000,000,000"));
        }
        if !(1.0..=1e15).contains(&self.bytes_per_gb) {
            let number = self.bytes_per_gb;
            return Some(format!("bytes_per_gb = {number} must be 1_073_741_824 or 1_000_000_000"));
        }
        let words = [("name", &self.name), ("title", &self.title), ("currency", &self.currency)];
        let empty = words.into_iter().find(|(_, word)| word.trim().is_empty());
        empty.map(|(field, _)| format!("{field} is empty"))
    }
}

/// The price lists of a file, or the built-in ones.
///
/// # Errors
/// When the file cannot be used.
pub(crate) fn load(file: Option<&Path>) -> Result<Vec<Prices>, Usage> {
    let Some(path) = file else {
        return parse(BUILT_IN).map_err(|why| Usage(format!("the built-in prices: {why}")));
    };
    let refuse = |why: String| Usage(format!("--prices {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    parse(&text).map_err(refuse)
}

fn parse(text: &str) -> Result<Vec<Prices>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    for prices in &file.provider {
        if let Some(why) = prices.problem() {
            return Err(format!("provider {:?}: {why}", prices.name));
        }
        if !names.insert(&prices.name) {
            return Err(format!("provider {:?} is there twice", prices.name));
        }
    }
    if file.provider.is_empty() {
        return Err("it has no [[provider]]".to_owned());
    }
    Ok(file.provider)
}

/// The price list of this name; without a name, the usual one or the only one.
///
/// # Errors
/// When there is none, with those there are.
pub(crate) fn choose(lists: Vec<Prices>, name: Option<&str>) -> Result<Prices, Usage> {
    let names: Vec<String> = lists.iter().map(|prices| prices.name.clone()).collect();
    let is_only = lists.len() == 1;
    let wanted = name.unwrap_or(DEFAULT_PROVIDER);
    let found = lists.into_iter().find(|p| p.name == wanted || (name.is_none() && is_only));
    found.ok_or_else(|| match name {
        Some(name) => {
            let hint = nearest(name, names.iter().map(String::as_str));
            let hint = hint.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let names = names.join(", ");
            Usage(format!(
                "--provider {name:?}: there is no such price list{hint} There are: {names}"
            ))
        }
        None => Usage(format!("--provider is missing: one of {}", names.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[provider]]\nname = 'x'\ntitle = 'X'\nas_of = '2026'\nsource = ''\n\
        currency = 'EUR'\nput_per_1000 = 0.01\nlist_per_1000 = 0.02\nget_per_1000 = 0.003\n\
        delete_per_1000 = 0\nstorage_per_gb_month = 0.05\nbytes_per_gb = 1_000_000_000\n";

    #[test]
    fn the_built_in_lists_are_sound_and_the_usual_one_is_among_them() {
        let lists = load(None).unwrap();
        assert!(lists.len() >= 7);
        assert!(lists.iter().all(|p| !p.as_of.is_empty() && !p.source.is_empty()));
        let aws = choose(lists, None).unwrap();
        assert_eq!(aws.name, "aws-us-east-1");
        let prices = (aws.put_per_1000, aws.list_per_1000, aws.get_per_1000, aws.delete_per_1000);
        assert_eq!(prices, (0.005, 0.005, 0.0004, 0.0));
        assert!((aws.storage_per_gb_month - 0.023).abs() < 1e-12);
    }

    #[test]
    fn a_list_of_ones_own() {
        let lists = parse(ONE).unwrap();
        assert_eq!(choose(lists.clone(), None).unwrap().name, "x");
        assert_eq!(choose(lists, Some("x")).unwrap().currency, "EUR");
        let two = format!("{ONE}{}", ONE.replace("'x'", "'y'"));
        let error = choose(parse(&two).unwrap(), None).unwrap_err().to_string();
        assert!(error.contains("--provider") && error.contains("x, y"), "{error}");
        let error = choose(load(None).unwrap(), Some("wasaby")).unwrap_err().to_string();
        assert!(error.contains("did you mean wasabi?"), "{error}");
    }

    #[test]
    fn what_cannot_be_reckoned_with_is_refused_by_name() {
        for (from, to, named) in [
            ("0.01", "-0.01", "put_per_1000"),
            ("0.05", "nan", "storage_per_gb_month"),
            ("1_000_000_000", "0", "bytes_per_gb"),
            ("put_per_1000", "puts_per_1000", "puts_per_1000"),
            ("get_per_1000 = 0.003\n", "", "get_per_1000"),
            ("'EUR'", "''", "currency"),
            ("[[provider]]", "[[providers]]", "providers"),
        ] {
            let error = parse(&ONE.replace(from, to)).unwrap_err();
            assert!(error.contains(named), "{named}: {error}");
        }
        assert!(parse("provider = []").unwrap_err().contains("no [[provider]]"));
        assert!(parse(&ONE.repeat(2)).unwrap_err().contains("twice"));
    }
}
