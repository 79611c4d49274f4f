//! Golden cases: a definition (and a profile) in a file, and what a pass makes of it.
//!
//! A case is `{"about", "definition", "profile"?, "patch"}`; `"patch": null` says that nothing may be done (the name of such
//! a file begins with `nothing`). What is proposed has to compile and to be proved equivalent, and a pass has to find nothing more in its own result after a few rounds. With
//! `APEX_WRITE_CASES=1` the patches are written into the files instead: read the difference before you keep it.

use crate::{Input, Patch};
use apex_ir::equivalence::check_equivalence;
use apex_ir::overlay::{PatchLimits, resolve};
use apex_ir::{Ir, Limits, compile, facts::facts};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Rounds in which a pass must come to an end with its own result.
const ROUNDS: usize = 16;

/// Checks all cases of a folder.
///
/// # Panics
/// At the first case that is not as its file says.
pub fn check(folder: &str, pass: fn(&Input) -> Option<Patch>) {
    let mut files: Vec<PathBuf> = must(std::fs::read_dir(folder), folder).flatten().map(|entry| entry.path()).collect();
    files.sort();
    let cases: Vec<(PathBuf, Value)> = files
        .into_iter()
        .map(|file| {
            let text = must(std::fs::read_to_string(&file), &file);
            let case = must(serde_json::from_str(&text), &file);
            (file, case)
        })
        .collect();
    let forbids = |file: &Path| file.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("nothing"));
    let forbidding = cases.iter().filter(|(file, _)| forbids(file)).count();
    assert!(0 < forbidding && forbidding < cases.len(), "{folder} has cases of both kinds");
    for (file, case) in cases {
        let nothing = forbids(&file);
        assert_eq!(one(&file, case, pass), !nothing, "{}: whether there is a patch", file.display());
    }
}

/// Checks a case; whether there was a patch.
fn one(file: &Path, mut case: Value, pass: fn(&Input) -> Option<Patch>) -> bool {
    let ir = compiled(case["definition"].to_string().as_bytes(), file);
    let patch = pass(&input(&ir, &case["profile"], file));
    let said = json!(patch);
    if std::env::var_os("APEX_WRITE_CASES").is_some() {
        case["patch"] = said;
        must(std::fs::write(file, format!("{case:#}\n")), file);
    } else {
        assert_eq!(said, case["patch"], "{}\nproposed:\n{said:#}", file.display());
    }
    let found = patch.is_some();
    let (mut ir, mut patch) = (ir, patch);
    for _ in 0..ROUNDS {
        let Some(proposed) = patch.filter(|patch| !patch.operations.is_empty()) else { return found };
        let after = must(apply(&ir, &proposed), file);
        must(check_equivalence(&ir, &after), file);
        ir = after;
        patch = pass(&input(&ir, &case["profile"], file));
    }
    panic!("{}: it finds more in its own result after {ROUNDS} rounds", file.display());
}

fn compiled(definition: &[u8], file: &Path) -> Ir {
    must(compile(definition, None, &Limits::default()), file)
}

fn input(ir: &Ir, profile: &Value, file: &Path) -> Input {
    must(serde_json::from_value(question(ir, profile)), file)
}

/// What the host would give to a pass.
///
/// # Panics
/// Where the compiler gives what is no JSON.
#[must_use]
pub fn question(ir: &Ir, profile: &Value) -> Value {
    let definition: Value = must(serde_json::from_slice(&ir.canonical), "the definition");
    let facts: Value = must(serde_json::from_slice(&facts(ir)), "the facts");
    json!({"definition": definition, "facts": facts, "profile": profile})
}

/// The definition that a proposal makes.
///
/// # Errors
/// Why it makes none.
pub fn apply(ir: &Ir, patch: &Patch) -> Result<Ir, String> {
    let operations = json!(patch.operations).to_string();
    let resolved = resolve(ir, operations.as_bytes(), None, &PatchLimits::default(), &Limits::default());
    resolved.map(|resolved| resolved.ir).map_err(|refusal| format!("{:?}", refusal.reason()))
}

fn must<T, E: std::fmt::Debug>(result: Result<T, E>, what: impl std::fmt::Debug) -> T {
    result.unwrap_or_else(|error| panic!("{what:?}: {error:?}"))
}
