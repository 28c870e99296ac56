//! Computes checksums again after a change, so that damage reaches the code behind the checks of checksums.

use super::sums::{checksum, crc32, seal};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Computes the checksums of all structures that the bytes seem to have.
pub fn reseal(file: &mut [u8]) {
    if file.starts_with(b"vhdxfile") {
        reseal_vhdx(file);
    }
    reseal_vhd(file);
    reseal_gpt(file);
}

fn le32(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn le64(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

fn reseal_vhdx(file: &mut [u8]) {
    for (at, length) in [(64, 4), (128, 4), (192, 64), (256, 64)] {
        if let Some(structure) = file.get_mut(at * KIB..(at + length) * KIB) {
            seal(structure);
        }
    }
    for at in (MIB..file.len().min(3 * MIB)).step_by(4 * KIB) {
        if file[at..].starts_with(b"loge") && file.len() >= at + 4 * KIB {
            let length = le32(file, at + 8);
            if (64..=MIB).contains(&length)
                && let Some(entry) = file.get_mut(at..at + length)
            {
                seal(entry);
            }
        }
    }
}

fn reseal_vhd(file: &mut [u8]) {
    let Some(footer_at) = file.len().checked_sub(512) else { return };
    if !file[footer_at..].starts_with(b"conectix") {
        return;
    }
    let footer = &mut file[footer_at..];
    let sum = checksum(footer, 64);
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
    let header = usize::try_from(u64::from_be_bytes(footer[16..24].try_into().unwrap())).unwrap();
    let Some(header) = header.checked_add(1024).and_then(|end| file.get_mut(end - 1024..end)) else { return };
    if header.starts_with(b"cxsparse") {
        let sum = checksum(header, 36);
        header[36..40].copy_from_slice(&sum.to_be_bytes());
    }
}

fn reseal_gpt(disk: &mut [u8]) {
    for sector in [512, 4096] {
        for own in [1, (disk.len() / sector).saturating_sub(1)] {
            let at = own * sector;
            if disk.len() < at + 512 || !disk[at..].starts_with(b"EFI PART") {
                continue;
            }
            let (table, length) =
                (le64(disk, at + 72).saturating_mul(sector), le32(disk, at + 80) * le32(disk, at + 84));
            if let Some(entries) = table.checked_add(length).and_then(|end| disk.get(table..end)) {
                let crc = crc32(entries);
                disk[at + 88..at + 92].copy_from_slice(&crc.to_le_bytes());
            }
            let size = le32(disk, at + 12).clamp(92, 512);
            disk[at + 16..at + 20].fill(0);
            let crc = crc32(&disk[at..at + size]);
            disk[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        }
    }
}
