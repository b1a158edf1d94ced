//! A span while it goes on, and where the code that runs is in a trace.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::catalogue::{Attribute, SpanType};
use crate::group::{Bundle, Group};
use crate::ids::{Context, SpanId};
use crate::picks::Verdict;
use crate::tracer::Shared;

/// Of a failure's message.
const MESSAGE_BYTES: usize = 1_024;

tokio::task_local! {
    /// The innermost span that the code runs in.
    static HERE: Option<Arc<Place>>;
}

/// A span that others can be children of.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) context: Context,
    /// The wall clock's time at which the monotonic clock was 0, as seen when the trace began: within a trace, times do
    /// not jump.
    pub(crate) zero: SystemTime,
    pub(crate) to: To,
    /// Where its children are picked from, if there may be many.
    pub(crate) group: Option<Arc<Group>>,
}

/// Where ended spans go.
#[derive(Debug, Clone)]
pub(crate) enum To {
    Sink,
    /// Kept or left out with all others there.
    Bundle(Arc<Bundle>),
}

/// What becomes of a span when it ends.
#[derive(Debug)]
pub(crate) enum Role {
    /// It is told.
    Plain,
    /// It is told when all that began in it has ended.
    Group(Arc<Group>),
    /// It is one of many.
    Picked(Arc<Group>, Arc<Bundle>),
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Words.
    Text(String),
    /// One of few words.
    Word(&'static str),
    /// A number.
    Number(i64),
    /// A number that need not be whole.
    Real(f64),
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

/// In seconds.
impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Real(time.as_secs_f64())
    }
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Which.
    pub context: Context,
    /// Within which.
    pub parent: Option<SpanId>,
    /// What it is called, and what it can say.
    pub of: &'static SpanType,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What it says.
    pub attributes: Vec<(&'static Attribute, Value)>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl Finished {
    pub(crate) fn set(&mut self, attribute: &'static Attribute, value: Value) {
        debug_assert!(
            self.of.attributes.contains(&attribute),
            "{} {}",
            self.of.name,
            attribute.name
        );
        self.attributes.push((attribute, value));
    }
}

/// A span that goes on, or nothing: a span that is off. Ends when it is dropped.
#[derive(Debug, Default)]
#[must_use = "it ends when it is dropped"]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    place: Arc<Place>,
    begun: Duration,
    role: Role,
    /// By its kind.
    failure: Option<&'static str>,
    finished: Finished,
}

impl Span {
    /// One that tells nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    pub(crate) fn begin(
        of: &'static SpanType,
        parent: Option<SpanId>,
        place: Place,
        role: Role,
    ) -> Self {
        let begun = place.shared.clock.monotonic();
        let finished = Finished {
            context: place.context,
            parent,
            of,
            start: place.zero.checked_add(begun).unwrap_or(place.zero),
            took: Duration::ZERO,
            attributes: Vec::with_capacity(of.attributes.len()),
            failure: None,
        };
        let place = Arc::new(place);
        Self(Some(Box::new(Open { place, begun, role, failure: None, finished })))
    }

    /// Whether it tells anything: what is dear to find out need not be found out for one that is off.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Says something of it. An attribute is to be said once.
    pub fn set(&mut self, attribute: &'static Attribute, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.finished.set(attribute, value.into());
        }
    }

    /// Says something of it in words.
    pub fn say(&mut self, attribute: &'static Attribute, words: &dyn Display) {
        if let Some(open) = &mut self.0 {
            open.finished.set(attribute, Value::Text(words.to_string()));
        }
    }

    /// Says which object of the store it is about.
    pub fn object(&mut self, location: &str, key: &dyn Display) {
        use crate::catalogue::{KEY, S3_BUCKET, S3_KEY};
        if !self.is_on() {
            return;
        }
        self.say(&KEY, key);
        if let Some(rest) = location.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            self.say(&S3_BUCKET, &bucket);
            match prefix.trim_end_matches('/') {
                "" => self.say(&S3_KEY, key),
                prefix => self.say(&S3_KEY, &format_args!("{prefix}/{key}")),
            }
        }
    }

    /// It failed. `kind`: one of few words, of which the first counts.
    pub fn fail(&mut self, kind: &'static str, why: &dyn Display) {
        let Some(open) = &mut self.0 else { return };
        if open.failure.is_none() {
            open.failure = Some(kind);
            open.finished.set(&crate::catalogue::ERROR_TYPE, Value::Word(kind));
            let mut why = why.to_string();
            why.truncate(why.floor_char_boundary(MESSAGE_BYTES));
            open.finished.failure = Some(why);
        }
    }

    /// Where it is.
    pub fn here(&self) -> Here {
        Here(self.0.as_ref().map(|open| Arc::clone(&open.place)))
    }

    /// Runs `future` in it.
    pub fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.here().within(future)
    }

    /// Runs `work` in it.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        self.here().enter(work)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let Open { place, begun, role, failure, mut finished } = *open;
        finished.took = place.shared.clock.monotonic().saturating_sub(begun);
        match role {
            Role::Plain => place.to.take(&place.shared, vec![finished]),
            Role::Group(group) => place.to.take(&place.shared, group.end(finished)),
            Role::Picked(group, bundle) => {
                let verdict = Verdict { id: place.context.span, took: finished.took, failure };
                let mut spans = bundle.take();
                spans.push(finished);
                // Of a group within a bundle, nothing is picked: so these go where the group goes.
                group.to.take(&place.shared, group.child_ended(verdict, spans));
            }
        }
    }
}

impl To {
    fn take(&self, shared: &Shared, spans: Vec<Finished>) {
        match self {
            _ if spans.is_empty() => {}
            Self::Sink => shared.sink.take(spans),
            Self::Bundle(bundle) => bundle.add(spans),
        }
    }
}

/// Where the code that runs is in a trace; nowhere, where nothing is traced.
#[derive(Debug, Clone, Default)]
pub struct Here(Option<Arc<Place>>);

impl Here {
    /// Begins a child of the span that this is in.
    pub fn child(&self, of: &'static SpanType) -> Span {
        let Some(place) = &self.0 else { return Span::off() };
        let context = Context { span: place.shared.ids.span(), ..place.context };
        let (to, role) = match &place.group {
            Some(group) if of.is_one_of_many => {
                let bundle = Arc::new(Bundle::default());
                group.child_begins();
                (To::Bundle(Arc::clone(&bundle)), Role::Picked(Arc::clone(group), bundle))
            }
            _ => (place.to.clone(), Role::Plain),
        };
        let (shared, zero) = (Arc::clone(&place.shared), place.zero);
        let (group, role) = Group::of(of, &to, role);
        let parent = Some(place.context.span);
        Span::begin(of, parent, Place { shared, context, zero, to, group }, role)
    }

    /// Runs `future` there.
    pub fn within<F: Future>(self, future: F) -> impl Future<Output = F::Output> + use<F> {
        HERE.scope(self.0.or_else(|| here().0), future)
    }

    /// Runs `work` there.
    pub fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        match self.0 {
            Some(place) => HERE.sync_scope(Some(place), work),
            None => work(),
        }
    }
}

/// Where the code that runs is.
pub fn here() -> Here {
    Here(HERE.try_with(Clone::clone).ok().flatten())
}

/// The ids of the span that the code runs in.
pub fn context() -> Option<Context> {
    HERE.try_with(|here| here.as_ref().map(|place| place.context)).ok().flatten()
}

/// Begins a child of the span that the code runs in.
pub fn child(of: &'static SpanType) -> Span {
    here().child(of)
}

impl Bundle {
    pub(crate) fn add(&self, spans: Vec<Finished>) {
        self.lock().extend(spans);
    }

    pub(crate) fn take(&self) -> Vec<Finished> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Finished>> {
        let spans: &Mutex<Vec<Finished>> = &self.0;
        spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
