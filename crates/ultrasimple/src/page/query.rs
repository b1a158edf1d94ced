//! What the address of the page asks for: `?q=` a search, `?db=` one database.

use std::fmt::Write as _;

use ultrasimple_core::SourcePath;

/// Longer ones are cut off.
const MOST_WORDS: usize = 256;
/// No path of a file is longer.
const MOST_PATH: usize = 4_096;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// What is searched for; never empty.
    pub(super) words: Option<String>,
    /// The database to be shown.
    pub(super) database: Option<SourcePath>,
}

impl Query {
    /// Reads what follows the question mark. What means nothing is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.replace('+', " ");
            let bytes = ultrasimple_core::path::decode(&value);
            match name {
                "q" => {
                    let words: String =
                        String::from_utf8_lossy(&bytes).trim().chars().take(MOST_WORDS).collect();
                    query.words = Some(words).filter(|words| !words.is_empty());
                }
                "db" if bytes.starts_with(b"/") && bytes.len() <= MOST_PATH => {
                    query.database = Some(SourcePath::from_bytes(&bytes));
                }
                _ => {}
            }
        }
        query
    }
}

/// The address of the page of one database.
pub(super) fn link_to(path: &SourcePath) -> String {
    let mut link = "/?db=".to_owned();
    for &byte in path.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            link.push(char::from(byte));
        } else {
            let _ = write!(link, "%{byte:02X}");
        }
    }
    link
}

/// Whether `text` has `words` in it somewhere: large letters are small ones, `*` is anything, `?` is any character. In
/// time proportional to the product of both lengths, whatever they are.
pub(super) fn is_in(words: &str, text: &str) -> bool {
    let (words, text) = (words.as_bytes(), text.as_bytes());
    let at = |bytes: &[u8], index: usize| bytes.get(index).copied();
    // As if there were a `*` before and after.
    let (mut word, mut place) = (0, 0);
    let (mut after_star, mut tried) = (0, 0);
    loop {
        match at(words, word) {
            None => return true,
            Some(b'*') => {
                word += 1;
                (after_star, tried) = (word, place);
                continue;
            }
            Some(wanted) => {
                let Some(here) = at(text, place) else { return false };
                if wanted == b'?' {
                    word += 1;
                    place += 1;
                    // The rest of a character.
                    while at(text, place).is_some_and(|byte| byte & 0xc0 == 0x80) {
                        place += 1;
                    }
                    continue;
                }
                if wanted.eq_ignore_ascii_case(&here) {
                    word += 1;
                    place += 1;
                    continue;
                }
            }
        }
        tried += 1;
        (word, place) = (after_star, tried);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_says_what_is_wanted() {
        let path = |bytes: &[u8]| Some(SourcePath::from_bytes(bytes));
        for (text, words, database) in [
            ("", None, None),
            ("q=", None, None),
            ("q=+a+b%20c%2f+", Some("a b c/"), None),
            ("q=%ff&x=1", Some("\u{fffd}"), None),
            ("db=/data/a%0a%ff%3Cb", None, path(b"/data/a\n\xff<b")),
            ("db=relative", None, None),
            ("q=x&db=%2Fd", Some("x"), path(b"/d")),
        ] {
            let query = Query { words: words.map(str::to_owned), database };
            assert_eq!(Query::parse(text), query, "{text}");
        }
        assert_eq!(
            Query::parse(&format!("q={}", "x".repeat(9_999))).words.unwrap().len(),
            MOST_WORDS
        );
        assert_eq!(Query::parse(&format!("db=/{}", "x".repeat(9_999))).database, None);
    }

    #[test]
    fn words_are_found() {
        for (words, text, is_there) in [
            ("", "x", true),
            ("*", "", true),
            ("b", "/abc", true),
            ("ABC", "/abc", true),
            ("bd", "/abcd", false),
            ("b*d", "/abcd", true),
            ("b?d", "/abcd", true),
            ("t?.db", "/té.db", true),
            ("a?b", "/ab", false),
            ("aab", "/aaab", true),
            ("a*b*c*d", "/axbxcxe", false),
            ("d", "", false),
        ] {
            assert_eq!(is_in(words, text), is_there, "{words:?} in {text:?}");
        }
        assert!(!is_in(&"a*".repeat(100), &format!("{}b", "a".repeat(50))));
    }

    proptest! {
        #[test]
        fn plain_words_are_found_where_they_are(text in "[a-c]{0,12}", words in "[a-c]{0,4}") {
            prop_assert_eq!(is_in(&words, &text), text.contains(&words));
        }

        #[test]
        fn a_link_leads_to_its_database(bytes: Vec<u8>) {
            let path = SourcePath::from_bytes(&[b"/", &bytes[..]].concat());
            let link = link_to(&path);
            prop_assert!(link.is_ascii());
            let query = Query::parse(link.strip_prefix("/?").unwrap());
            prop_assert_eq!(query.database, Some(path));
        }
    }
}
