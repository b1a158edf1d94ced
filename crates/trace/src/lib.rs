//! What took its time, as spans of traces: what they are called, how they hang together, and which of them are kept.
//!
//! ```text
//!   Tracer ──root, group──▶ Span ──child──▶ Span        (while it goes on; log lines carry its ids)
//!                             │ ended
//!                             ▼
//!                      Picks: which are kept ──▶ Sink   (OTLP: `ultrasimple-telemetry`)
//! ```
//!
//! Owns the catalogue of spans and attributes, and the decision which of ten thousand are kept. Knows nothing of
//! OpenTelemetry. A tracer that is off makes spans that are off: no allocation, no clock, no lock.
//!
//! A span is a small handle. What runs [`Span::within`] it, or in [`Span::enter`], can make children of it with
//! [`child`], wherever it is: functions in between need not hand anything on.

pub mod catalogue;
mod group;
mod ids;
mod picks;
mod span;
mod tracer;

pub use group::{MOST_FAILED, MOST_RANDOM, MOST_SLOW};
pub use ids::{Context, SpanId, TraceId};
pub use span::{Finished, Here, Span, Value, child, context, here};
pub use tracer::{Sampler, Sink, Tracer};
