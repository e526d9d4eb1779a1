//! Values in, values out, and what is said when they do not fit.

use bindings::d1::{Cell, DatabaseOptions, Numbers, Param, QueryError};

use crate::support::{database, database_with, options, text};

#[tokio::test]
async fn every_type_survives_a_round_trip_through_a_column() {
    let db = database();
    db.run("create table kept (value)").await.unwrap();
    let cases = [
        (Param::Null, Cell::Null),
        (Param::from(true), Cell::Integer(1)),
        (Param::from(false), Cell::Integer(0)),
        (Param::from(7), Cell::Integer(7)),
        (Param::from(-1.5), Cell::Real(-1.5)),
        (
            Param::from(9_007_199_254_740_991.0),
            Cell::Integer(9_007_199_254_740_991),
        ),
        (
            Param::from(9_007_199_254_740_992.0),
            Cell::Real(9_007_199_254_740_992.0),
        ),
        (Param::from(f64::NAN), Cell::Null),
        (Param::from(f64::INFINITY), Cell::Real(f64::INFINITY)),
        (Param::from("naïve 😀 \0 end"), text("naïve 😀 \0 end")),
        (Param::from(""), text("")),
        (Param::from(vec![0_u8, 255, 7]), Cell::Blob(vec![0, 255, 7])),
        (Param::from(Vec::<u8>::new()), Cell::Blob(vec![])),
    ];
    for (param, expected) in cases {
        let row = db
            .bind(
                "insert into kept values (?1) returning value",
                [param.clone()],
            )
            .await
            .unwrap();
        assert_eq!(row.rows, [[expected]], "{param:?}");
    }
}

#[tokio::test]
async fn integers_are_sixty_four_bits_wide() {
    let db = database();
    assert_eq!(
        db.value("select 9223372036854775807").await,
        Cell::Integer(i64::MAX)
    );
    assert_eq!(
        db.value("select -9223372036854775808").await,
        Cell::Integer(i64::MIN)
    );
}

#[tokio::test]
async fn text_that_is_not_utf8_arrives_with_replacement_characters() {
    let db = database();
    assert_eq!(
        db.value("select cast(x'61ff62' as text)").await,
        text("a\u{fffd}b")
    );
}

#[tokio::test]
async fn the_class_of_integral_numbers_is_the_operators_choice() {
    let integral = database();
    let double = database_with(DatabaseOptions {
        numbers: Numbers::Double,
        ..options()
    });
    for (db, expected) in [(integral, "integer"), (double, "real")] {
        let result = db
            .bind("select typeof(?1), typeof(?2)", [7.into(), true.into()])
            .await
            .unwrap();
        assert_eq!(result.rows, [[text(expected), text("integer")]]);
    }
}

#[tokio::test]
async fn parameters_go_by_order_and_by_number() {
    let db = database();
    let cases = [
        "select ?, ?",
        "select ?1, ?2",
        "select ?1, ?",
        "select :a, :b",
        "select @a, $b",
    ];
    for sql in cases {
        let result = db.bind(sql, ["a".into(), "b".into()]).await.unwrap();
        assert_eq!(result.rows, [[text("a"), text("b")]], "{sql}");
    }
    let result = db
        .bind("select ?2, ?1, ?2", ["a".into(), "b".into()])
        .await
        .unwrap();
    assert_eq!(result.rows, [[text("b"), text("a"), text("b")]]);
}

#[tokio::test]
async fn a_wrong_number_of_parameters_is_d1s_error() {
    let db = database();
    for sql in ["select 1", "select ?1, ?2", "select '?'"] {
        let error = db.bind(sql, [Param::Null]).await.unwrap_err().to_string();
        assert!(
            error.starts_with("Wrong number of parameter bindings for SQL query."),
            "{sql}: {error}"
        );
    }
}

#[tokio::test]
async fn a_statement_has_at_most_a_hundred_parameters() {
    let db = database();
    let list = |n: usize| vec!["?"; n].join(",");
    let params = [const { Param::Null }; 100];
    assert!(
        db.bind(&format!("select {}", list(100)), params)
            .await
            .is_ok()
    );
    let error = db.run(&format!("select {}", list(101))).await.unwrap_err();
    assert!(
        error.to_string().starts_with("too many SQL variables"),
        "{error}"
    );
}

#[tokio::test]
async fn columns_keep_their_names_and_duplicates() {
    let db = database();
    let result = db
        .run("select 1 as a, 2 as a, 3 as b where 0")
        .await
        .unwrap();
    assert_eq!(result.columns, ["a", "a", "b"]);
    assert!(result.rows.is_empty());
    let result = db.run("create table t (a)").await.unwrap();
    assert!(result.columns.is_empty());
}

#[tokio::test]
async fn errors_read_as_workerd_writes_them() {
    let db = database();
    db.run("create table t (a integer primary key, b text unique not null) strict")
        .await
        .unwrap();
    db.run("insert into t values (1, 'x')").await.unwrap();
    let cases = [
        (
            "select * from missing",
            "no such table: missing: SQLITE_ERROR",
        ),
        (
            "select c from t",
            "no such column: c at offset 7: SQLITE_ERROR",
        ),
        (
            "selec 1",
            "near \"selec\": syntax error at offset 0: SQLITE_ERROR",
        ),
        (
            "insert into t values (1, 'y')",
            "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)",
        ),
        (
            "insert into t values (2, 'x')",
            "UNIQUE constraint failed: t.b: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ),
        (
            "insert into t values (2, null)",
            "NOT NULL constraint failed: t.b: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ),
        ("", "SQL code did not contain a statement."),
        (" -- nothing\n;", "SQL code did not contain a statement."),
    ];
    for (sql, expected) in cases {
        assert_eq!(
            db.run(sql).await.unwrap_err().to_string(),
            expected,
            "{sql}"
        );
    }
}

#[tokio::test]
async fn error_types_are_few_and_codes_are_sqlites() {
    let db = database();
    db.run("create table t (a unique)").await.unwrap();
    db.run("insert into t values (1)").await.unwrap();
    let error = db.run("insert into t values (1)").await.unwrap_err();
    assert_eq!(
        (error.error_type(), error.status_code()),
        ("SQLITE_CONSTRAINT_UNIQUE", Some(2067))
    );
    let error = db.run("selec").await.unwrap_err();
    assert_eq!(
        (error.error_type(), error.status_code()),
        ("SQLITE_ERROR", Some(1))
    );
    let error = db.run("").await.unwrap_err();
    assert_eq!(
        (error.error_type(), error.status_code()),
        ("d1.no_statement", None)
    );
}

#[tokio::test]
async fn several_statements_in_one_text_all_run_and_the_last_ones_rows_come_back() {
    let db = database();
    let result = db
        .bind("create table t (a); ; insert into t values (1), (2); -- two\n select a from t where a > ?1; ", [1.into()])
        .await
        .unwrap();
    assert_eq!(result.rows, [[Cell::Integer(2)]]);
    assert_eq!(result.meta.changes, 2);
}

#[tokio::test]
async fn a_trigger_is_one_statement_in_spite_of_its_semicolons() {
    let db = database();
    db.run("create table t (a); create table log (a); create trigger r after insert on t begin insert into log values (new.a); insert into log values (-new.a); end; insert into t values (7)")
        .await
        .unwrap();
    assert_eq!(
        db.value("select group_concat(a) from log").await,
        text("7,-7")
    );
}

#[tokio::test]
async fn only_the_last_statement_of_a_text_may_have_parameters() {
    let db = database();
    let error = db
        .bind("select ?1; select 2", [1.into()])
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("only the last statement can have parameters"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failing_later_statement_of_a_text_undoes_the_earlier_ones() {
    let db = database();
    assert!(
        db.run("create table t (a); insert into t values (1); selec")
            .await
            .is_err()
    );
    assert!(db.run("select * from t").await.is_err());
}

#[tokio::test]
async fn a_statement_that_was_run_before_knows_nothing_of_it() {
    let db = database_with(DatabaseOptions {
        max_columns: 3,
        ..options()
    });
    db.batch(&["create table t (a)", "insert into t values (1), (2), (3)"])
        .await
        .unwrap();
    let select = "select * from t where a >= ?1";
    let first = db.bind(select, [2.into()]).await.unwrap();
    let again = db.bind(select, [2.into()]).await.unwrap();
    assert_eq!(
        (&first.rows, first.meta.rows_read),
        (&again.rows, again.meta.rows_read)
    );
    let error = db.bind(select, []).await.unwrap_err();
    assert_eq!(
        error.error_type(),
        "d1.parameters",
        "nothing is bound from before"
    );
    // One that fails half way.
    let fails = "insert into t select a from t union all select abs(-9223372036854775807 - 1)";
    for _ in 0..2 {
        assert!(db.run(fails).await.is_err());
    }
    assert_eq!(db.value("select count(*) from t").await, Cell::Integer(3));
    // The schema is another one.
    db.batch(&[
        "alter table t add column b default 'b'",
        "alter table t add column c",
    ])
    .await
    .unwrap();
    let wider = db.bind(select, [3.into()]).await.unwrap();
    assert_eq!(wider.columns, ["a", "b", "c"]);
    db.run("alter table t add column d").await.unwrap();
    let error = db.bind(select, [3.into()]).await.unwrap_err();
    assert_eq!(error, QueryError::TooManyColumns { given: 4, cap: 3 });
    db.run("drop table t").await.unwrap();
    let error = db.bind(select, [3.into()]).await.unwrap_err();
    assert_eq!(error.to_string().split(':').next(), Some("no such table"));
}
