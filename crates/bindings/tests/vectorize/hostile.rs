//! Bodies that are wrong in every way.

use bindings::vectorize::{
    Clause, Code, Filter, IndexOptions, Limits, MetadataLevel, Nearest, Query, Scalar, Test,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, options};

fn vector(members: &str) -> String {
    format!("{{\"vectors\":[{{\"id\":\"a\",\"values\":[1,2,3]}},{{{members}}}]}}")
}

#[tokio::test(flavor = "local")]
async fn vectors_that_cannot_be_are_refused_by_their_places() {
    let world = World::of_default().await;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let of = |values: &str| vector(&format!("\"id\":\"b\",\"values\":{values}"));
    let with = |member: &str| vector(&format!("\"id\":\"b\",\"values\":[1,2,3],{member}"));
    for (body, code, says) in [
        (String::new(), 40023, "the JSON ends too early"),
        ("{\"vectors\":[".into(), 40023, "the JSON ends too early"),
        ("[]".into(), 40023, "write {\"vectors\": [..]}"),
        (
            "{\"vectors\":[],\"vectors\":[]}".into(),
            40023,
            "write {\"vectors\": [..]}",
        ),
        (
            "{\"vectors\":null}".into(),
            40023,
            "write {\"vectors\": [..]}",
        ),
        ("{\"vectors\":[]}".into(), 40023, "no vectors"),
        (
            "{\"vectors\":[{}]} x".into(),
            40023,
            "this is not JSON at line 1 column 18",
        ),
        (
            of("[1,1e400,3]"),
            40012,
            "vectors[1].values[1] is not a finite number",
        ),
        (
            of("[1,1e39,3]"),
            40012,
            "vectors[1].values[1] is not a finite number",
        ),
        (
            of("[1,null,3]"),
            40012,
            "vectors[1].values[1] is not a finite number",
        ),
        (
            of("[1,2,\"NaN\"]"),
            40023,
            "vectors[1].values[2] is not a number",
        ),
        (
            of("[1,\"2\",3]"),
            40023,
            "vectors[1].values[1] is not a number",
        ),
        (
            of("{\"0\":1}"),
            40023,
            "vectors[1].values is not a list of numbers",
        ),
        (of("[1,NaN,3]"), 40023, "this is not JSON at line 1"),
        (of("[1,,3]"), 40023, "this is not JSON at line 1"),
        (
            of("[1,1e400]"),
            40012,
            "invalid vector for id=\"b\", expected 3 dimensions, and got 2 dimensions",
        ),
        (of(&deep), 40023, "vectors[1].values[0] is not a number"),
        (
            "{\"vectors\":[[\"a\",[1,2,3]]]}".into(),
            40023,
            "vectors[0] is not an object with the members",
        ),
        (
            vector("\"id\":1,\"values\":[1,2,3]"),
            40023,
            "vectors[1].id is not a text",
        ),
        (vector("\"values\":[1,2,3]"), 40023, "vectors[1] has no id"),
        (vector("\"id\":\"b\""), 40023, "vectors[1] has no values"),
        (
            vector("\"id\":\"b\",\"id\":\"c\",\"values\":[1,2,3]"),
            40023,
            "vectors[1] is not an object with the members",
        ),
        (
            vector("\"id\":\"b\\u0000\",\"values\":[1,2,3]"),
            40008,
            "id has a NUL character; at vectors[1].id",
        ),
        (
            vector("\"id\":\"\\ud800\",\"values\":[1,2,3]"),
            40023,
            "vectors[1].id is not a text",
        ),
        (
            vector("\"id\":\"\",\"values\":[1,2,3]"),
            40008,
            "id is empty; at vectors[1].id",
        ),
        (
            vector("\"id\":\"a\",\"values\":[1,2,3]"),
            41004,
            "vectors[1] has the id of an earlier one",
        ),
        (
            with("\"namespace\":5"),
            40023,
            "vectors[1].namespace is not a text",
        ),
        (
            with("\"namespace\":\"\""),
            40008,
            "namespace is empty; at vectors[1].namespace",
        ),
        (
            with("\"metadata\":[1]"),
            40023,
            "vectors[1].metadata is not an object",
        ),
        (
            with("\"metadata\":{\"a\":1e400}"),
            40023,
            "vectors[1].metadata has a number that is beyond what float64 has",
        ),
        (
            with("\"metadata\":{\"a\":\"\\udc00\"}"),
            40023,
            "vectors[1].metadata has a text that is not Unicode",
        ),
        (
            with("\"metadata\":{\"\":1}"),
            41000,
            "vectors[1].metadata: a key is empty",
        ),
        (with("\"metadata\":{\"a.b\":1}"), 41000, "a key has a dot"),
        (with("\"metadata\":{\"$a\":1}"), 41000, "begins with $"),
        (
            with(&format!(
                "\"metadata\":{{\"a\":{}1{}}}",
                "[".repeat(200),
                "]".repeat(200)
            )),
            40023,
            "is nested too deep",
        ),
        (
            with(&format!(
                "\"metadata\":{{\"a\":{}1{}}}",
                "[".repeat(20),
                "]".repeat(20)
            )),
            41000,
            "nested more than 16 deep",
        ),
        (
            with(&format!(
                "\"metadata\":{{\"a\":\"{}\"}}",
                "x".repeat(10_300)
            )),
            41000,
            "max is 10240 bytes of JSON, got 10308 bytes",
        ),
        (
            with(&format!(
                "\"metadata\":{{\"a\":\"{}\"}}",
                "x".repeat(100_000)
            )),
            41000,
            "metadata too long; max is 10240 bytes",
        ),
    ] {
        let shown = &body[..body.len().min(200)];
        let (status, answer) = world.post("/insert", body.clone()).await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(code)),
            "{shown}: {answer}"
        );
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(says), "{shown}: {error}");
        assert!(error.len() < 300, "{shown}: {error}");
    }
    assert_eq!(world.rpc("describe", []).await.unwrap()["vectorCount"], 0);
}

#[tokio::test(flavor = "local")]
async fn lines_that_cannot_be_are_refused_by_their_numbers() {
    let world = World::of_default().await;
    let good = "{\"id\":\"a\",\"values\":[1,2,3]}\r\n\r\n";
    for (line, code, says) in [
        ("{\"id\":", 40023, "line 3: the JSON ends too early"),
        ("nonsense", 40023, "line 3: this is not JSON at column"),
        ("{} {}", 40023, "line 3: this is not JSON at column"),
        ("{}", 40023, "line 3, vectors[1] has no id"),
        (
            "{\"id\":\"b\",\"values\":[1,1e400,3]}",
            40012,
            "line 3, vectors[1].values[1] is not a finite number",
        ),
        (
            "{\"id\":\"\",\"values\":[1,2,3]}",
            40008,
            "at line 3, vectors[1].id",
        ),
        (
            "{\"id\":\"a\",\"values\":[1,2,3]}",
            41004,
            "line 3, vectors[1] has the id of an earlier one",
        ),
    ] {
        let (status, answer) = world.lines("/upsert", format!("{good}{line}")).await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(code)),
            "{line}: {answer}"
        );
        assert!(
            answer["error"].as_str().unwrap().contains(says),
            "{line}: {answer}"
        );
    }
    let (_, answer) = world
        .lines("/upsert", b"\xef\xbb\xbf\n{}\n\xff\n".to_vec())
        .await;
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("line 3 is not UTF-8"),
        "{answer}"
    );
}

#[tokio::test(flavor = "local")]
async fn queries_that_cannot_be_are_refused_by_their_members() {
    let world = World::of_default().await;
    let with = |member: &str| format!("{{\"vector\":[1,2,3],{member}}}");
    for (body, code, says) in [
        ("{}".into(), 40026, "there is no vector, and no vectorId"),
        ("[]".into(), 40026, "expected an object"),
        (
            "{\"vector\":[1,2,3],".into(),
            40026,
            "the JSON ends too early",
        ),
        (
            "{\"vector\":[1,\"2\",3]}".into(),
            40026,
            "vector[1]: expected a number",
        ),
        (
            "{\"vector\":[1,1e400,3]}".into(),
            40006,
            "values[1] is not a finite number",
        ),
        (
            "{\"vector\":{}}".into(),
            40026,
            "vector: expected a list of numbers",
        ),
        (
            "{\"vectorId\":\"a\\u0000\"}".into(),
            40008,
            "id has a NUL character; at vectorId",
        ),
        (with("\"vectorId\":\"a\""), 40026, "leave one of them out"),
        (
            with("\"topK\":1,\"topK\":2"),
            40026,
            "topK: it is there twice",
        ),
        (
            with("\"topK\":\"5\""),
            40026,
            "topK: expected a whole number",
        ),
        (
            with("\"topK\":1e400"),
            40026,
            "topK: expected a whole number",
        ),
        (with("\"topK\":1.5"), 40026, "topK: expected a whole number"),
        (with("\"topK\":[5]"), 40026, "topK: expected a whole number"),
        (with("\"topK\":0"), 40025, "top K is at least 1"),
        (
            with("\"namespace\":{}"),
            40026,
            "namespace: expected a text",
        ),
        (
            with("\"returnValues\":\"yes\""),
            40026,
            "returnValues: expected true or false",
        ),
        (
            with("\"returnMetadata\":\"ALL\""),
            40026,
            "returnMetadata: expected value",
        ),
        (with("\"filter\":[1]"), 41001, "the filter is not an object"),
        (with("\"filter\":{}"), 41001, "the filter is empty"),
        (
            with("\"filter\":{\"a\":1e400}"),
            41001,
            "the filter has a number that is beyond what float64 has",
        ),
        (
            with("\"filter\":{\"a\":{\"$like\":\"b\"}}"),
            41001,
            "there is no operator $like",
        ),
        (
            with(&format!("\"filter\":{{\"a\":\"{}\"}}", "x".repeat(2050))),
            41001,
            "less than 2048 bytes",
        ),
        (
            with(&format!("\"filter\":{{\"a\":\"{}\"}}", "x".repeat(50_000))),
            41001,
            "less than 2048 bytes",
        ),
    ] {
        let shown = &body[..body.len().min(200)];
        let (status, answer) = world.post("/query", body.clone()).await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(code)),
            "{shown}: {answer}"
        );
        assert!(
            answer["error"].as_str().unwrap().contains(says),
            "{shown}: {answer}"
        );
    }
    for (body, says) in [
        ("{\"ids\":[1]}", "ids[0]: expected a text"),
        ("{\"ids\":\"a\"}", "ids: expected a list of texts"),
        ("{\"ids\":[\"\\ud800\"]}", "ids[0]: expected a text"),
        ("{\"ids\":[]}", "there are no ids"),
    ] {
        let (status, answer) = world.post("/getByIds", body).await;
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(40026)),
            "{body}: {answer}"
        );
        assert!(
            answer["error"].as_str().unwrap().contains(says),
            "{body}: {answer}"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_that_is_too_long_is_refused_while_it_comes() {
    let limits = Limits {
        max_request_bytes: 10_000,
        ..Limits::default()
    };
    let world = World::new(IndexOptions {
        limits,
        ..options()
    })
    .await;
    let mut stream = world.stream().await;
    let head = "POST /insert HTTP/1.1\r\nhost: v\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..2 {
        let chunk = format!("{:x}\r\n{}\r\n", 6000, " ".repeat(6000));
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    // It has not ended, and never will.
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    let world = World::of_default().await;
    let (status, answer) = world.post("/query", " ".repeat(1_100_000)).await;
    assert_eq!((status, &answer["code"]), (413, &json!(40007)));
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("the body is too long"),
        "{answer}"
    );
}

/// The most memory that this process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
        << 10
}

/// In a process of its own, since other tests take memory as well.
#[test]
fn long_bodies_take_little_memory() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact"])
        .arg("hostile::what_a_long_body_takes_in_memory_is_a_small_multiple_of_it")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && out.contains("1 passed"), "{out}");
}

#[ignore = "another test runs it, in a process of its own"]
#[tokio::test(flavor = "local")]
async fn what_a_long_body_takes_in_memory_is_a_small_multiple_of_it() {
    const LENGTH: usize = 10 << 20;
    let world = World::of_default().await;
    let filled = |head: &str, part: &str, tail: &str| {
        let mut body = String::with_capacity(LENGTH + 100);
        body.push_str(head);
        while body.len() < LENGTH {
            body.push_str(part);
        }
        body.push_str(tail);
        body
    };
    let before = peak();
    for (path, lines, body) in [
        ("/insert", false, filled("{\"vectors\":[", "0,", "0]}")),
        (
            "/insert",
            false,
            filled("{\"x\":[", "[],", "0],\"vectors\":[]}"),
        ),
        ("/insert", true, filled("", "0\n", "")),
        (
            "/insert",
            false,
            filled("{\"vectors\":[{\"id\":\"a\",\"values\":[", "0,", "0]}]}"),
        ),
        (
            "/insert",
            false,
            filled(
                "{\"vectors\":[{\"id\":\"a\",\"values\":[1,2,3],\"metadata\":{\"a\":[",
                "0,",
                "0]}}]}",
            ),
        ),
        ("/getByIds", false, filled("{\"ids\":[", "\"a\",", "\"\"]}")),
        ("/query", false, filled("{\"filter\":[", "0,", "0]}")),
    ] {
        let (status, answer): (u16, Value) = match lines {
            true => world.lines(path, body).await,
            false => world.post(path, body).await,
        };
        assert!((400..500).contains(&status), "{path}: {status} {answer}");
    }
    let grown = peak() - before;
    // The client of this test has the body as well, and sockets have a part of it.
    assert!(grown < 10 * LENGTH, "{} MB", grown >> 20);
}

#[tokio::test(flavor = "local")]
async fn filters_that_were_built_in_rust_are_checked_as_well() {
    let world = World::of_default().await;
    let ask = async |clauses: Vec<Clause>| {
        let query = Query {
            nearest: Nearest::To(vec![1.0, 0.0, 0.0]),
            top_k: 1,
            namespace: None,
            filter: Some(Filter { clauses }),
            values: false,
            metadata: MetadataLevel::None,
        };
        world.index.query(query).await
    };
    let clause = |path: &[&str], test| Clause {
        path: path.iter().map(|&part| part.to_owned()).collect(),
        test,
    };
    let one = || Test::Equal(Scalar::Number(1.0));
    assert!(ask(vec![clause(&["a", "b"], one())]).await.is_ok());
    for (clauses, says) in [
        (vec![], "the filter is empty"),
        (vec![clause(&[], one())], "a key is empty"),
        (vec![clause(&["a", ""], one())], "a key is empty"),
        (vec![clause(&["a.b"], one())], "has a dot"),
        (
            vec![clause(&["a"], Test::Less(Scalar::Number(f64::NAN)))],
            "not finite",
        ),
        (
            vec![clause(&["a"], Test::Less(Scalar::Null))],
            "before or after null",
        ),
        (
            vec![clause(&["a"], Test::In(vec![Scalar::String("\0".into())]))],
            "NUL",
        ),
        (
            vec![clause(&["a"], Test::In(vec![Scalar::Null; 3000]))],
            "too long",
        ),
    ] {
        let error = ask(clauses).await.unwrap_err();
        assert_eq!(error.code, Code::Filter);
        assert!(error.text.contains(says), "{error}");
    }
}
