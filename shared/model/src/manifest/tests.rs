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
    Manifest { size, footer: [7; 512], chunks }
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
    fn flipped_bit_is_always_detected(manifest in manifests(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut text = manifest.encode();
        let length = text.len();
        text[at.index(length)] ^= 1_u8 << bit;
        prop_assert!(Manifest::decode(&text).is_err());
    }

    #[test]
    fn swapped_ranges_are_always_detected(
        manifest in manifests(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        length in 1_usize..200,
    ) {
        let text = manifest.encode();
        let (from, to) = (from.index(text.len()), to.index(text.len()));
        let length = length.min(text.len() - from.max(to));
        let mut other = text.clone();
        other[to..to + length].copy_from_slice(&text[from..from + length]);
        prop_assert!(other == text || Manifest::decode(&other).is_err());
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
        good.replace("\"v\":4", "\"v\":1"),
        good.replace("\"v\":4", "\"v\":3"),
        good.replace("\"v\":4", "\"v\":5"),
        good.replace(&Md5Sum::of(&0_u64.to_le_bytes()).to_string(), "d41d8cd9"),
        good.replace("goldfleet-manifest", "other"),
        good.split_inclusive('\n').take(3).collect(),
        good.replace("\"chunks\":2", "\"chunks\":3"),
        good.replace("[[0,512,", "[[1,512,"),
        good.replace("[[0,512,", "[[0,8192,"),
        good.replace("\"size\":37748736", "\"size\":-1"),
        good.replace("\"size\"", "\"name\":\"x\",\"size\""),
        good.replace("[[0,512,", "[[99999999999744,512,"),
        good.replace("\"size\":37748736", "\"size\":37749248"),
    ];
    let (image, version) = ("ubuntu-24.04".parse().unwrap(), "2026.11.1".parse().unwrap());
    let messages: Vec<String> = broken
        .iter()
        .map(|text| {
            assert_ne!(*text, good);
            Manifest::decode(text.as_bytes()).unwrap_err().with_remedy(&image, &version)
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_manifest_of_an_earlier_release_is_refused_with_what_to_do() {
    let footer = "00".repeat(512);
    let hash = "1".repeat(64);
    let md5 = "2".repeat(32);
    let text = |v: &str, run: &str| {
        format!(
            "{{\"format\":\"goldfleet-manifest\",\"v\":{v},\"os\":\"linux\",\"generation\":\"v2\",\"size\":4194304,\
             \"footer\":\"{footer}\"}}\n{{\"h\":\"{hash}\",\"r\":[[0,512,{run}]]}}\n{{\"chunks\":1}}\n"
        )
    };
    let without_md5 = "\"00000000000000ff\"";
    let with_md5 = format!("{without_md5},\"{md5}\"");
    for (version, run) in [(1, without_md5), (2, &with_md5), (3, &with_md5)] {
        let error = Manifest::decode(text(&version.to_string(), run).as_bytes()).unwrap_err();
        assert_eq!((&error, error.code()), (&ManifestError::Older(version), "manifest-version"));
    }
    let later = text("5,\"sparse\":true", &with_md5);
    // Without its hash, the digit of the version may be damaged.
    assert_eq!(Manifest::decode(later.as_bytes()).unwrap_err().code(), "manifest-damaged");
    let hash = blake3::hash(later.as_bytes());
    let later = format!("{later}{{\"b3\":\"{hash}\",\"parts\":2}}\n");
    assert_eq!(Manifest::decode(later.as_bytes()).unwrap_err(), ManifestError::Newer(5));
}

#[test]
fn differences_are_listed() {
    let manifest = manifest_of(&[(0, vec![(0, 0), (8, 1)])]);
    assert!(manifest.differences(&manifest).is_empty());
    let mut footer = manifest.footer;
    footer[100] ^= 1;
    let exported_again = Manifest { footer, ..manifest.clone() };
    assert!(manifest.differences(&exported_again).join(", ").starts_with("the VHD's footer"));
    let other = Manifest { chunks: Vec::new(), ..manifest.clone() };
    assert_eq!(manifest.differences(&other), ["its data"]);
}

#[test]
fn the_name_of_a_manifest_names_version_and_content() {
    let (image, version): (ImageName, ImageVersion) = ("ubuntu-24.04".parse().unwrap(), "2026.11.1".parse().unwrap());
    let name = manifest_name(&image, &version, &digest_of(b"disk"));
    let digits = digest_of(b"disk").to_string()[3..35].to_owned();
    assert_eq!(name, format!("manifests/ubuntu-24.04/2026.11.1/{digits}.jsonl"));
    assert_eq!(ManifestName::parse(&name), Some(ManifestName::Disk(image.clone(), version.clone())));
    let earlier = earlier_manifest_name(&image, &version);
    assert_eq!(ManifestName::parse(&earlier), Some(ManifestName::Earlier(image, version)));
    for other in ["manifests/a.jsonl", "manifests/a/b/c.jsonl", "chunks/1", "manifests/a/1.json"] {
        assert_eq!(ManifestName::parse(other), None, "{other}");
    }
}
