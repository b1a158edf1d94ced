//! What the programs tell of themselves, in numbers and in spans.
//!
//! ```text
//!                      catalogue (all instruments there are)
//!                          ▲             ▲            ▲
//!   Source ──samples──▶ text: /metrics   otlp: push   document: docs/METRICS.md
//!                                           ▲            ▲
//!   Tracer ──spans──────────────────────────┘            │
//!                      catalogue of spans (`ultrasimple-trace`)
//! ```
//!
//! Owns the names, units and meanings, and the formats. Does not own the numbers: whoever counts keeps them, and is
//! asked when somebody wants to know. Only distributions are kept here ([`Histogram`]), as they happen.

pub mod catalogue;
pub mod document;
mod histogram;
mod http_client;
mod otlp;
pub mod process;
mod samples;
pub mod text;

pub use histogram::{Exemplar, Histogram, Reading};
pub use otlp::{Exporter, Otlp, OtlpError, Service, TraceExporter, Traces};
pub use samples::{Sample, Samples, Source, Value};
