//! What a request cost.

use crate::ai::{Price, Usage};

/// In US dollars; `None` where the tokens that were read are not known.
///
/// Tokens that come from the provider's cache are part of those that were read, and have their own price.
pub(in crate::ai) fn cost(price: &Price, usage: &Usage) -> Option<f64> {
    let input = usage.input?;
    let cached = usage.cached_input.unwrap_or(0).min(input);
    let output = usage.output.unwrap_or(0);
    let millionths = (input - cached) as f64 * price.input
        + cached as f64 * price.cached_input.unwrap_or(price.input)
        + output as f64 * price.output;
    Some(millionths / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: 2.0,
        output: 8.0,
        cached_input: Some(0.5),
    };

    fn usage(input: Option<u64>, output: Option<u64>, cached_input: Option<u64>) -> Usage {
        Usage {
            input,
            output,
            cached_input,
            reasoning: Some(3),
        }
    }

    #[test]
    fn tokens_from_the_cache_have_their_own_price_and_are_not_counted_twice() {
        let table = [
            (usage(Some(1_000_000), Some(0), None), 2.0),
            (usage(Some(1_000_000), Some(1_000_000), None), 10.0),
            (usage(Some(1_000_000), None, Some(400_000)), 1.4),
            // A provider that counts wrongly: never a negative price.
            (usage(Some(10), None, Some(1_000_000)), 0.000_005),
        ];
        for (usage, wanted) in table {
            let cost = cost(&PRICE, &usage).unwrap();
            assert!((cost - wanted).abs() < 1e-12, "{usage:?}: {cost}");
        }
    }

    #[test]
    fn without_a_price_for_them_they_cost_what_the_others_cost() {
        let price = Price {
            cached_input: None,
            ..PRICE
        };
        assert_eq!(
            cost(&price, &usage(Some(1_000_000), None, Some(900_000))),
            Some(2.0)
        );
    }

    #[test]
    fn what_is_not_known_has_no_cost() {
        assert_eq!(cost(&PRICE, &usage(None, Some(7), None)), None);
    }
}
