//! What grew from the first third, in which everything finds its size, to the end.

use crate::DISPATCHER;
use crate::sample::{ProcessSample, Sample};

/// By how many KiB a worker's own memory may be larger at the end than a third through, by the straight line that fits
/// best.
const WORKER: f64 = 2048.0;

/// As many KiB for a dispatcher. What jobs have ended it does not read, but for the 200 newest when it plans one: until
/// there are so many, each adds some 3 KiB.
const DISPATCHING: f64 = 1024.0;

/// How large SQLite's log may become, in KiB: it is taken up again at 4 MiB, and may be longer while anyone reads.
const LOG: u64 = 16 << 10;

/// Prints what grew, beside its bound. Returns whether anything grew beyond it.
#[expect(clippy::print_stdout, reason = "a program that prints figures")]
pub(crate) fn report(samples: &[Sample]) -> bool {
    let settled = &samples[samples.len() / 3..];
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return false };
    let minutes = (last.at - first.at).as_secs_f64() / 60.0;
    println!("over the last {minutes:.1} minutes, {} samples:", settled.len());
    let mut over = false;
    let mut judge = |what: String, good: bool| {
        println!("{} {what}", if good { "good:" } else { "OVER:" });
        over |= !good;
    };
    let jobs = float(last.jobs - first.jobs).max(1.0);
    for (n, ProcessSample { name, peak, .. }) in last.processes.iter().enumerate() {
        let most = if *name == DISPATCHER { DISPATCHING } else { WORKER };
        let memory = slope(settled.iter().map(|sample| (minutes_of(sample), float(sample.processes[n].memory))));
        judge(
            format!(
                "{name}: own memory {memory:+.2} KiB a minute, {:+.0} KiB in all (at most {most:.0}); peak {:.1} MiB in all",
                memory * minutes,
                float(*peak) / 1024.0
            ),
            memory * minutes <= most,
        );
        // What is open only for a while comes and goes; what leaks lifts the least there is.
        let least = |samples: &[Sample]| samples.iter().map(|sample| sample.processes[n].handles).min();
        let (before, after) = settled.split_at(settled.len() / 2);
        let (before, after) = (least(before).unwrap_or(0), least(after).unwrap_or(0));
        judge(format!("{name}: at least {before} handles, then at least {after}"), after <= before);
    }
    let log = settled.iter().map(|sample| sample.log).max().unwrap_or(0);
    judge(format!("SQLite's log: at most {log} KiB (at most {LOG})"), log <= LOG);
    let messages = |samples: &[Sample]| samples.iter().map(|sample| sample.messages).max().unwrap_or(0);
    let (before, after) = settled.split_at(settled.len() / 2);
    let (before, after) = (messages(before), messages(after));
    judge(format!("messages between jobs: at most {before}, then at most {after}"), after <= before.max(PER_JOB));
    judge(
        format!("blobs, and what is kept of each: {}, then {}", first.files, last.files),
        last.files <= first.files + first.files / 20,
    );
    println!(
        "kept for good: {:.1} rows and {:.1} KiB of the SQLite file a job",
        float(last.rows - first.rows) / jobs,
        (float(last.database) - float(first.database)) / jobs
    );
    over
}

/// Messages of one job: those that were sent twice may still be there when it has ended.
const PER_JOB: u64 = 40;

fn minutes_of(sample: &Sample) -> f64 {
    sample.at.as_secs_f64() / 60.0
}

/// The slope of the straight line that fits best (least squares).
fn slope(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> = points.collect();
    let count = float(points.len() as u64).max(1.0);
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}
