//! Small images of all formats, as a start for damaging them.

use std::path::Path;

use super::gpt::{ESP, Gpt, LINUX, Pieces, mbr};
use super::{KIB, MIB, Rng, qemu, vhd, vhdx};

/// A disk with a GPT and some data.
struct SeedDisk {
    size: usize,
    /// First and last sector of each partition.
    partitions: [(u64, u64); 2],
    /// Offset and length of each piece of data in bytes.
    data: [(usize, usize); 3],
}

/// Small seeds need little memory, and random damage hits structures more often.
const DISK: SeedDisk = SeedDisk {
    size: 4 * MIB,
    partitions: [(2048, 4095), (4096, 8000)],
    data: [(MIB, 20 * KIB), (2 * MIB + 512, 70 * KIB), (4 * MIB - 100 * KIB, 4 * KIB)],
};

/// Fuzzing is faster with shorter inputs.
const FUZZ_DISK: SeedDisk = SeedDisk {
    size: 512 * KIB,
    partitions: [(40, 99), (100, 900)],
    data: [(64 * KIB, 2 * KIB), (300 * KIB + 512, 6 * KIB), (440 * KIB, KIB)],
};

/// Names and files. Parents are not among them: a damaged differencing image is opened without its parent or with
/// itself.
pub fn seeds(folder: &Path) -> Vec<(String, Vec<u8>)> {
    images(folder, &DISK, false)
}

/// The same formats with a smaller disk. Blocks of dynamic VHDs are small, and the log of a VHDX begins at the start of
/// its region, where the fuzz target puts it.
pub fn corpus_seeds(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut seeds = images(folder, &FUZZ_DISK, true);
    let mut small = Pieces::new(96 << 10);
    Gpt { attributes: 4, ..Gpt::default() }.write(&mut small, &[(ESP, 40, 60), (LINUX, 61, 150)]);
    seeds.push(("raw small GPT".to_owned(), small.bytes()));
    // A primary partition, and a chain of two logical ones.
    let mut chain = Pieces::new(16 << 10);
    chain.put(0, mbr(&[(0x80, 0x83, 1, 4), (0, 0x05, 5, 20)]));
    chain.put(5 * 512, mbr(&[(0, 0x83, 1, 4), (0, 0x05, 8, 8)]));
    chain.put(13 * 512, mbr(&[(0, 0x83, 1, 4)]));
    seeds.push(("raw MBR".to_owned(), chain.bytes()));
    seeds
}

impl SeedDisk {
    fn bytes(&self, rng: &mut Rng) -> Vec<u8> {
        let mut disk = Pieces::new(self.size as u64);
        let [(esp, esp_end), (linux, linux_end)] = self.partitions;
        Gpt::default().write(&mut disk, &[(ESP, esp, esp_end), (LINUX, linux, linux_end)]);
        for (at, length) in self.data {
            let mut bytes = vec![0; length];
            rng.fill(&mut bytes);
            disk.put(at as u64, bytes);
        }
        disk.bytes()
    }
}

fn images(folder: &Path, disk: &SeedDisk, for_fuzzing: bool) -> Vec<(String, Vec<u8>)> {
    let mut rng = Rng(2026);
    let disk = disk.bytes(&mut rng);
    let raw = folder.join("seed.raw");
    std::fs::write(&raw, &disk).unwrap();
    let mut seeds = vec![("raw".to_owned(), disk.clone())];
    let mut fixed = disk.clone();
    fixed.extend(vhd::FooterSpec::fixed(disk.len() as u64).bytes());
    seeds.push(("fixed VHD".to_owned(), fixed.clone()));
    for n in 0..3 {
        let mut spec = vhd::Dynamic { all_blocks: false, ..vhd::Dynamic::random(&mut rng) };
        if for_fuzzing {
            spec.block_size = 16 * KIB;
        }
        if n == 2 {
            spec.parent = Some(([1; 16], vec![0; disk.len()]));
        }
        seeds.push((format!("dynamic VHD {n}"), spec.write(&disk, &mut rng)));
    }
    for n in 0..4 {
        let mut spec = vhdx::Vhdx { block_size: MIB, log: n % 2 == 0, ..vhdx::Vhdx::random(&mut rng) };
        spec.log_begins_at = for_fuzzing.then_some(0);
        if n == 3 {
            spec.parent = Some(("01010101-0101-0101-0101-010101010101".to_owned(), vec![0; disk.len()]));
        }
        seeds.push((format!("VHDX {n}"), spec.write(&disk, &mut rng)));
    }
    let mut by_qemu = |format: &str, options: &str, more: &[&str]| {
        let image = folder.join("seed.image");
        qemu::convert(&raw, format, options, &image, more);
        seeds.push((format!("{format} {options} {more:?}"), std::fs::read(&image).unwrap()));
        std::fs::remove_file(&image).unwrap();
    };
    by_qemu("qcow2", "cluster_size=512", &[]);
    by_qemu("qcow2", "cluster_size=4096,compat=0.10", &[]);
    by_qemu("qcow2", "cluster_size=65536", &["-c"]);
    by_qemu("qcow2", "cluster_size=65536,compression_type=zstd", &["-c"]);
    by_qemu("qcow2", "cluster_size=16384,extended_l2=on", &[]);
    by_qemu("vhdx", "block_size=1048576", &[]);
    by_qemu("vmdk", "subformat=monolithicSparse", &[]);
    by_qemu("vmdk", "subformat=streamOptimized", &[]);
    by_qemu("vmdk", "subformat=monolithicFlat", &[]);
    for (program, suffix) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst"), ("bzip2", "bz2")] {
        let path = folder.join("seed.stream");
        std::fs::write(&path, &fixed).unwrap();
        qemu::run(program, &["-k", "-f", "-1", qemu::text(&path)]);
        seeds.push((program.to_owned(), std::fs::read(folder.join(format!("seed.stream.{suffix}"))).unwrap()));
    }
    seeds
}
