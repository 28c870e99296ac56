//! Writing a disk as a fixed VHD.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::azure::AzureDisk;
use crate::bytes::index;
use crate::chunk::is_zero;
use crate::formats::vhd::FOOTER_SIZE;
use crate::{DiskError, DiskReader};

/// Bytes that one thread reads and writes at once. Pieces end at multiples of it.
const PIECE: u64 = 2 << 20;

/// The unit in which zeros become holes of the file.
const BLOCK: usize = 4096;

/// Fewer zeros than this between data are written, because a hole costs another call.
const MIN_HOLE: usize = 32 << 10;

/// The maximum number of threads. More do not help: writing is limited by the disk.
const MAX_THREADS: usize = 8;

/// How to write the file.
#[derive(Debug, Clone, Default)]
pub struct ConvertOptions {
    /// Whether an existing file is replaced.
    pub force: bool,
    /// How many threads read and write; by default as many as there are processors, at most 8.
    pub threads: Option<NonZero<usize>>,
    /// Whether to return before the file is on the disk. A power failure may then lose it.
    pub no_sync: bool,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file exists, and replacing it was not allowed.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk cannot be read, or the caller has cancelled the conversion.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// The file's length in bytes: the disk and the footer.
    pub length: u64,
    /// Bytes of data that were written. The rest of the file is a hole.
    pub written: u64,
}

/// Writes a disk to `output` as a fixed VHD. The file is sparse and appears under its name only when it is complete.
///
/// Several threads call `progress` with the bytes that were read and the total. If `cancel` becomes true, the
/// conversion stops and deletes its temporary file.
///
/// # Errors
/// [`ConvertError::Exists`] if `output` exists and `force` is not set; [`ConvertError::Write`] and [`ConvertError::Disk`] if
/// writing or reading fails.
pub fn convert(
    disk: &AzureDisk,
    output: &Path,
    options: &ConvertOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
    cancel: &AtomicBool,
) -> Result<Converted, ConvertError> {
    let failed = |source: io::Error| ConvertError::Write { file: output.to_owned(), source };
    let folder = check_output(output, options.force)?;
    let temporary = tempfile::Builder::new()
        .prefix(".goldfleet-convert-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;
    let length = disk.size() + FOOTER_SIZE as u64;
    temporary.as_file().set_len(length).map_err(failed)?;
    let written = Copy::new(disk, temporary.as_file(), output, progress, cancel)?.run(options)?;
    temporary.as_file().write_all_at(&disk.footer(), disk.size()).map_err(failed)?;
    if !options.no_sync {
        temporary.as_file().sync_all().map_err(failed)?;
    }
    if options.force {
        temporary.persist(output).map_err(|error| failed(error.error))?;
    } else {
        temporary.persist_noclobber(output).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => ConvertError::Exists(output.to_owned()),
            _ => failed(error.error),
        })?;
    }
    if !options.no_sync {
        // The name of the new file is in the folder, which has to be on the disk too.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(Converted { length, written: written + FOOTER_SIZE as u64 })
}

/// Checks that the file can be created, before any work is done. Returns its folder.
fn check_output(output: &Path, force: bool) -> Result<&Path, ConvertError> {
    let failed = |file: &Path, source| ConvertError::Write { file: file.to_owned(), source };
    match std::fs::symlink_metadata(output) {
        Ok(_) if !force => return Err(ConvertError::Exists(output.to_owned())),
        Ok(metadata) if metadata.is_dir() => return Err(failed(output, io::ErrorKind::IsADirectory.into())),
        _ => {}
    }
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The error of creating a temporary file would name that file.
    std::fs::metadata(folder).map_err(|error| failed(folder, error))?;
    Ok(folder)
}

struct Copy<'a> {
    disk: &'a AzureDisk,
    file: &'a File,
    output: &'a Path,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    cancel: &'a AtomicBool,
    /// The offset from which the next piece is searched. `None` after the last piece or an error.
    next: Mutex<Option<u64>>,
    total: u64,
    read: AtomicU64,
    written: AtomicU64,
}

impl<'a> Copy<'a> {
    fn new(
        disk: &'a AzureDisk,
        file: &'a File,
        output: &'a Path,
        progress: &'a (dyn Fn(u64, u64) + Sync),
        cancel: &'a AtomicBool,
    ) -> Result<Self, DiskError> {
        let mut total = 0;
        for range in disk.data_ranges() {
            let range = range?;
            total += range.end - range.start;
            if cancel.load(Ordering::Relaxed) {
                return Err(DiskError::Cancelled);
            }
        }
        let next = Mutex::new(Some(0));
        Ok(Self { disk, file, output, progress, cancel, next, total, read: 0.into(), written: 0.into() })
    }

    fn run(&self, options: &ConvertOptions) -> Result<u64, ConvertError> {
        let available = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let threads = options.threads.map_or(available, NonZero::get);
        std::thread::scope(|scope| {
            let copiers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.copy())).collect();
            copiers.into_iter().try_for_each(|copier| match copier.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        Ok(self.written.load(Ordering::Relaxed))
    }

    /// Takes the next piece.
    fn take(&self) -> Result<Option<Range<u64>>, DiskError> {
        // The position is valid whenever the lock is free, even after a panic in another thread.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = *next else { return Ok(None) };
        let piece = self.disk.next_data(at)?.map(|range| {
            let end = (range.start / PIECE + 1) * PIECE;
            range.start..range.end.min(end)
        });
        *next = piece.as_ref().map(|piece| piece.end);
        Ok(piece)
    }

    fn copy(&self) -> Result<(), ConvertError> {
        let result = self.copy_pieces();
        if result.is_err() {
            // This stops the other threads.
            *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result
    }

    fn copy_pieces(&self) -> Result<(), ConvertError> {
        let mut buffer = vec![0; index(PIECE)];
        while let Some(piece) = self.take()? {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(DiskError::Cancelled.into());
            }
            let length = piece.end - piece.start;
            let bytes = &mut buffer[..index(length)];
            self.disk.read_at(piece.start, bytes)?;
            for run in data_runs(bytes) {
                let at = piece.start + run.start as u64;
                self.written.fetch_add(run.len() as u64, Ordering::Relaxed);
                let failed = |source| ConvertError::Write { file: self.output.to_owned(), source };
                self.file.write_all_at(&bytes[run], at).map_err(failed)?;
            }
            let read = self.read.fetch_add(length, Ordering::Relaxed) + length;
            (self.progress)(read, self.total);
        }
        Ok(())
    }
}

/// The parts of a buffer that are not zero. Short holes between them are included.
fn data_runs(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (block, start) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        if is_zero(block) {
            continue;
        }
        let end = start + block.len();
        match runs.last_mut() {
            Some(last) if start - last.end < MIN_HOLE => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_zero_runs_become_holes() {
        let mut bytes = vec![0; 256 << 10];
        bytes[5] = 1;
        bytes[20 << 10] = 1;
        bytes[200 << 10] = 1;
        assert_eq!(data_runs(&bytes), [0..24 << 10, 200 << 10..204 << 10]);
        assert!(data_runs(&[0; 100]).is_empty());
        assert!(data_runs(&[1; 100]).into_iter().eq(std::iter::once(0..100)));
    }
}
