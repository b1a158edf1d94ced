//! Base64, in which etcd's JSON gateway has keys and values.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..4 {
            let index = usize::try_from((bits >> (18 - 6 * place)) & 63).unwrap_or_default();
            let letter = LETTERS.get(index).copied().unwrap_or_default();
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Letters that are none are left out.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let values = text.bytes().filter_map(|byte| LETTERS.iter().position(|letter| *letter == byte));
    let values: Vec<usize> = values.collect();
    let mut bytes = Vec::new();
    for four in values.chunks(4) {
        let bits = four.iter().fold(0_usize, |bits, value| (bits << 6) | value);
        let bits = bits << (6 * (4 - four.len()));
        for place in 0..four.len().saturating_sub(1) {
            bytes.push(u8::try_from((bits >> (16 - 8 * place)) & 255).unwrap_or_default());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_and_back() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("ab", "YWI="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("{\"a\":1}~", "eyJhIjoxfX4="),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded), plain.as_bytes());
        }
    }
}
