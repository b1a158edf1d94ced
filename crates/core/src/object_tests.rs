//! Round trips, golden bytes, and objects that are cut, damaged or not ours.

use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::footer::{CheckResult, SUFFIX_BYTES};
use crate::{Epoch, FileStamp, Fingerprint, FingerprintDigest, ShardId, SourcePath};

const GOLDEN: &[u8] = include_bytes!("../golden/backup-v1.db.lz4");

fn fields() -> FooterFields {
    FooterFields {
        volume: "default".parse().unwrap(),
        path: SourcePath::from_bytes(b"/data/t\xff 1.db"),
        shard: ShardId(7),
        mode: 0o640,
        captured_at: "2024-01-15T13:05:00.25Z".parse().unwrap(),
        node: "node-1".parse().unwrap(),
        epoch: Epoch(3),
        check: CheckResult::Passed,
        fingerprint: None,
    }
}

fn fingerprint() -> FingerprintDigest {
    let main = FileStamp { device: 1, inode: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
    Fingerprint { main, wal: None, journal: false }.digest()
}

fn golden_image() -> Vec<u8> {
    (0..5_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect()
}

#[test]
fn the_stored_form_never_changes() {
    let (object, footer) = encode(&golden_image(), fields()).unwrap();
    if std::env::var_os("ULTRASIMPLE_WRITE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/backup-v1.db.lz4"), &object)
            .unwrap();
    }
    let mut image = Vec::new();
    assert_eq!(decode(GOLDEN, &mut image).unwrap(), footer);
    assert_eq!(image, golden_image());
    let suffix = |object: &[u8]| object[object.len() - 400..].to_vec();
    assert_eq!(suffix(&object), suffix(GOLDEN), "the footer is written another way");
}

#[test]
fn the_stored_form_with_a_fingerprint_never_changes() {
    let fields = FooterFields { fingerprint: Some(fingerprint()), ..fields() };
    let (object, footer) = encode(b"image", fields).unwrap();
    if std::env::var_os("ULTRASIMPLE_WRITE_GOLDEN").is_some() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
        std::fs::write(format!("{folder}/backup-v1-fingerprint.db.lz4"), &object).unwrap();
    }
    let golden = include_bytes!("../golden/backup-v1-fingerprint.db.lz4");
    assert_eq!(decode(&golden[..], io::sink()).unwrap(), footer);
    let suffix = |object: &[u8]| object[object.len() - 300..].to_vec();
    assert_eq!(suffix(&object), suffix(golden), "the footer is written another way");
}

#[test]
fn the_lz4_tool_reads_it() {
    for image in [Vec::new(), golden_image(), vec![0; 5 << 20]] {
        let (object, _) = encode(&image, fields()).unwrap();
        let folder = std::env::temp_dir();
        let file = folder.join(format!("ultrasimple-{}-{}", std::process::id(), image.len()));
        std::fs::write(&file, &object).unwrap();
        let child = Command::new("lz4").arg("-dc").arg(&file).stdout(Stdio::piped()).spawn();
        let output = child.expect("the lz4 command (Debian: lz4)").wait_with_output().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, image);
    }
}

#[test]
fn the_footer_alone_is_read_from_a_suffix() {
    let (object, footer) = encode(&golden_image(), fields()).unwrap();
    let suffix = &object[object.len().saturating_sub(usize::try_from(SUFFIX_BYTES).unwrap())..];
    assert_eq!(Footer::from_suffix(suffix).unwrap().0, footer);
    match Footer::from_suffix(&object[object.len() - 20..]) {
        Err(FooterError::NeedsMore { needed }) => {
            let suffix = &object[object.len() - usize::try_from(needed).unwrap()..];
            assert_eq!(Footer::from_suffix(suffix).unwrap(), (footer, needed));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newer_version_is_refused_clearly() {
    let (_, footer) = encode(b"image", fields()).unwrap();
    let frame = String::from_utf8_lossy(&footer.to_frame().unwrap()[8..]).into_owned();
    let json = frame.split_at(frame.find("\"}").unwrap() + 3).0.replacen(":1,", ":2,", 1);
    assert_eq!(Footer::from_json(json.as_bytes()), Err(FooterError::Newer(2)));
}

proptest! {
    #[test]
    fn round_trip(image in proptest::collection::vec(any::<u8>(), 0..70_000), repeat in 1usize..9) {
        let image = image.repeat(repeat);
        let (object, footer) = encode(&image, fields()).unwrap();
        let mut decoded = Vec::new();
        prop_assert_eq!(decode(&object[..], &mut decoded).unwrap(), footer.clone());
        prop_assert_eq!(&decoded, &image);
        prop_assert_eq!(footer.blake3, ContentHash::of(&image));
    }

    #[test]
    fn any_cut_and_any_flipped_bit_is_noticed(cut in 0usize..1_000, at in 0usize..1_000, bit in 0u8..8) {
        let (object, footer) = encode(&golden_image()[..900], fields()).unwrap();
        let cut = &object[..cut % object.len()];
        prop_assert!(decode(cut, io::sink()).is_err());
        let mut flipped = object.clone();
        flipped[at % object.len()] ^= 1u8 << bit;
        // LZ4 has more than one way to say the same: such a flip changes nothing.
        let mut image = Vec::new();
        if let Ok(found) = decode(&flipped[..], &mut image) {
            prop_assert_eq!((found, image), (footer, golden_image()[..900].to_vec()));
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decode(&bytes[..], io::sink());
        let _ = Footer::from_suffix(&bytes);
    }
}
