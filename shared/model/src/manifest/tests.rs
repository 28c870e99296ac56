use proptest::prelude::*;

use super::*;

fn manifest_of(seeds: &[(u64, Vec<(u16, u16)>)]) -> Manifest {
    let mut chunks = Vec::new();
    for (n, (skip, pieces)) in seeds.iter().enumerate() {
        let window = (n as u64 * 3 + skip % 3) * CHUNK_SIZE;
        let (mut offset, mut at) = (window, 0);
        let mut runs = Vec::new();
        for (gap, length) in pieces {
            let start = offset + u64::from(gap % 64) * SECTOR;
            let length = u32::from(length % 64 + 1) * 512;
            let crc64 = start.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            runs.push(Run { offset: start, length, at, crc64, md5: Md5Sum::of(&start.to_le_bytes()) });
            at += length;
            offset = start + u64::from(length);
        }
        chunks.push(ChunkEntry { hash: ChunkHash::of(&n.to_le_bytes()), length: at, runs });
    }
    let size = (seeds.len() as u64 + 1) * 3 * CHUNK_SIZE;
    Manifest { os: OsType::Linux, generation: Generation::V2, size, footer: [7; 512], chunks }
}

fn manifests() -> impl Strategy<Value = Manifest> {
    let pieces = prop::collection::vec((any::<u16>(), any::<u16>()), 1..20);
    prop::collection::vec((any::<u64>(), pieces), 0..12).prop_map(|seeds| manifest_of(&seeds))
}

proptest! {
    #[test]
    fn manifest_round_trips(manifest in manifests()) {
        let text = manifest.encode();
        prop_assert_eq!(Manifest::decode(&text).unwrap(), manifest);
    }

    #[test]
    fn flipped_byte_is_rejected_or_changes_digest(manifest in manifests(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let text = manifest.encode();
        let mut flipped = text.clone();
        flipped[at.index(text.len())] ^= 1_u8 << bit;
        prop_assert_ne!(digest_of(&text), digest_of(&flipped));
        if let Ok(other) = Manifest::decode(&flipped) {
            prop_assert_ne!(other, manifest);
        }
    }

    #[test]
    fn truncation_is_always_detected(manifest in manifests(), at in any::<prop::sample::Index>()) {
        let text = manifest.encode();
        prop_assert!(Manifest::decode(&text[..at.index(text.len())]).is_err());
    }

    #[test]
    fn missing_line_is_always_detected(manifest in manifests(), at in any::<prop::sample::Index>()) {
        let text = String::from_utf8(manifest.encode()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.remove(at.index(lines.len()));
        let shorter = lines.join("\n") + "\n";
        prop_assert!(Manifest::decode(shorter.as_bytes()).is_err());
    }

    #[test]
    fn decoding_unknown_input_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::decode(&bytes);
    }
}

#[test]
fn manifest_errors_name_line() {
    let good = String::from_utf8(manifest_of(&[(0, vec![(0, 0), (8, 1)]), (1, vec![(0, 3)])]).encode()).unwrap();
    let broken = [
        good.replace("\"v\":2", "\"v\":1"),
        good.replace("\"v\":2", "\"v\":3"),
        good.replace(&Md5Sum::of(&0_u64.to_le_bytes()).to_string(), "d41d8cd9"),
        good.replace("goldfleet-manifest", "other"),
        good.replace("{\"chunks\":2}\n", ""),
        good.replace("\"chunks\":2", "\"chunks\":3"),
        good.replace("[[0,512,", "[[1,512,"),
        good.replace("[[0,512,", "[[0,8192,"),
        good.replace("\"os\":\"linux\"", "\"os\":\"beos\""),
        good.replace("\"os\"", "\"name\":\"x\",\"os\""),
        good.replace("[[0,512,", "[[99999999999744,512,"),
    ];
    let messages: Vec<String> = broken
        .iter()
        .map(|text| {
            assert_ne!(*text, good);
            Manifest::decode(text.as_bytes()).unwrap_err().to_string()
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_manifest_of_an_earlier_release_is_refused_with_what_to_do() {
    let footer = "00".repeat(512);
    let hash = "1".repeat(64);
    let text = format!(
        "{{\"format\":\"goldfleet-manifest\",\"v\":1,\"os\":\"linux\",\"generation\":\"v2\",\"size\":4194304,\
         \"footer\":\"{footer}\"}}\n{{\"h\":\"{hash}\",\"r\":[[0,512,\"00000000000000ff\"]]}}\n{{\"chunks\":1}}\n"
    );
    let error = Manifest::decode(text.as_bytes()).unwrap_err();
    assert_eq!((&error, error.code()), (&ManifestError::Older(1), "manifest-version"));
    assert!(error.to_string().contains("upload the image again"), "{error}");
    let later = Manifest::decode(text.replace("\"v\":1", "\"v\":3,\"sparse\":true").as_bytes()).unwrap_err();
    assert_eq!(later, ManifestError::Newer(3));
}

#[test]
fn differences_are_listed() {
    let manifest = manifest_of(&[(0, vec![(0, 0), (8, 1)])]);
    assert!(manifest.differences(&manifest).is_empty());
    let mut footer = manifest.footer;
    footer[100] ^= 1;
    let exported_again = Manifest { footer, ..manifest.clone() };
    assert!(manifest.differences(&exported_again).join(", ").starts_with("the VHD's footer"));
    let other = Manifest { os: OsType::Windows, chunks: Vec::new(), ..manifest.clone() };
    assert_eq!(manifest.differences(&other), ["its operating system (linux, not windows)", "its data"]);
}
