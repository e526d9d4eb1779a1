//! What is written is there, whole, exactly, and nothing else.

use serde_json::json;

use super::{
    Code, Metric, Place, Vector, Write, assert_same, code, contract, near, options, owned, vector,
};

contract!(
    an_insert_leaves_alone_what_there_is_and_an_upsert_replaces_it_whole,
    vectors_come_back_in_the_order_of_the_ids_asked_for,
    what_is_deleted_is_gone_and_can_come_again,
    values_come_back_bit_by_bit,
    ids_and_namespaces_are_any_text,
    info_follows_each_change,
    pages_go_through_all_in_the_order_of_bytes,
);

async fn an_insert_leaves_alone_what_there_is_and_an_upsert_replaces_it_whole(place: Place) {
    let index = place.open(&options(2, Metric::Euclidean)).await;
    let first = vector("a", &[1.0, 2.0]).within("n").having(json!({"k": 1}));
    assert_eq!(index.insert([first.clone()]).await, ["a"]);
    let ids = index
        .insert([
            vector("c", &[0.0, 0.0]),
            vector("a", &[9.0, 9.0]),
            vector("b", &[3.0, 3.0]),
        ])
        .await;
    assert_eq!(
        ids,
        ["c", "b"],
        "those that it stored, in the request's order"
    );
    assert_same(&index.at(&["a"]).await, &[first]);
    assert_eq!(
        index.insert([vector("a", &[5.0, 5.0])]).await,
        Vec::<String>::new()
    );

    let second = vector("a", &[7.0, 8.0]);
    let ids = index
        .upsert([vector("z", &[1.0, 1.0]), second.clone()])
        .await;
    assert_eq!(ids, ["z", "a"]);
    // Neither the namespace nor the metadata of the old one stays.
    assert_same(&index.at(&["a"]).await, &[second]);
    let mut of_namespace = near(&[0.0, 0.0], 5);
    of_namespace.namespace = Some("n".into());
    assert!(index.found(of_namespace).await.is_empty());
    assert_eq!(index.found(near(&[7.0, 8.0], 1)).await, ["a"]);
    assert_eq!(index.count().await, 4);
}

async fn vectors_come_back_in_the_order_of_the_ids_asked_for(place: Place) {
    let index = place.open(&options(1, Metric::Cosine)).await;
    assert!(index.at(&["a"]).await.is_empty());
    index
        .upsert(["a", "b", "c"].map(|id| vector(id, &[1.0])))
        .await;
    let got = index.at(&["c", "none", "a", "c", "b"]).await;
    let ids: Vec<_> = got.iter().map(|of| of.id.as_str()).collect();
    assert_eq!(ids, ["c", "a", "c", "b"]);
    let many: Vec<_> = (0..21).map(|n| format!("{n}")).collect();
    assert_eq!(code(index.get(many).await), Code::TooMany);
}

async fn what_is_deleted_is_gone_and_can_come_again(place: Place) {
    let index = place.open(&options(1, Metric::DotProduct)).await;
    index
        .upsert(["a", "b", "c"].map(|id| vector(id, &[1.0]).within("n")))
        .await;
    let ids = index.remove(&["c", "none", "a", "c"]).await;
    assert_eq!(ids, ["c", "a"], "those that there were, each once");
    assert_eq!(index.remove(&["c", "a"]).await, Vec::<String>::new());
    assert!(index.at(&["a", "c"]).await.is_empty());
    assert_eq!(index.found(near(&[1.0], 5)).await, ["b"]);
    assert_eq!(index.count().await, 1);
    // An insert of an id that was deleted is one of a new vector.
    assert_eq!(
        index
            .insert([vector("a", &[-1.0]), vector("b", &[-1.0])])
            .await,
        ["a"]
    );
    assert_eq!(index.found(near(&[1.0], 5)).await, ["b", "a"]);
    let many: Vec<_> = (0..101).map(|n| format!("{n}")).collect();
    assert_eq!(code(index.delete(many).await), Code::TooMany);
}

async fn values_come_back_bit_by_bit(place: Place) {
    let odd = [
        0.0,
        -0.0,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::from_bits(0x8000_0001),
        f32::from_bits(0x007f_ffff),
        0.1,
        1.0 / 3.0,
        16_777_217.0,
        f32::EPSILON,
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut all = odd.to_vec();
    while all.len() < 40 * odd.len() {
        let value = f32::from_bits(random.u32(..));
        all.extend(value.is_finite().then_some(value));
    }
    let vectors: Vec<Vector> = all
        .chunks(odd.len())
        .enumerate()
        .map(|(n, values)| vector(format!("{n:03}"), values))
        .collect();
    for metric in Metric::ALL {
        let place = Place::new(place.kind);
        let index = place.open(&options(odd.len(), metric)).await;
        index.upsert(vectors.clone()).await;
        for some in vectors.chunks(20) {
            let ids: Vec<_> = some.iter().map(|of| of.id.as_str()).collect();
            assert_same(&index.at(&ids).await, some);
        }
        let mut query = near(&vectors[7].values, 40);
        query.values = true;
        let mut matches = index.matches(query).await;
        matches.sort_by(|a, b| a.id.cmp(&b.id));
        let found: Vec<_> = matches
            .into_iter()
            .map(|of| vector(of.id, &of.values.unwrap()))
            .collect();
        assert_same(&found, &vectors);
    }
}

async fn ids_and_namespaces_are_any_text(place: Place) {
    let index = place.open(&options(1, Metric::Euclidean)).await;
    let texts = [
        " ",
        "'",
        "\"",
        "\\",
        "%",
        "_",
        "\u{1}",
        "\u{7f}",
        "a",
        "A",
        "a ",
        "é",
        "e\u{301}",
        "\u{e000}",
        "\u{10ffff}",
        "𝄞",
        "日本",
        "\u{feff}",
        "--",
        "\\x00",
        "$1",
        "null",
        "\u{fffd}",
        "0123456789012345678901234567890123456789012345678901234567890123",
    ];
    let vectors: Vec<_> = texts
        .iter()
        .map(|text| vector(*text, &[1.0]).within(text))
        .collect();
    assert_eq!(index.insert(vectors.clone()).await, owned(&texts));
    for some in texts.chunks(20) {
        let got = index.at(some).await;
        assert_eq!(
            got.iter().map(|of| of.id.as_str()).collect::<Vec<_>>(),
            some
        );
    }
    for text in texts {
        let mut query = near(&[1.0], 5);
        query.namespace = Some(text.to_owned());
        let found = index.matches(query).await;
        assert_eq!(found.len(), 1, "{text:?}");
        assert_eq!(
            (found[0].id.as_str(), found[0].namespace.as_deref()),
            (text, Some(text))
        );
    }
    // Ties are in the order of their bytes, not of UTF-16 or of a language.
    let mut ordered = owned(&texts);
    ordered.sort();
    assert_eq!(index.found(near(&[0.0], 100)).await, ordered);
    assert_eq!(index.remove(&texts).await, owned(&texts));
    for wrong in [
        "",
        "\0",
        "01234567890123456789012345678901234567890123456789012345678901234",
    ] {
        assert_eq!(
            code(
                index
                    .write(Write::Upsert, vec![vector(wrong, &[1.0])])
                    .await
            ),
            Code::Id
        );
        let within = vector("a", &[1.0]).within(wrong);
        assert_eq!(
            code(index.write(Write::Upsert, vec![within]).await),
            Code::Id
        );
    }
    assert_eq!(index.count().await, 0);
}

async fn info_follows_each_change(place: Place) {
    let index = place.open(&options(1, Metric::Cosine)).await;
    let info = index.info().await.unwrap();
    assert_eq!(
        (info.vectors, info.dimensions, info.metric),
        (0, 1, Metric::Cosine)
    );
    assert_eq!(info.newest, None);
    let mut seen = Vec::new();
    let newest = async |count: u64, id: String, seen: &mut Vec<String>| {
        let info = index.info().await.unwrap();
        assert_eq!(
            (info.vectors, info.newest.map(|of| of.0)),
            (count, Some(id.clone()))
        );
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4);
        assert!(!seen.contains(&id));
        seen.push(id);
    };
    let a = || vec![vector("a", &[1.0])];
    newest(
        1,
        index.write(Write::Insert, a()).await.unwrap().id,
        &mut seen,
    )
    .await;
    // One that changes nothing is a change as well: its id is looked for.
    newest(
        1,
        index.write(Write::Insert, a()).await.unwrap().id,
        &mut seen,
    )
    .await;
    newest(
        1,
        index.write(Write::Upsert, a()).await.unwrap().id,
        &mut seen,
    )
    .await;
    newest(
        1,
        index.delete(owned(&["none"])).await.unwrap().id,
        &mut seen,
    )
    .await;
    newest(0, index.delete(owned(&["a"])).await.unwrap().id, &mut seen).await;
    let last = seen.last().cloned();
    index.close().await;
    let index = place.open(&options(1, Metric::Cosine)).await;
    assert_eq!(index.info().await.unwrap().newest.map(|of| of.0), last);
}

async fn pages_go_through_all_in_the_order_of_bytes(place: Place) {
    let index = place.open(&options(1, Metric::Cosine)).await;
    assert!(index.store.page(None, 3).await.unwrap().is_empty());
    let mut ids = owned(&["b", "a", "é", "\u{e000}", "𝄞", "Z", "ab", "a b"]);
    index
        .upsert(
            ids.iter()
                .map(|id| vector(id.clone(), &[1.0]).having(json!({"k": id}))),
        )
        .await;
    ids.sort();
    let mut read = Vec::new();
    loop {
        let after = read.last().map(|of: &Vector| of.id.clone());
        let page = index.store.page(after.as_deref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    let expected: Vec<_> = ids
        .iter()
        .map(|id| vector(id.clone(), &[1.0]).having(json!({"k": id})))
        .collect();
    assert_same(&read, &expected);
}
