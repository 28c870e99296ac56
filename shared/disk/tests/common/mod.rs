//! Test images: content, and writers for formats and features that `qemu-img` cannot write.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "tests, each of which uses a part of it")]

pub mod deliver;
pub mod gpt;
pub mod log;
pub mod qemu;
pub mod reseal;
pub mod seeds;
pub mod sums;
pub mod vhd;
pub mod vhdx;

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;

/// The SplitMix64 generator: a seed always gives the same images.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { usize::try_from(self.next() % limit as u64).unwrap() }
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            piece.copy_from_slice(&random[..piece.len()]);
        }
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}

/// A disk's content: data here and there, often up to the last byte.
pub fn content(rng: &mut Rng, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for _ in 0..rng.below(12) {
        let unit = rng.pick(&[1, 512, 4096, 65536]);
        let at = rng.below(size / unit + 1) * unit;
        let length = (rng.below(300 * KIB) + 1).min(size - at.min(size));
        if rng.chance(20) {
            // Data that compresses well.
            bytes[at.min(size)..][..length].fill(rng.pick(&[1, 0x55, 0xff]));
        } else {
            rng.fill(&mut bytes[at.min(size)..][..length]);
        }
    }
    if rng.chance(50) && size > 0 {
        let length = rng.below(size.min(5000)) + 1;
        let start = size - length;
        rng.fill(&mut bytes[start..]);
    }
    bytes
}

/// The peak memory of this process.
pub fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
