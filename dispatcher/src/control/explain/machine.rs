//! Codes of the coordination file and of the local machine, which end a command.

use super::Code;

pub(super) static CODES: &[Code] = &[
    Code {
        codes: &["database-unusable", "not-a-database", "database-not-there", "database-failed"],
        cause: "The coordination file cannot be opened, or is not a goldfleet database.",
        remedy: "Check `[coordination] path`, the owner of the file, and that you may write to it.",
    },
    Code {
        codes: &["database-busy"],
        cause: "Another process has held the coordination file for too long.",
        remedy: "Find that process, for example with `fuser`, and run the command again.",
    },
    Code {
        codes: &["database-held"],
        cause: "The process that the message names has held the write lock of the coordination file for too long. If it is a process of \
                goldfleet and of the same user that was stopped, for example by SIGSTOP, it is killed after `worker.lease`.",
        remedy: "End that process, or continue it if it is stopped (`kill -CONT`).",
    },
    Code {
        codes: &["database-gone", "database-damaged"],
        cause: "The coordination file was deleted, replaced or damaged while processes used it.",
        remedy: "Stop every process that uses the file, move it away together with the files that end in `-wal` and `-shm`, and \
                 dispatch again: targets that have the image are skipped.",
    },
    Code {
        codes: &["database-version"],
        cause: "The coordination file was written by another release of goldfleet.",
        remedy: "Use that release, or a new file.",
    },
    Code {
        codes: &["record-too-large"],
        cause: "A record, for example the state of a sync, is longer than the 512 KiB that a row of the tables can have.",
        remedy: "Split the sync into several with fewer snapshots each.",
    },
    Code {
        codes: &["address-unusable"],
        cause: "The address for health checks and metrics cannot be used.",
        remedy: "Find the process that listens there, or set another address.",
    },
    Code {
        codes: &["too-many-requests", "server-busy", "operation-timed-out"],
        cause: "The service limits requests. goldfleet retries such requests, up to `worker.max_attempts` times.",
        remedy: "Run `goldfleet retry JOB` in a while, or lower `worker.requests`.",
    },
    Code {
        codes: &["not-a-page-blob", "message-too-large", "bytes-not-kept", "crc64-mismatch"],
        cause: "A blob or message has another form or content than goldfleet writes.",
        remedy: "Check who else writes to the account, then run `goldfleet retry JOB`.",
    },
];
