//! `OTEL_TRACES_SAMPLER` and its argument.

use super::vars::Vars;
use crate::otel::sampler::{RootRule, Sampler};

const NAME: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
const KNOWN: &str = "always_on, always_off, traceidratio, parentbased_always_on, \
                     parentbased_always_off or parentbased_traceidratio";

pub(super) fn read(vars: &mut Vars<'_>) -> Sampler {
    let Some(text) = vars.word(NAME) else {
        return Sampler::default();
    };
    let (by_parent, rule) = match text.strip_prefix("parentbased_") {
        Some(rule) => (true, rule),
        None => (false, text.as_str()),
    };
    let root = match rule {
        "always_on" => RootRule::Always,
        "always_off" => RootRule::Never,
        "traceidratio" => RootRule::Ratio(ratio(vars)),
        _ => {
            vars.ignore(NAME, &text, KNOWN);
            return Sampler::default();
        }
    };
    Sampler { root, by_parent }
}

/// The part of all traces that is recorded; all, unless the argument says otherwise.
fn ratio(vars: &mut Vars<'_>) -> f64 {
    let wanted = "a number from 0 to 1";
    let Some(text) = vars.text(ARGUMENT) else {
        vars.warn(format!(
            "{ARGUMENT} is not set, so all traces are recorded: write {wanted}"
        ));
        return 1.0;
    };
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
        _ => {
            vars.ignore(ARGUMENT, &text, wanted);
            1.0
        }
    }
}
