//! The golden cases.

#[test]
fn each_case_is_patched_as_it_says() {
    apex_pass::cases::check(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"), loop_invariant::pass);
}
