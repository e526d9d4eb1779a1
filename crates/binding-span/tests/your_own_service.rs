//! Runs the tests of `examples/your-own-service`, a project outside of the workspace that uses this
//! crate and the schema as other people's projects do.

mod other_project;

#[test]
fn a_service_of_somebody_elses_can_use_enrichment() {
    other_project::test("../../examples/your-own-service");
}
