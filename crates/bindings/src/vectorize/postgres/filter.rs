//! Filters as SQL. All that is compared with goes by parameters; names of properties are literals, so that the expressions
//! of metadata indexes are found again.
//!
//! The order in which `WHERE` is evaluated is PostgreSQL's to choose, so that each cast is behind a `CASE`.

use tokio_postgres::types::{ToSql, Type};

use super::super::filter::{Clause, Filter, Scalar, Test};
use super::super::options::MetadataType;
use super::text::{encode, literal};

/// Parameters of a statement, by number.
#[derive(Default)]
pub(super) struct Parameters {
    values: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
}

impl Parameters {
    /// Its name in the statement.
    pub(super) fn add(&mut self, value: impl ToSql + Sync + Send + 'static, kind: Type) -> String {
        self.values.push((Box::new(value), kind));
        format!("${}", self.values.len())
    }

    pub(super) fn typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        let values = self.values.iter();
        values
            .map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()))
            .collect()
    }
}

/// A condition on the column `facets`, which is true or not, but never an error.
pub(super) fn condition(filter: &Filter, parameters: &mut Parameters) -> String {
    let clauses = filter.clauses.iter();
    let clauses: Vec<_> = clauses.map(|clause| test(clause, parameters)).collect();
    clauses.join(" AND ")
}

/// The JSON at a path. Other than `#>`, it never goes into lists.
fn at(path: &[impl AsRef<str>]) -> String {
    let mut json = "facets".to_owned();
    for part in path {
        json = format!("({json} -> {}::text)", literal(part.as_ref()));
    }
    json
}

/// A property's value, if it is of this type.
fn typed(json: &str, kind: MetadataType) -> String {
    let cast = match kind {
        MetadataType::String => format!("{json} #>> '{{}}'::text[]"),
        MetadataType::Number => format!("{json}::float8"),
        MetadataType::Boolean => format!("{json}::boolean"),
    };
    format!(
        "(CASE jsonb_typeof({json}) WHEN '{}' THEN {cast} END)",
        kind.name()
    )
}

/// The first characters of a text, of which there may be more than an index can have.
fn start(text: &str) -> String {
    format!("(left({text}, 64) COLLATE \"C\")")
}

/// What an index on a property has.
pub(super) fn indexed(property: &str, kind: MetadataType) -> String {
    let path: Vec<_> = property.split('.').collect();
    let value = typed(&at(&path), kind);
    match kind {
        MetadataType::String => start(&value),
        _ => value,
    }
}

fn test(clause: &Clause, parameters: &mut Parameters) -> String {
    let json = at(&clause.path);
    let any = |scalars: &[Scalar], parameters: &mut Parameters| {
        let tests: Vec<_> = scalars
            .iter()
            .map(|to| compare(&json, "=", to, parameters))
            .collect();
        match tests.is_empty() {
            true => "false".to_owned(),
            false => format!("({})", tests.join(" OR ")),
        }
    };
    match &clause.test {
        Test::Equal(to) => compare(&json, "=", to, parameters),
        Test::NotEqual(to) => format!("({}) IS NOT TRUE", compare(&json, "=", to, parameters)),
        Test::Less(to) => compare(&json, "<", to, parameters),
        Test::LessOrEqual(to) => compare(&json, "<=", to, parameters),
        Test::Greater(to) => compare(&json, ">", to, parameters),
        Test::GreaterOrEqual(to) => compare(&json, ">=", to, parameters),
        Test::In(to) => any(to, parameters),
        Test::NotIn(to) => format!("({}) IS NOT TRUE", any(to, parameters)),
    }
}

fn compare(json: &str, operator: &str, to: &Scalar, parameters: &mut Parameters) -> String {
    match to {
        // Nothing is before or after it, but it is equal to itself.
        Scalar::Null if operator.ends_with('=') => {
            format!("({json} IS NULL OR jsonb_typeof({json}) = 'null')")
        }
        Scalar::Null => "false".to_owned(),
        Scalar::Number(number) => {
            let value = typed(json, MetadataType::Number);
            format!(
                "{value} {operator} {}",
                parameters.add(*number, Type::FLOAT8)
            )
        }
        Scalar::Boolean(boolean) => {
            let value = typed(json, MetadataType::Boolean);
            format!(
                "{value} {operator} {}",
                parameters.add(*boolean, Type::BOOL)
            )
        }
        Scalar::String(text) => {
            let value = typed(json, MetadataType::String);
            let text = parameters.add(encode(text).into_owned(), Type::TEXT);
            // The start alone is in the index. Of texts in order, the starts are, or are equal.
            let of_start = match operator {
                "<" => "<=",
                ">" => ">=",
                other => other,
            };
            let (starts, to) = (start(&value), start(&text));
            format!("({starts} {of_start} {to} AND {value} COLLATE \"C\" {operator} {text})")
        }
    }
}
