//! The view of a job on a terminal: a bar for each phase and each region, redrawn in place.
//!
//! Each part of a bar has a different character, so that colour is never the only indication.

use std::time::Duration;

use goldfleet_model::text;
use goldfleet_model::text::{HumanBytes, pluralize};
use goldfleet_model::upload::Upload;

use crate::control::status::{Phase, RegionStatus, Status, UploadStatus};
use crate::control::verify::VerifyProgress;
use crate::terminal::color::Tone;

/// The maximum width of a bar.
const MAX_BAR: usize = 32;

/// The minimum width at which a bar is still readable.
const MIN_BAR: usize = 8;

/// The number of lines of the view besides those of regions.
const OTHER_LINES: usize = 8;

/// The available space on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewport {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Whether colours are enabled.
    pub colours: bool,
}

/// A part of a bar: its character, its tone, and its share of the whole.
type BarSegment = (char, Tone, f64);

/// The progress and the rate of an upload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UploadRate {
    /// The part of the file that was read, 0 to 100.
    pub percent: f64,
    /// Seconds since the upload started.
    pub seconds: f64,
    /// Bytes sent per second. None if nothing was sent, or if the upload runs for less than a second.
    pub rate: Option<u64>,
    /// Remaining seconds. None if they cannot be estimated yet.
    pub left: Option<f64>,
}

impl UploadRate {
    /// The progress of an upload that started `seconds` ago. The rate excludes chunks that the store already has: they
    /// are not sent, so a rate limit does not apply to them.
    #[must_use]
    pub fn of(upload: &Upload, seconds: f64) -> Self {
        let percent = UploadStatus::of(upload).percent;
        let is_known = seconds >= 1.0 && percent > 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "shown with a few digits"
        )]
        let rate = (upload.bytes_sent as f64 / seconds.max(1.0)) as u64;
        // What is read ahead of a slow or limited link is not done yet.
        let handled = upload.bytes_sent + upload.bytes_reused;
        let done = if upload.bytes_data == 0 { percent } else { percent * fraction(handled, upload.bytes_data) };
        let left = seconds * (100.0 - done) / done;
        let left = (is_known && left.is_finite()).then_some(left);
        Self { percent, seconds, rate: (is_known && rate > 0).then_some(rate), left }
    }
}

/// The lines of an upload. None is wider than the available space.
#[must_use]
pub fn upload_lines(upload: &Upload, pace: &UploadRate, room: Viewport) -> Vec<String> {
    let left = time_left_suffix(pace.left);
    let head = format!("{} {} uploading: {}{left}", upload.image, upload.version, duration(pace.seconds));
    let bar = room.width.saturating_sub(40).clamp(MIN_BAR, MAX_BAR);
    let drawn = draw_bar(&[('█', Tone::Success, pace.percent / 100.0)], bar, room.colours);
    let read = format!("{} of {}", HumanBytes(upload.bytes_read), HumanBytes(upload.bytes_total));
    let read = truncate(&read, room.width.saturating_sub(bar + 14));
    let [sent, reused] = [upload.bytes_sent, upload.bytes_reused].map(HumanBytes);
    let rate = pace.rate.map_or_else(String::new, |rate| format!(", {}/s", HumanBytes(rate)));
    let sent = format!("{sent} sent, {reused} reused{rate}");
    vec![
        truncate(&head, room.width),
        format!("upload {drawn} {:>4.0}% {read}", pace.percent.floor()),
        format!("       {}", truncate(&sent, room.width.saturating_sub(7))),
    ]
}

/// The line of a verification, not wider than the available space. The bar shows bytes if content is read, else
/// locations.
#[must_use]
pub fn verification_line(seen: &VerifyProgress, rate: u64, room: Viewport) -> String {
    let bar = room.width.saturating_sub(40).clamp(MIN_BAR, MAX_BAR);
    let places = format!("{} of {}", seen.locations, pluralize(seen.places_total, "place"));
    let (done, words) = match seen.bytes_total {
        0 => (fraction(seen.locations as u64, seen.places_total as u64), places),
        total => (fraction(seen.bytes_read, total).min(1.0), format!("{places}, {}/s", HumanBytes(rate))),
    };
    let drawn = draw_bar(&[('█', Tone::Success, done)], bar, room.colours);
    format!("verify {drawn} {:>4.0}% {}", (done * 100.0).floor(), truncate(&words, room.width.saturating_sub(bar + 14)))
}

/// The lines of a job. None is wider than the available space.
#[must_use]
pub fn job_lines(status: &Status, room: Viewport) -> Vec<String> {
    let names = status.regions.keys().map(|name| name.chars().count()).chain([5]).max().unwrap_or(5).min(20);
    // Name, space, bar, space, percent, space, count. The bar gets the remaining width.
    let bar = room.width.saturating_sub(names + 24).clamp(MIN_BAR, MAX_BAR);
    let line = |name: &str, parts: &[BarSegment], percent: f64, rest: &str| {
        let drawn = draw_bar(parts, bar, room.colours);
        let fixed = names + bar + 7;
        let rest = truncate(rest, room.width.saturating_sub(fixed + 1));
        format!("{:names$} {drawn} {percent:>4.0}% {rest}", truncate(name, names)).trim_end().to_owned()
    };
    let mut lines = vec![headline(status, room)];
    let (idle, resume) = status.idle_words().unzip();
    for line in idle.into_iter().chain(resume).chain(status.pending_action()) {
        // Whole, because it names the command to run.
        lines.extend(textwrap::wrap(&line, room.width).into_iter().map(|line| truncate(&line, room.width)));
    }
    for (kind, phase) in status.phases.named().iter().filter(|(_, phase)| phase.total > 0) {
        let percent = phase.percent.floor();
        lines.push(line(kind.as_str(), &phase_segments(phase), percent, &phase_summary(phase)));
    }
    let (shown, left_out) = visible_regions(status, room.height.saturating_sub(OTHER_LINES).max(1));
    if !shown.is_empty() {
        lines.push(String::new());
    }
    for (name, region) in shown {
        let percent = region_percent(region).floor();
        lines.push(line(name, &region_segments(region), percent, &region_summary(region)));
    }
    if left_out > 0 {
        lines.push(truncate(&format!("and {}", pluralize(left_out, "more region")), room.width));
    }
    lines.truncate(room.height);
    lines
}

fn headline(status: &Status, room: Viewport) -> String {
    let left = time_left_suffix(status.seconds_left);
    let rate = status.rate_words().map_or_else(String::new, |rate| format!(", {rate}"));
    let name = truncate(&format!("{} ", status.title), room.width);
    let used = name.chars().count();
    let state = truncate(status.shown_state().as_str(), room.width - used);
    let used = used + state.chars().count();
    let (took, job) = (duration(status.seconds), format!("  (job {})", status.job));
    // The job id is cut last, because other commands need it.
    let details = [format!(": {took}{rate}{left}"), format!(": {took}{left}"), format!(": {took}")];
    let mut whole = details.map(|details| details + &job).into_iter();
    let rest = whole.find(|rest| rest.chars().count() <= room.width - used).unwrap_or(job);
    let rest = truncate(&rest, room.width - used);
    format!("{name}{}{rest}", Tone::from(status.state).colorize(&state, room.colours))
}

/// The regions that fit, ordered by name, and the number of omitted regions. Completed regions are omitted first,
/// because they are the least interesting.
fn visible_regions(status: &Status, room: usize) -> (Vec<(&str, &RegionStatus)>, usize) {
    let mut regions: Vec<_> = status.regions.iter().map(|(name, region)| (name.as_str(), region)).collect();
    let all = regions.len();
    if all > room {
        regions.sort_by_key(|(name, region)| (region.images == region.targets, *name));
        regions.truncate(room.saturating_sub(1));
        regions.sort_by_key(|(name, _)| *name);
    }
    let left_out = all - regions.len();
    (regions, left_out)
}

fn phase_segments(phase: &Phase) -> [BarSegment; 3] {
    let total = phase.total as u64;
    let of = |count: usize| fraction(count as u64, total);
    [
        ('█', Tone::Success, of(phase.succeeded + phase.skipped)),
        ('▓', Tone::Active, of(phase.running)),
        ('x', Tone::Error, of(phase.failed + phase.cancelled)),
    ]
}

/// The operations of a phase that have ended, in a line: `14/21 (4 skipped, 1 failed)`. The numbers are those of the
/// table of `status`.
#[must_use]
pub fn phase_counts(phase: &Phase) -> String {
    let others = others_ended(phase);
    let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    format!("{}/{}{others}", phase.succeeded, phase.total)
}

/// The operations of a phase that have ended and did not succeed.
fn others_ended(phase: &Phase) -> Vec<String> {
    let counts = [(phase.skipped, "skipped"), (phase.failed, "failed"), (phase.cancelled, "cancelled")];
    counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect()
}

fn phase_summary(phase: &Phase) -> String {
    let mut words = vec![format!("{}/{}", phase.succeeded, phase.total)];
    words.extend(others_ended(phase));
    if phase.running > 0 {
        words.push(format!("{} running", phase.running));
    }
    if phase.bytes_total > 0 {
        words.push(format!("{} of {}", HumanBytes(phase.bytes_done), HumanBytes(phase.bytes_total)));
    }
    words.join(", ")
}

fn region_segments(region: &RegionStatus) -> [BarSegment; 3] {
    let targets = region.targets as u64;
    let done = fraction(region.images as u64, targets);
    let failed = fraction(region.failed as u64, targets);
    // Targets whose bytes are copied but that have no image yet.
    let copied = (fraction(region.bytes_done, region.bytes_total) - done).min(1.0 - done - failed).max(0.0);
    [('█', Tone::Success, done), ('▓', Tone::Active, copied), ('x', Tone::Error, failed)]
}

/// Half of a region's progress is its bytes, half its images. A region without bytes to copy has only images.
fn region_percent(region: &RegionStatus) -> f64 {
    let images = fraction(region.images as u64, region.targets as u64);
    let bytes = if region.bytes_total == 0 { images } else { fraction(region.bytes_done, region.bytes_total) };
    (bytes + images) * 50.0
}

fn region_summary(region: &RegionStatus) -> String {
    let failed = if region.failed > 0 { format!(", {} failed", region.failed) } else { String::new() };
    let running = if region.running > 0 { format!(", {} running", region.running) } else { String::new() };
    format!("{}/{}{failed}{running}", region.images, region.targets)
}

/// A bar of several parts. The rest is drawn as remaining work.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "columns")]
fn draw_bar(parts: &[BarSegment], width: usize, colours: bool) -> String {
    let mut bar = String::new();
    let mut used = 0;
    for (letter, tone, part) in parts.iter().filter(|(.., part)| *part > 0.0) {
        // A part that is not empty gets at least one column, and a part that is not complete leaves at least one.
        let columns = ((part * width as f64) as usize).max(1).min(width - used);
        used += columns;
        bar += &tone.colorize(&letter.to_string().repeat(columns), colours);
    }
    bar + &Tone::Muted.colorize(&"░".repeat(width - used), colours)
}

fn truncate(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).take(width).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

/// The end of a sentence, with the remaining time if it is known.
#[must_use]
pub fn time_left_suffix(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(", {} left", duration(seconds)))
}

/// Seconds as text, see [`text::duration`].
#[must_use]
pub fn duration(seconds: f64) -> String {
    text::duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::{Approvals, Phases, ReportedState};
    use goldfleet_model::job::JobState;
    use goldfleet_model::upload::UploadState;
    use jiff::Timestamp;

    fn status(regions: usize) -> Status {
        let phase = |total, succeeded, running, failed, bytes| Phase {
            total,
            succeeded,
            running,
            failed,
            waiting: total - succeeded - running - failed,
            percent: 100.0 * succeeded as f64 / total as f64,
            bytes_total: bytes,
            bytes_done: bytes / 3,
            ..Phase::default()
        };
        let region = |n: usize| RegionStatus {
            targets: 50,
            images: (n * 10).min(50),
            running: 3,
            failed: n % 2,
            bytes_total: 1000,
            bytes_done: 400,
        };
        Status {
            job: "20261121-041502-7f3a".to_owned(),
            title: "ubuntu-24.04 2026.11.1".to_owned(),
            resume: "goldfleet dispatch --image ubuntu-24.04 --version 2026.11.1".to_owned(),
            image: Some("ubuntu-24.04".to_owned()),
            version: Some("2026.11.1".to_owned()),
            digest: None,
            state: ReportedState::Running,
            detail: JobState::Running,
            reason: None,
            approvals: None,
            data_bytes: 0,
            system: None,
            upload: None,
            phases: Phases::for_tests([
                ("seed", phase(3, 3, 0, 0, 3 << 30)),
                ("copy", phase(1800, 700, 64, 2, 1 << 40)),
                ("image", phase(1800, 690, 8, 0, 0)),
            ]),
            disks: Vec::new(),
            regions: (0..regions).map(|n| (format!("region{n:02}"), region(n))).collect(),
            wan_bytes: Default::default(),
            bytes_per_second: 3e8,
            seconds: 75.0,
            seconds_left: Some(130.0),
            unreadable: Vec::new(),
            unreadable_jobs: Vec::new(),
            remarks: Vec::new(),
            unlisted: false,
            failures: Vec::new(),
            findings: Vec::new(),
            planned: true,
            staged_removed: false,
            idle_seconds: None,
            rings: Vec::new(),
            selection: Vec::new(),
            requested_by: None,
            note: None,
            created: Timestamp::UNIX_EPOCH,
            finished: None,
        }
    }

    #[test]
    fn job_view_snapshot() {
        let room = Viewport { width: 100, height: 40, colours: false };
        insta::assert_snapshot!(job_lines(&status(6), room).join("\n"));
    }

    /// All targets of the region had the image before.
    #[test]
    fn a_region_without_bytes_to_copy_is_complete_when_its_images_are() {
        let percent = |images, bytes_total| {
            let region = RegionStatus { targets: 4, images, bytes_total, ..RegionStatus::default() };
            format!("{:.0}", region_percent(&region))
        };
        assert_eq!([percent(4, 0), percent(1, 0), percent(4, 1000)], ["100", "25", "50"]);
    }

    #[test]
    fn headline_names_job_if_width_allows() {
        let headline = |width| headline(&status(1), Viewport { width, height: 24, colours: false });
        assert!(headline(110).ends_with("1 min 15 s, 286.10 MiB/s, 2 min 10 s left  (job 20261121-041502-7f3a)"));
        assert_eq!(
            headline(90),
            "ubuntu-24.04 2026.11.1 running: 1 min 15 s, 2 min 10 s left  (job 20261121-041502-7f3a)"
        );
        assert_eq!(headline(80), "ubuntu-24.04 2026.11.1 running: 1 min 15 s  (job 20261121-041502-7f3a)");
        assert_eq!(headline(60), "ubuntu-24.04 2026.11.1 running  (job 20261121-041502-7f3a)");
        assert_eq!(headline(40), "ubuntu-24.04 2026.11.1 running  (job 20…");
    }

    #[test]
    fn upload_lines_fit_width() {
        let upload = Upload {
            id: "20261121-041502-7f3a".parse().unwrap(),
            image: "ubuntu-24.04".parse().unwrap(),
            version: "2026.11.1".parse().unwrap(),
            state: UploadState::Running,
            bytes_total: 30 << 30,
            bytes_read: 10 << 30,
            bytes_data: 9 << 30,
            bytes_sent: 8 << 30,
            bytes_reused: 1 << 30,
            by: None,
            file: None,
            resume: None,
            origin: None,
            size: None,
            proven_until: None,
            system: None,
            digest: None,
            started: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
        };
        let pace = UploadRate { percent: 33.3, seconds: 75.0, rate: Some(140 << 20), left: Some(150.0) };
        let drawn = |width| upload_lines(&upload, &pace, Viewport { width, height: 24, colours: false });
        for width in [40, 60, 80, 200] {
            assert!(drawn(width).iter().all(|line| line.chars().count() <= width), "{width}: {:#?}", drawn(width));
        }
        insta::assert_snapshot!(drawn(60).join("\n"), @"
        ubuntu-24.04 2026.11.1 uploading: 1 min 15 s, 2 min 30 s le…
        upload ██████░░░░░░░░░░░░░░   33% 10.00 GiB of 30.00 GiB
               8.00 GiB sent, 1.00 GiB reused, 140.00 MiB/s
        ");
    }

    #[test]
    fn job_lines_fit_width() {
        for (width, height, regions) in [(40, 5, 30), (40, 10, 30), (60, 24, 30), (120, 50, 60), (80, 12, 3)] {
            let lines = job_lines(&status(regions), Viewport { width, height, colours: false });
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
            assert!(lines.len() <= height, "{height}: {lines:#?}");
        }
    }

    /// An operator who sees it must be able to read the command.
    #[test]
    fn command_that_resumes_an_idle_job_is_shown_whole() {
        let idle = Status { idle_seconds: Some(28.0), bytes_per_second: 0.0, seconds_left: None, ..status(1) };
        let lines = job_lines(&idle, Viewport { width: 79, height: 24, colours: false });
        insta::assert_snapshot!(lines[..3].join("\n"), @r"
        ubuntu-24.04 2026.11.1 running: 1 min 15 s  (job 20261121-041502-7f3a)
        no worker has been active for 28 s; start 'goldfleet-worker' and 'goldfleet
        dispatcher', or resume with:
        ");
        assert_eq!(lines[3], "goldfleet dispatch --image ubuntu-24.04 --version 2026.11.1 --wait");
    }

    #[test]
    fn counts_are_those_of_the_table() {
        let phase = Phase { total: 21, succeeded: 14, skipped: 4, failed: 1, cancelled: 2, ..Phase::default() };
        assert_eq!(phase_summary(&phase), "14/21, 4 skipped, 1 failed, 2 cancelled");
        assert_eq!(phase_counts(&phase), "14/21 (4 skipped, 1 failed, 2 cancelled)");
    }

    #[test]
    fn upload_of_less_than_a_second_has_no_rate() {
        let mut upload = Upload::new(
            "20261121-041502-7f3a".parse().unwrap(),
            "ubuntu".parse().unwrap(),
            "1".parse().unwrap(),
            Timestamp::UNIX_EPOCH,
        );
        (upload.bytes_total, upload.bytes_read) = (100 << 20, 50 << 20);
        (upload.bytes_data, upload.bytes_sent) = (10 << 20, 10 << 20);
        let early = UploadRate::of(&upload, 0.9);
        assert_eq!((early.rate, early.left), (None, None));
        let later = UploadRate::of(&upload, 2.0);
        assert_eq!((later.rate, later.left), (Some(5 << 20), Some(2.0)));
        // Half of what was read waits to be sent.
        upload.bytes_data = 20 << 20;
        assert_eq!(UploadRate::of(&upload, 2.0).left, Some(6.0));
    }

    #[test]
    fn ring_waiting_for_approval_is_shown_below_headline() {
        let approvals = Some(Approvals { waits: Some(1), given: Vec::new() });
        let told = job_lines(&Status { approvals, ..status(2) }, Viewport { width: 100, height: 24, colours: false });
        assert_eq!(told[1], "ring 1 waits for approval: goldfleet approve 20261121-041502-7f3a");
    }

    #[test]
    fn colors_only_when_enabled() {
        let coloured =
            |colours| job_lines(&status(2), Viewport { width: 80, height: 24, colours }).join("").contains('\u{1b}');
        assert!(coloured(true) && !coloured(false));
    }
}
