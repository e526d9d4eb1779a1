//! Scores, and the order that they make.

use super::super::model::score;
use super::{Metric, Place, contract, near, options, vector};

contract!(
    scores_are_those_of_the_metric,
    vectors_of_length_zero_have_a_score,
    of_those_equally_near_the_first_ids_are_found,
    scores_beyond_float32_are_its_ends,
    scores_of_the_largest_and_smallest_values_are_right,
);

async fn scores_are_those_of_the_metric(place: Place) {
    let cases: [(Metric, [(&str, f32); 4]); 3] = [
        (
            Metric::Cosine,
            [
                ("same", 1.0),
                ("near", 0.6),
                ("square", 0.0),
                ("back", -1.0),
            ],
        ),
        (
            Metric::Euclidean,
            [
                ("same", 2.0),
                ("near", 4.0_f32),
                ("square", 5.0),
                ("back", 6.0),
            ],
        ),
        (
            Metric::DotProduct,
            [
                ("near", -9.0),
                ("same", -15.0),
                ("square", 0.0),
                ("back", 9.0),
            ],
        ),
    ];
    for (metric, mut expected) in cases {
        let place = Place::new(place.kind);
        let index = place.open(&options(2, metric)).await;
        let vectors = [
            vector("same", &[5.0, 0.0]),
            vector("near", &[3.0, 4.0]),
            vector("square", &[0.0, 4.0]),
            vector("back", &[-3.0, 0.0]),
        ];
        index.upsert(vectors).await;
        match metric {
            Metric::Cosine => expected.sort_by(|a, b| b.1.total_cmp(&a.1)),
            _ => expected.sort_by(|a, b| a.1.total_cmp(&b.1)),
        }
        let found = index.matches(near(&[3.0, 0.0], 10)).await;
        let found: Vec<_> = found.iter().map(|of| (of.id.as_str(), of.score)).collect();
        assert_eq!(found.len(), 4);
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.0, expected.0, "{metric}");
            assert!(
                (found.1 - expected.1).abs() < 1e-5,
                "{metric}: {found:?}, not {expected:?}"
            );
        }
        // A score of 0 is not a negative one, which JSON would show.
        assert!(
            found
                .iter()
                .all(|of| of.1 != 0.0 || of.1.is_sign_positive()),
            "{metric}"
        );
        for top_k in 1..4 {
            let ids = index.found(near(&[3.0, 0.0], top_k)).await;
            let first: Vec<_> = expected.iter().map(|of| of.0).take(top_k).collect();
            assert_eq!(ids, first);
        }
    }
}

async fn vectors_of_length_zero_have_a_score(place: Place) {
    for metric in Metric::ALL {
        let place = Place::new(place.kind);
        let index = place.open(&options(2, metric)).await;
        let vectors = [
            ("a", [0.0, 0.0]),
            ("b", [1.0, 1.0]),
            ("c", [-1.0, 0.0]),
            ("d", [-0.0, 0.0]),
            ("e", [0.0, -2.0]),
        ];
        index
            .upsert(vectors.map(|(id, values)| vector(id, &values)))
            .await;
        for to in [[0.0, 0.0], [-0.0, -0.0], [1.0, 0.0]] {
            let mut expected: Vec<_> = vectors
                .iter()
                .map(|(id, values)| (*id, score(metric, &to, values)))
                .collect();
            match metric {
                Metric::Cosine => expected.sort_by(|a, b| b.1.total_cmp(&a.1)),
                _ => expected.sort_by(|a, b| a.1.total_cmp(&b.1)),
            }
            let found = index.matches(near(&to, 10)).await;
            assert_eq!(found.len(), 5, "{metric} {to:?}");
            for (found, (id, score)) in found.iter().zip(expected) {
                assert_eq!(found.id, id, "{metric} {to:?}");
                assert!(
                    (found.score - score).abs() < 1e-6,
                    "{metric} {to:?}: {found:?}"
                );
                assert!(found.score != 0.0 || found.score.is_sign_positive());
            }
        }
    }
}

async fn of_those_equally_near_the_first_ids_are_found(place: Place) {
    for metric in Metric::ALL {
        let place = Place::new(place.kind);
        let index = place.open(&options(3, metric)).await;
        let values = [0.3, -0.7, 0.2];
        let mut ids: Vec<_> = (0..60)
            .map(|n| format!("{}{n}", ["z", "é", "A", "𝄞"][n % 4]))
            .collect();
        index
            .upsert(ids.iter().map(|id| vector(id.clone(), &values)))
            .await;
        index
            .upsert([
                vector("\u{10ffff}", &[0.3, -0.7, 0.2]),
                vector("first", &[0.6, -1.4, 0.4]),
            ])
            .await;
        ids.push("\u{10ffff}".to_owned());
        ids.sort();
        for top_k in [1, 7, 50] {
            let mut query = near(&values, top_k);
            let found = index.found(query.clone()).await;
            let ties: Vec<_> = found.into_iter().filter(|id| id != "first").collect();
            assert_eq!(ties, ids[..ties.len()], "{metric}");
            assert!(ties.len() + 1 >= top_k);
            query.values = true;
            let same = index.matches(query).await;
            assert_eq!(same.len(), top_k);
        }
    }
}

async fn scores_beyond_float32_are_its_ends(place: Place) {
    let cases = [
        (Metric::DotProduct, [f32::MAX, f32::MAX], f32::MIN),
        (Metric::DotProduct, [f32::MIN, f32::MIN], f32::MAX),
        (Metric::Euclidean, [f32::MIN, f32::MIN], f32::MAX),
    ];
    for (metric, values, expected) in cases {
        let place = Place::new(place.kind);
        let index = place.open(&options(2, metric)).await;
        index
            .upsert([vector("far", &values), vector("zero", &[0.0, 0.0])])
            .await;
        let found = index.matches(near(&[f32::MAX, f32::MAX], 5)).await;
        let far = found.iter().find(|of| of.id == "far").unwrap();
        assert_eq!(
            far.score, expected,
            "{metric}: a number, as JSON has no infinity"
        );
        assert_eq!(found.len(), 2);
    }
}

async fn scores_of_the_largest_and_smallest_values_are_right(place: Place) {
    let vectors = [
        ("huge", [2e30, 0.0]),
        ("tiny", [1e-30, 1e-30]),
        ("plain", [0.5, -0.5]),
        ("most", [f32::MAX, f32::MAX]),
        ("least", [f32::from_bits(1), 0.0]),
        ("mixed", [1e25, 1.0]),
    ];
    for metric in Metric::ALL {
        let place = Place::new(place.kind);
        let index = place.open(&options(2, metric)).await;
        index
            .upsert(vectors.map(|(id, values)| vector(id, &values)))
            .await;
        for (_, to) in vectors {
            let found = index.matches(near(&to, 10)).await;
            assert_eq!(found.len(), vectors.len());
            for found in found {
                let values = vectors.iter().find(|of| of.0 == found.id).unwrap().1;
                let expected = score(metric, &to, &values);
                let difference = (found.score - expected).abs();
                let close = difference <= 1e-5 * expected.abs().max(1e-3);
                assert!(
                    close,
                    "{metric} of {to:?} and {values:?}: {} not {expected}",
                    found.score
                );
            }
        }
    }
}
