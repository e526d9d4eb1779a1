//! Runs the tests of `otel-mismatch`, a project whose OpenTelemetry is older than ours.

mod other_project;

#[test]
fn an_application_with_an_older_opentelemetry_is_told_and_can_be_served() {
    other_project::test("tests/otel-mismatch");
}
