//! Metrics as text: OpenMetrics, as the library writes it, and the classic format, which is made of that.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use binding_span::DropReason;
use host::metrics::{Form, Metric, Sample, Snapshot, Value};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::calls::{Binding, OUTCOMES, Side};
use super::catalog;
use super::format::Format;

impl Metrics {
    /// Everything that is counted, now.
    ///
    /// # Errors
    /// None that is known: writing to memory does not fail.
    pub(crate) fn text(self: &Arc<Self>, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Everything(Arc::clone(self))));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(match format {
            Format::Open => out,
            Format::Classic => classic(&out),
        })
    }

    fn write(&self, metric: &'static Metric, mut out: MetricEncoder<'_>) -> fmt::Result {
        if metric.form == Form::Info {
            let version = env!("CARGO_PKG_VERSION");
            return out.encode_info(&[("program", self.program), ("version", version)]);
        }
        self.write_calls(metric, &mut out)?;
        self.write_links(metric, &mut out)?;
        self.write_kinds(metric, &mut out)?;
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        for source in sources.iter().filter(|s| std::ptr::eq(s.metric, metric)) {
            if let Some(value) = (source.read)() {
                write_number(&mut out, metric, &source.labels, value)?;
            }
        }
        Ok(())
    }

    fn write_links(&self, metric: &Metric, out: &mut MetricEncoder<'_>) -> fmt::Result {
        let of = |connected: bool, failing: bool| match metric.name {
            name if name == catalog::LINK_CONNECTED.name => Some(connected),
            name if name == catalog::LINK_FAILING.name => Some(failing),
            _ => None,
        };
        if of(true, true).is_none() {
            return Ok(());
        }
        for (binding, connected, failing) in self.links.rows() {
            if let Some(is) = of(connected, failing) {
                write_number(out, metric, &[("binding", &binding)], u64::from(is))?;
            }
        }
        Ok(())
    }

    fn write_kinds(&self, metric: &'static Metric, out: &mut MetricEncoder<'_>) -> fmt::Result {
        for Sample { labels, value } in self.meters.samples(metric) {
            let labels = labels.iter().map(|(key, value)| (*key, value.as_str()));
            let labels: Vec<Label<'_>> = labels.collect();
            match value {
                Value::Count(count) => write_number(out, metric, &labels, count)?,
                Value::Amount(amount) => write_amount(out, metric, &labels, amount)?,
                Value::Times(took) => write_times(out, &labels, &took)?,
            }
        }
        Ok(())
    }

    fn write_calls(&self, metric: &Metric, out: &mut MetricEncoder<'_>) -> fmt::Result {
        for (label, side) in [
            ("client", &self.calls.client),
            ("server", &self.calls.server),
        ] {
            let side_label = ("side", label);
            match metric.name {
                name if name == catalog::IN_FLIGHT.name => {
                    write_number(out, metric, &[side_label], side.in_flight())?;
                }
                name if name == catalog::SPANS_OPEN.name => {
                    write_number(out, metric, &[side_label], side.spans_open())?;
                }
                _ => write_bindings(metric, side_label, side, out)?,
            }
        }
        Ok(())
    }
}

/// The same in the classic format: there a family has the name of its samples, information is a gauge, and
/// nothing says that this is all.
fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + 1024);
    for line in open.lines().filter(|line| *line != "# EOF") {
        let about = ["# HELP ", "# TYPE "].into_iter().find_map(|what| {
            let (name, says) = line.strip_prefix(what)?.split_once(' ')?;
            let metric = catalog::all().find(|metric| metric.name == name)?;
            Some((what, metric, says))
        });
        match about {
            Some((what, metric, says)) => {
                let (suffix, kind) = match metric.form {
                    Form::Counter => ("_total", "counter"),
                    Form::Info => ("_info", "gauge"),
                    Form::Gauge | Form::Histogram => ("", says),
                };
                let says = if what == "# TYPE " { kind } else { says };
                out.extend([what, metric.name, suffix, " ", says, "\n"]);
            }
            None => out.extend([line, "\n"]),
        }
    }
    out
}

type Label<'a> = (&'a str, &'a str);

fn write_bindings(
    metric: &Metric,
    side_label: Label<'_>,
    side: &Side,
    out: &mut MetricEncoder<'_>,
) -> fmt::Result {
    for row in side.bindings.rows() {
        let labels = [side_label, ("binding", row.label.as_str())];
        write_binding(metric, labels, &row.value, out)?;
    }
    Ok(())
}

fn write_binding(
    metric: &Metric,
    [side, binding]: [Label<'_>; 2],
    of: &Binding,
    out: &mut MetricEncoder<'_>,
) -> fmt::Result {
    let is = |other: &Metric| metric.name == other.name;
    let mut plain = |counter: &AtomicU64| {
        // A binding that was never called has nothing to say.
        match counter.load(Relaxed) {
            0 => Ok(()),
            count => write_number(out, metric, &[side, binding], count),
        }
    };
    if is(&catalog::ENRICHED) {
        plain(&of.enriched)
    } else if is(&catalog::RENAMES) {
        plain(&of.renames)
    } else if is(&catalog::ATTRIBUTES) {
        plain(&of.attributes)
    } else if is(&catalog::DROPPED) {
        let counts = DropReason::ALL.iter().zip(&of.dropped);
        write_counts(
            out,
            metric,
            [side, binding],
            "reason",
            counts.map(|(r, n)| (r.label(), n)),
        )
    } else if is(&catalog::ERRORS) {
        let rows = of.errors.rows();
        let counts = rows.iter().map(|row| (row.label.as_str(), &row.value));
        write_counts(out, metric, [side, binding], "error_type", counts)
    } else if is(&catalog::CALLS) || is(&catalog::DURATION) {
        write_methods(metric, [side, binding], of, out)
    } else {
        Ok(())
    }
}

/// Those of several counts that are not zero.
fn write_counts<'a>(
    out: &mut MetricEncoder<'_>,
    metric: &Metric,
    [side, binding]: [Label<'_>; 2],
    key: &str,
    counts: impl Iterator<Item = (&'a str, &'a AtomicU64)>,
) -> fmt::Result {
    for (label, counter) in counts {
        let count = counter.load(Relaxed);
        if count > 0 {
            write_number(out, metric, &[side, binding, (key, label)], count)?;
        }
    }
    Ok(())
}

fn write_methods(
    metric: &Metric,
    [side, binding]: [Label<'_>; 2],
    of: &Binding,
    out: &mut MetricEncoder<'_>,
) -> fmt::Result {
    for row in of.methods.rows() {
        let (method, value) = (("method", row.label.as_str()), &row.value);
        if metric.form == Form::Histogram {
            let took = value.duration.snapshot();
            if took.count > 0 {
                write_times(out, &[side, binding, method], &took)?;
            }
            continue;
        }
        for ((_, outcome), counter) in OUTCOMES.iter().zip(&value.outcomes) {
            let count = counter.load(Relaxed);
            if count > 0 {
                let labels = [side, binding, method, ("outcome", *outcome)];
                write_number(out, metric, &labels, count)?;
            }
        }
    }
    Ok(())
}

fn write_times(out: &mut MetricEncoder<'_>, labels: &[Label<'_>], took: &Snapshot) -> fmt::Result {
    let mut out = out.encode_family(&labels)?;
    out.encode_histogram::<NoLabelSet>(took.sum, took.count, &took.buckets, None)
}

fn write_number(
    out: &mut MetricEncoder<'_>,
    metric: &Metric,
    labels: &[Label<'_>],
    value: u64,
) -> fmt::Result {
    if labels.is_empty() {
        return write_value(out, metric, value);
    }
    write_value(&mut out.encode_family(&labels)?, metric, value)
}

fn write_amount(
    out: &mut MetricEncoder<'_>,
    metric: &Metric,
    labels: &[Label<'_>],
    amount: f64,
) -> fmt::Result {
    let mut out = out.encode_family(&labels)?;
    match metric.form {
        Form::Counter => out.encode_counter::<NoLabelSet, _, f64>(&amount, None),
        _ => out.encode_gauge(&amount),
    }
}

fn write_value(out: &mut MetricEncoder<'_>, metric: &Metric, value: u64) -> fmt::Result {
    match metric.form {
        Form::Counter => out.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => out.encode_gauge(&value),
    }
}

/// The library asks for metrics through this.
#[derive(Debug)]
struct Everything(Arc<Metrics>);

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in catalog::all() {
            let kind = match metric.form {
                Form::Counter => MetricType::Counter,
                Form::Gauge => MetricType::Gauge,
                Form::Histogram => MetricType::Histogram,
                Form::Info => MetricType::Info,
            };
            let out = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            self.0.write(metric, out)?;
        }
        Ok(())
    }
}
