//! Writer for the Prometheus text exposition format, version 0.0.4. Pure.

use std::fmt::{Display, Write as _};

/// `Content-Type` of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Page of metrics.
///
/// Invariant: the description of each family is before its samples. The caller must write each
/// family only once.
#[derive(Debug, Default)]
pub(super) struct MetricsPage(String);

impl MetricsPage {
    /// Begins a gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> MetricFamily<'_> {
        self.family(name, "gauge", help)
    }

    /// Begins a counter. The caller gives a name that ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> MetricFamily<'_> {
        self.family(name, "counter", help)
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) -> MetricFamily<'_> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // A write to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        MetricFamily { page: &mut self.0, name: name.to_owned() }
    }

    /// The finished page.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Metric family: one name with its samples.
pub(super) struct MetricFamily<'page> {
    page: &'page mut String,
    name: String,
}

impl MetricFamily<'_> {
    /// Writes the only sample of the family, without labels.
    pub(super) fn sample(self, value: impl Display) {
        let _ = writeln!(self.page, "{} {value}", self.name);
    }

    /// Writes one of several samples of the family, with labels.
    pub(super) fn labelled_sample(self, labels: &[(&str, &str)], value: impl Display) -> Self {
        let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape_label_value(value)));
        let labels = labels.collect::<Vec<_>>().join(",");
        let _ = writeln!(self.page, "{}{{{labels}}} {value}", self.name);
        self
    }
}

/// Escapes a label value, which can be any text.
fn escape_label_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_description_before_its_samples() {
        let mut page = MetricsPage::default();
        page.gauge("heat", "How warm\\cold\nit is.").sample(3);
        page.counter("drops_total", "Drops.")
            .labelled_sample(&[("reason", "rain"), ("size", "big")], 1)
            .labelled_sample(&[("reason", "")], 2);
        assert_eq!(
            page.into_text(),
            "# HELP heat How warm\\\\cold\\nit is.\n# TYPE heat gauge\nheat 3\n\
             # HELP drops_total Drops.\n# TYPE drops_total counter\n\
             drops_total{reason=\"rain\",size=\"big\"} 1\ndrops_total{reason=\"\"} 2\n"
        );
    }

    #[test]
    fn special_characters_in_a_label_value_are_escaped() {
        let mut page = MetricsPage::default();
        let _ = page.gauge("info", "I.").labelled_sample(&[("name", "a\"b\\c\nd} 1")], 1);
        assert!(page.into_text().ends_with("\ninfo{name=\"a\\\"b\\\\c\\nd} 1\"} 1\n"));
    }
}
