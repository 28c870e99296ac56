//! Rules by which requests fail, are delayed or stay pending.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::answer::Refusal;
use super::bandwidth::Bandwidth;
use super::lock;
use super::request::{Operation, parameter};

/// What a rule does to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It is delayed before anything else happens.
    Delay(Duration),
    /// Its body, the body of its response, and the bytes that the service reads for it from a source share a bandwidth
    /// of this many bytes per second, together with all other requests of the rule.
    Throttle(u64),
    /// The connection is reset, and the request has no effect.
    LoseRequest,
    /// The request has its effect, and then the connection is reset instead of a response.
    LoseAnswer,
    /// The response is an error, and the request has no effect.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Azure's code.
        code: &'static str,
        /// How long the client must wait, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// One bit is flipped in the data that an operation from URL, or a pending copy, reads from its source.
    FlipSourceBit,
    /// One bit is flipped in the body from the client.
    FlipBodyBit,
    /// The CRC-64 of the source in a request is not compared with the data. Azure's Put Page From URL always behaves
    /// like this (azure-sdk-for-go pull request 20616).
    IgnoreSourceCrc64,
    /// The MD5 of the source in a request is not compared with the data.
    IgnoreSourceMd5,
    /// The checksum of the body in a request is not compared with the body.
    IgnoreBodyChecksum,
    /// The response has no checksum of the written data.
    NoChecksums,
    /// A Copy Blob stays pending until the properties of its destination were requested this many times. Then its bytes
    /// are copied: until then the destination has none of them, and the status stays pending during the copy.
    Pending {
        /// The number of polls that find it pending.
        polls: u32,
        /// How it ends.
        end: CopyEnd,
    },
}

/// How a pending copy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyEnd {
    /// All bytes are copied.
    Success,
    /// The status is failed, and no bytes are copied.
    Failed,
}

impl Effect {
    /// 503 `ServerBusy`.
    pub const BUSY: Self = Self::Answer { status: 503, code: "ServerBusy", retry_after: None };
    /// 500 `OperationTimedOut`.
    pub const TIMED_OUT: Self = Self::Answer { status: 500, code: "OperationTimedOut", retry_after: None };

    /// 429 with Retry-After.
    #[must_use]
    pub fn throttled(retry_after: Duration) -> Self {
        Self::Answer { status: 429, code: "TooManyRequests", retry_after: Some(retry_after) }
    }

    /// A Copy Blob that succeeds after a number of polls of its destination.
    #[must_use]
    pub fn pending(polls: u32) -> Self {
        Self::Pending { polls, end: CopyEnd::Success }
    }

    /// Whether no further effect can apply to the request.
    fn is_final(&self) -> bool {
        matches!(self, Self::LoseRequest | Self::LoseAnswer | Self::Answer { .. })
    }
}

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// The requests to which an effect applies. All given conditions must hold.
#[derive(Clone)]
pub struct Rule {
    effect: Effect,
    method: Option<Method>,
    operation: Option<Operation>,
    path: Option<String>,
    comp: Option<String>,
    predicate: Option<Predicate>,
    probability: f64,
    skip: u64,
    times: Option<u64>,
}

impl Rule {
    /// A rule for all requests.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self {
            effect,
            method: None,
            operation: None,
            path: None,
            comp: None,
            predicate: None,
            probability: 1.0,
            skip: 0,
            times: None,
        }
    }

    /// Restricts the rule to a method.
    #[must_use]
    pub fn method(self, method: Method) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Restricts the rule to an operation.
    #[must_use]
    pub fn operation(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Restricts the rule to paths (`/account/container/blob`, as in the request) that match a pattern, in which `*`
    /// matches any text, including `/`.
    #[must_use]
    pub fn path(self, pattern: &str) -> Self {
        Self { path: Some(pattern.to_owned()), ..self }
    }

    /// Restricts the rule to requests whose query has this `comp`. Empty for requests without it.
    #[must_use]
    pub fn comp(self, comp: &str) -> Self {
        Self { comp: Some(comp.to_owned()), ..self }
    }

    /// Restricts the rule to requests for whose method, URL and headers the predicate is true.
    #[must_use]
    pub fn when(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { predicate: Some(Arc::new(predicate)), ..self }
    }

    /// Applies the rule with this probability: 1.0 for always, 0.0 for never.
    #[must_use]
    pub fn probability(self, probability: f64) -> Self {
        Self { probability: probability.clamp(0.0, 1.0), ..self }
    }

    /// Skips this many matching requests first.
    #[must_use]
    pub fn skip(self, requests: u64) -> Self {
        Self { skip: requests, ..self }
    }

    /// Applies the rule at most this many times.
    #[must_use]
    pub fn times(self, requests: u64) -> Self {
        Self { times: Some(requests), ..self }
    }

    fn matches(&self, head: &Parts) -> bool {
        let comp = head.uri.query().and_then(|query| parameter(query, "comp")).unwrap_or_default();
        self.method.as_ref().is_none_or(|method| *method == head.method)
            && self.operation.is_none_or(|operation| operation == Operation::of(head))
            && self.path.as_ref().is_none_or(|pattern| glob(pattern, head.uri.path()))
            && self.comp.as_ref().is_none_or(|wanted| wanted == comp)
            && self.predicate.as_ref().is_none_or(|predicate| predicate(head))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({:?}, {:?}, {:?}, {:?})", self.effect, self.method, self.path, self.comp)
    }
}

/// Identifies a rule that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(usize);

/// The rules of a proxy. Clones share them. They are evaluated in the order in which they were added, until one loses
/// or answers the request.
#[derive(Debug, Clone)]
pub struct Rules(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: StdRng,
    rules: Vec<Added>,
}

#[derive(Debug)]
struct Added {
    rule: Option<Rule>,
    hits: u64,
    line: Option<Arc<Bandwidth>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { random: StdRng::seed_from_u64(0), rules: Vec::new() })))
    }
}

impl Rules {
    /// Sets the seed of the probabilities. The default is 0.
    pub fn seed(&self, seed: u64) {
        lock(&self.0).random = StdRng::seed_from_u64(seed);
    }

    /// Adds a rule after the existing ones.
    pub fn add(&self, rule: Rule) -> RuleId {
        let line = match rule.effect {
            Effect::Throttle(bytes_per_second) => Some(Arc::new(Bandwidth::new(bytes_per_second))),
            _ => None,
        };
        let mut state = lock(&self.0);
        state.rules.push(Added { rule: Some(rule), hits: 0, line });
        RuleId(state.rules.len() - 1)
    }

    /// Removes a rule. The number of its hits is kept.
    pub fn remove(&self, rule: RuleId) {
        if let Some(added) = lock(&self.0).rules.get_mut(rule.0) {
            added.rule = None;
        }
    }

    /// Removes all rules.
    pub fn clear(&self) {
        lock(&self.0).rules.iter_mut().for_each(|added| added.rule = None);
    }

    /// The number of requests to which a rule was applied.
    #[must_use]
    pub fn hits(&self, rule: RuleId) -> u64 {
        lock(&self.0).rules.get(rule.0).map_or(0, |added| added.hits)
    }

    /// Decides what happens to a request.
    pub(super) fn plan(&self, head: &Parts) -> Plan {
        let mut plan = Plan::default();
        let State { random, rules } = &mut *lock(&self.0);
        for Added { rule, hits, line } in rules {
            let Some(rule) = rule.as_mut().filter(|rule| rule.times != Some(0) && rule.matches(head)) else { continue };
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.probability < 1.0 && !random.random_bool(rule.probability) {
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            *hits += 1;
            plan.add(&rule.effect, random.random());
            plan.line = line.clone().or(plan.line);
            if rule.effect.is_final() {
                break;
            }
        }
        plan
    }
}

/// What happens to one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) delay: Duration,
    pub(super) lose_request: bool,
    pub(super) lose_answer: bool,
    pub(super) refusal: Option<Refusal>,
    /// The bit of the source to flip, modulo the number of its bits.
    pub(super) flip: Option<u64>,
    /// The bit of the body to flip, modulo the number of bits of its first part.
    pub(super) flip_body: Option<u64>,
    /// The checksums of the request that are not compared.
    pub(super) ignored: Ignored,
    /// Whether the answer has no checksum.
    pub(super) no_checksums: bool,
    pub(super) pending: Option<(u32, CopyEnd)>,
    /// The bandwidth limit. If several rules apply, that of the last one.
    pub(super) line: Option<Arc<Bandwidth>>,
}

/// Checksums of a request that are not compared with the data.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ignored {
    pub(super) source_crc64: bool,
    pub(super) source_md5: bool,
    pub(super) body: bool,
}

impl Plan {
    fn add(&mut self, effect: &Effect, random: u64) {
        match *effect {
            Effect::Delay(time) => self.delay += time,
            // The bandwidth belongs to the rule, not to the request.
            Effect::Throttle(_) => {}
            Effect::LoseRequest => self.lose_request = true,
            Effect::LoseAnswer => self.lose_answer = true,
            Effect::Answer { status, code, retry_after } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let refusal = Refusal::new(status, code, "A rule of the test's proxy answers so.");
                self.refusal = Some(Refusal { retry_after, ..refusal });
            }
            Effect::FlipSourceBit => self.flip = Some(random),
            Effect::FlipBodyBit => self.flip_body = Some(random),
            Effect::IgnoreSourceCrc64 => self.ignored.source_crc64 = true,
            Effect::IgnoreSourceMd5 => self.ignored.source_md5 = true,
            Effect::IgnoreBodyChecksum => self.ignored.body = true,
            Effect::NoChecksums => self.no_checksums = true,
            Effect::Pending { polls, end } => self.pending = Some((polls, end)),
        }
    }
}

/// Whether a text matches a pattern in which `*` matches any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| glob(after, rest)))
}
