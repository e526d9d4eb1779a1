//! A strict reader of OpenMetrics text, and of the classic format of Prometheus: what a scraper could misread
//! fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels, as they were written: `name{a="b"}`.
#[derive(Debug, Default, Clone)]
pub struct Scrape {
    pub samples: BTreeMap<String, f64>,
    /// Types of families.
    pub types: BTreeMap<String, String>,
    /// Keys of labels by family, but for the bounds of buckets.
    pub labels: BTreeMap<String, BTreeSet<String>>,
    /// Whether families have the names of their samples.
    pub classic: bool,
}

impl Scrape {
    /// Reads a whole exposition.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        Self::families(body, false)
    }

    /// The same in the classic format.
    #[track_caller]
    pub fn read_classic(text: &str) -> Self {
        assert!(text.ends_with('\n') && !text.contains("# EOF"), "{text}");
        Self::families(text, true)
    }

    #[track_caller]
    fn families(body: &str, classic: bool) -> Self {
        let (mut scrape, mut family) = (Self::default(), String::new());
        scrape.classic = classic;
        let mut lines = body.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect(line);
                assert!(is_name(name) && !help.is_empty(), "{line}");
                let kind = lines.next().unwrap_or_default();
                let kind = kind.strip_prefix(&format!("# TYPE {name} ")).expect(line);
                let new = scrape.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(new, None, "{name} comes twice");
                family = name.to_owned();
                continue;
            }
            scrape.sample(&family, line);
        }
        scrape.check_histograms();
        scrape
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect(line))),
            None => (series, Vec::new()),
        };
        let suffix = name
            .strip_prefix(family)
            .expect("samples are below their family");
        let allowed: &[&str] = match self.types[family].as_str() {
            "counter" if self.classic && family.ends_with("_total") => &[""],
            "counter" if !self.classic => &["_total"],
            "gauge" => &[""],
            "info" if !self.classic => &["_info"],
            "histogram" => &["_bucket", "_count", "_sum"],
            other => panic!("{other}: {line}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        let keys: BTreeSet<String> = labels.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), labels.len(), "a label comes twice: {line}");
        assert!(labels.iter().all(|(_, value)| !value.is_empty()), "{line}");
        let known = self.labels.entry(family.to_owned()).or_default();
        known.extend(keys.into_iter().filter(|key| key != "le"));
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let new = self.samples.insert(series.to_owned(), value);
        assert_eq!(new, None, "a sample comes twice: {line}");
    }

    fn check_histograms(&self) {
        let is = |name: &String| self.types[name] == "histogram";
        for name in self.types.keys().filter(|name| is(name)) {
            let counts = format!("{name}_count");
            for (series, count) in self.samples.iter().filter(|(s, _)| s.starts_with(&counts)) {
                let labels = series.strip_prefix(&counts).unwrap();
                let labels = labels.trim_matches(['{', '}']);
                let of_this = |series: &&String| {
                    series.starts_with(&format!("{name}_bucket{{")) && series.contains(labels)
                };
                let mut buckets: Vec<(f64, f64)> = self
                    .samples
                    .iter()
                    .filter(|(series, _)| of_this(series))
                    .map(|(series, n)| (bound(series), *n))
                    .collect();
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(
                    buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
                    "{series}"
                );
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{series}");
            }
        }
    }

    /// A sample's value; 0 if it is not there, as what never happened need not be.
    pub fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or(0.0)
    }

    /// The values of all series of this name whose labels contain this.
    pub fn sum(&self, name: &str, with: &str) -> f64 {
        let named = self.samples.iter().filter(|(series, _)| {
            let rest = series.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('{')) && series.contains(with)
        });
        named.map(|(_, value)| value).sum()
    }
}

fn bound(series: &str) -> f64 {
    let (_, bound) = series.split_once("le=\"").expect(series);
    let bound = bound.split_once('"').unwrap().0;
    bound.parse().expect(series)
}

fn is_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    first && name.chars().all(rest)
}

/// `a="b",c="d"`, with `\\`, `\"` and `\n` in values.
fn labels(text: &str) -> Vec<(String, String)> {
    let (mut labels, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"").expect(text);
        assert!(is_name(key), "{text}");
        let (mut value, mut chars, mut end) = (String::new(), after.char_indices(), None);
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    end = Some(i);
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => value.push(c),
                    other => panic!("{other:?} behind \\ in {text}"),
                },
                c => {
                    assert!(!c.is_control(), "{c:?} in {text}");
                    value.push(c);
                }
            }
        }
        labels.push((key.to_owned(), value));
        rest = &after[end.expect(text) + 1..];
        rest = match rest.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            None if rest.is_empty() => rest,
            _ => panic!("{rest:?} in {text}"),
        };
    }
    labels
}
